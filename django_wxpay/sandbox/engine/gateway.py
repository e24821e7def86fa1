"""The gateway: everything that happens to a request before and after its handler.

In: headers, signature, fault ordered for before. Out: Request-ID, date, signature, fault ordered for after, log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from . import protocol
from .answers import ConnectionClosed, LostAnswer, Refused, Reply, SandboxConnectionError, dump
from .faults import CALL, ERRORS, merged
from .notifications import probe_signature
from .protocol import Call

if TYPE_CHECKING:
    from ..emulator import Sandbox

API = "/v3/"
STATEMENTS = "/v3/global/statements"
LOGGED_BODY = 8192
SLOW_SECONDS, SILENT_SECONDS = 15.0, 60.0
STALE_SECONDS = 360
READ_TIMEOUT = "sandbox.read_timeout"  # set by transport.WSGIAdapter: how long this client would wait
CUT = "sandbox.cut"
Handler = Callable[..., Reply]


class Gateway:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def enter(self) -> Response | None:
        """Check the envelope of a request; suffer the faults that come before anything is done."""
        if not request.path.startswith(API):
            return None
        g.reason, g.fault, g.signed_body, g.refusal = 0, None, None, ""
        g.call = None
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw_body = request.get_data()
        statements = ("text/plain", "text/csv", "text/*", "application/json")
        protocol.check_headers(headers, media_types=statements if request.path == STATEMENTS else ("application/json",))
        g.call = self._authenticate(headers, raw_body)
        with self._sandbox.store.transaction():
            g.fault = self._sandbox.faults.take(CALL, request.path, mchid=g.call.merchant.mchid, method=request.method)
        return self._before(g.fault) if g.fault else None

    def view(self, handler: Handler) -> Callable[..., Response]:
        """Wrap a handler: one transaction, which a refusal does not undo."""

        def handle(**path: str) -> Response:
            if g.fault:
                g.call.fault_kind = g.fault["kind"]
            refusal = None
            with self._sandbox.store.transaction():
                self._sandbox.settle()
                try:
                    reply = handler(g.call, **path)
                except Refused as refused:
                    refusal = refused
            for early in self._sandbox.notifications.claim_early():
                self._sandbox.notifications.send(early)
            self._sandbox.after_change()
            if refusal:
                raise refusal
            if reply.cut:
                request.environ[CUT] = reply.cut
            g.signed_body = reply.signed_body
            response = Response(reply.stream or reply.body, reply.status, content_type=reply.content_type)
            response.headers.update(reply.headers)
            if reply.status == 204:
                del response.headers["Content-Type"]
            return response

        return handle

    def refused(self, refused: Refused) -> Response:
        g.reason, g.refusal = refused.reason, refused.code
        body = refused.body(request.headers.get("Accept-Language", ""))
        return Response(body, refused.status, content_type="application/json")

    def not_routed(self, error: HTTPException) -> Response | HTTPException:
        """Answer paths and methods that the API does not have as an API does."""
        if not request.path.startswith(API):
            return error
        status = error.code or 500
        code = {404: "INVALID_PATH", 405: "INVALID_METHOD", 413: "INVALID_REQUEST"}.get(status, "SYSTEM_ERROR")
        return self.refused(Refused(status, code, f"{request.method} {request.path}: {error.name}"))

    def leave(self, response: Response) -> Response:
        """Sign the answer, let it suffer its fault, write the call down."""
        fault = g.get("fault")
        if fault and (instead := self._after(fault, response)) is not response:
            response.close()
            response, g.signed_body = instead, None
        response.headers["Date"] = formatdate(self._sandbox.clock.wire_time(), usegmt=True)
        if not request.path.startswith(API):
            return response
        request_id = protocol.new_request_id(g.get("reason", 0))
        response.headers["Request-ID"] = request_id
        self._sign(response, fault["kind"] if fault else "", fault["options"] if fault else {})
        self._log(response, request_id)
        if fault and fault["kind"] == "slow":
            self._wait(float(fault["options"].get("seconds", SLOW_SECONDS)))
        elif fault and fault["kind"] == "silent" and READ_TIMEOUT not in request.environ:
            self._sandbox.faults.hold(float(fault["options"].get("seconds", SILENT_SECONDS)))
        return response

    # Before

    def _authenticate(self, headers: dict[str, str], raw_body: bytes) -> Call:
        items = protocol.read_authorization(headers.get("authorization", ""))
        merchant = self._sandbox.merchants.get(items["mchid"])
        certificate = self._sandbox.keys.merchant
        if not merchant:
            raise protocol.sign_error(f"mchid {items['mchid'][:32]} is not known here")
        if items["serial_no"].upper() != certificate.serial:
            raise protocol.sign_error("serial_no is not the serial of the merchant's API certificate")
        target = request.environ.get("REQUEST_URI") or request.environ["RAW_URI"]
        target = re.sub(r"^[a-z]+://[^/]*", "", target, flags=re.IGNORECASE)
        protocol.check_signature(
            items,
            method=request.method,
            target=target,
            raw_body=raw_body,
            certificate=certificate.certificate,
            now=self._sandbox.clock.wire_time(),
        )
        return Call(
            merchant=merchant,
            sub_appids=self._sandbox.sub_appids(merchant.mchid),
            method=request.method,
            path=request.path,
            target=target,
            raw_body=raw_body,
            headers=headers,
        )

    def _before(self, fault: dict[str, Any]) -> Response | None:
        kind = fault["kind"]
        if kind == "closed_connection":
            request.environ[CUT] = ConnectionClosed("the connection was closed before anything was done")
            return Response(status=503)
        if _is_before(fault) and kind == "silent":
            request.environ[CUT] = LostAnswer("nothing was done, and nothing was answered")
            return Response(status=503)
        if _is_before(fault) and kind in ERRORS:
            raise _ordered(fault)
        return None

    # After

    def _after(self, fault: dict[str, Any], response: Response) -> Response:
        """Return the answer, or another in its place."""
        kind, options = fault["kind"], fault["options"]
        if kind == "lost_answer" or (kind == "silent" and not _is_before(fault)):
            request.environ[CUT] = LostAnswer()
        elif kind in ERRORS:
            if not _is_before(fault):
                response = self.refused(_ordered(fault))
            if "retry_after" in options:
                response.headers["Retry-After"] = str(options["retry_after"])
        elif kind == "altered" and response.mimetype == "application/json":
            changed = merged(json.loads(response.get_data() or b"{}"), options.get("answer", {}))
            return Response(dump(changed), response.status_code, content_type="application/json")
        elif kind == "garbage":
            return Response("<html><body>502 Bad Gateway</body></html>", response.status_code, content_type="text/html")
        elif kind == "empty":
            return Response(b"", response.status_code, content_type="application/json")
        return response

    def _sign(self, response: Response, kind: str, options: dict[str, Any]) -> None:
        if kind == "unsigned" or not options.get("signed", True):
            return
        body = response.get_data() if g.get("signed_body") is None else g.signed_body
        body += b" " if kind == "bad_signature" else b""
        private_key, serial = self._sandbox.certificates.signer()
        if request.headers.get("Wechatpay-Serial", "") == self._sandbox.keys.public_key_id:
            private_key, serial = self._sandbox.keys.public_private_key, self._sandbox.keys.public_key_id
        now = self._sandbox.clock.wire_time() - (STALE_SECONDS if kind == "stale" else 0)
        signed = protocol.signature_headers(private_key, serial, body, now=now)
        if kind == "probe":
            signed["Wechatpay-Signature"] = probe_signature(signed["Wechatpay-Signature"])
        elif kind == "wrong_serial":
            signed["Wechatpay-Serial"] = "5A" * 20
        response.headers.update(signed)

    def _wait(self, seconds: float) -> None:
        """Answer late. In process, nobody waits longer than the client's own time limit."""
        limit = request.environ.get(READ_TIMEOUT)
        if limit is not None and seconds >= limit:
            request.environ[CUT] = LostAnswer("the answer came too late")
        else:
            self._sandbox.faults.hold(seconds)

    def _log(self, response: Response, request_id: str) -> None:
        call, fault = g.get("call"), g.get("fault")
        cut = request.environ.get(CUT)
        body = request.get_data()[:LOGGED_BODY].decode("utf-8", "replace")
        with self._sandbox.store.transaction():
            self._sandbox.log_call(
                at=self._sandbox.clock.now(),
                mchid=call.merchant.mchid if call else None,
                method=request.method,
                target=call.target if call else request.full_path,
                # A payment code is as good as money for a minute: not even an emulator writes it down.
                body=re.sub(r"(\"auth_code\"\s*:\s*\")[^\"]*", r"\1…", body),
                status=None if isinstance(cut, SandboxConnectionError) else response.status_code,
                code=type(cut).__name__ if cut else g.get("refusal") or None,
                request_id=request_id,
                fault={"kind": fault["kind"], **fault["options"]} if fault else None,
                ignored=call.ignored if call and call.ignored else None,
            )


def _is_before(fault: dict[str, Any]) -> bool:
    return bool(fault["options"].get("when", "before") == "before")


def _ordered(fault: dict[str, Any]) -> Refused:
    """Return the error that a fault asks for."""
    options, (status, code) = fault["options"], ERRORS[fault["kind"]]
    message = str(options.get("message", "ordered by a fault"))
    return Refused(
        int(options.get("status", status)), str(options.get("code", code)), message, verbatim="message" in options
    )
