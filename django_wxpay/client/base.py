"""One signed call: sign, send, verify, decode."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import BaseAdapter
from urllib3 import exceptions as wire

from .. import __version__
from . import crypto, signatures
from .answers import Answer, RawAnswer, decode, prove
from .errors import APIError, InvalidField, OutcomeUnknown, RequestNotSent, SignatureInvalid, WxPayError
from .identity import HOSTS, Identity
from .keyring import KeyRing
from .privacy import HIDDEN, private_values, unseen
from .refusals import error_for
from .transport import Transport

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1024 * 1024
USER_AGENT = f"django-wxpay/{__version__} (Python {platform.python_version()})"
JSON_TYPE = "application/json"
# An openid is the last part of the path, but for numbers of ours below the same root.
_OPENID_IN_PATH = re.compile(r"(?<=/openid/)[^/]+|(?<=/individual-contracts/)(?!out-contract-code/|pre-entrust)[^/]+")


def serialise(body: Mapping[str, Any] | None) -> bytes:
    """Return the JSON bytes of a request body, made once: these are signed, and these are sent."""
    if body is None:
        return b""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidField(f"The body cannot be written as JSON ({type(error).__name__}).", field="body") from None


class BaseClient:
    """Speaks for one identity: `request` signs, sends, verifies and decodes. Safe between threads and forks.

    host, backup_hosts: base URLs or host names; a backup is tried once, only when no connection came about.
    connect_timeout: seconds until a connection to one host stands; read_timeout: seconds from then to the answer's end.
    transport: a requests adapter used instead of the network. trust_unsigned_errors: believe refusals (4xx)
    that carry no signature, for services that sign none.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        keys: KeyRing,
        host: str | None = None,
        backup_hosts: tuple[str, ...] | list[str] = (),
        connect_timeout: float = 3,
        read_timeout: float = 10,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
        transport: BaseAdapter | None = None,
        trust_unsigned_errors: bool = False,
        user_agent: str = USER_AGENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self.keys = keys
        # Unix seconds; after it nothing begins to be sent. See `Client.before`.
        self._send_by = math.inf
        self.clock = clock
        self.transport = Transport(
            (host or HOSTS[identity.region], *backup_hosts),
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            proxies=proxies,
            ca_bundle=ca_bundle,
            adapter=transport,
        )
        self._trust_unsigned_errors = trust_unsigned_errors
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Accept-Language": identity.accept_language,
            "User-Agent": user_agent,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity.mchid} at {self.transport.hosts[0]}>"

    @unseen
    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        wechatpay_serial: str = "",
        also: tuple[str, ...] = (),
        absent: tuple[str, ...] = (),
        business: tuple[str, ...] = (),
    ) -> Answer:
        """Make one call and return its verified answer (2xx).

        path: percent-encoded where needed. query: values that are ``""`` are left out. wechatpay_serial: the
        key that sensitive fields were encrypted with; by default the one answers should be signed with. also:
        codes of refusals (4xx) that are answers to this call, when they are proven. absent, business: as
        `refusals.error_for` takes them; without `absent` nothing is ever a NotFound.

        Raises RequestNotSent, OutcomeUnknown (also for a 2xx that is not proven), APIError and its kinds. A
        GET changes nothing: when its answer is not proven, or the connection broke, it is asked once again.
        """
        content = serialise(body)
        target = target_of(path, query)
        private = private_values([body, query]) | set(_OPENID_IN_PATH.findall(path))

        def call() -> Answer:
            raw = self.exchange(method, target, content, wechatpay_serial=wechatpay_serial)
            return self._believed(raw, also=also, absent=absent, business=business, private=private)

        try:
            return call()
        except OutcomeUnknown as error:
            if method != "GET" or not _worth_repeating(error):
                raise
        return call()

    @unseen
    def upload(self, path: str, *, meta: bytes, content: bytes, content_type: str) -> Answer:
        """Post a file and return the verified answer. content: the whole body; meta: the part of it that is signed.

        Raises as `request`, for a call that is never made a second time.
        """
        return self._believed(self.exchange("POST", path, content, signs=meta, content_type=content_type))

    def _believed(self, raw: RawAnswer, *, also: tuple[str, ...] = (), **told: Any) -> Answer:
        """Return an answer that is proven, or raise what it means; `told` goes to `refusal`."""
        if 200 <= raw.status < 300:
            prove(raw, self.keys.find, self.clock())
            return decode(raw)
        refusal = self.refusal(raw, **told)
        if isinstance(refusal, APIError) and refusal.verified and refusal.means(*also):
            return decode(raw)
        raise refusal

    def exchange(
        self,
        method: str,
        target: str,
        content: bytes = b"",
        *,
        wechatpay_serial: str = "",
        accept: str = "",
        content_type: str = JSON_TYPE,
        signs: bytes | None = None,
    ) -> RawAnswer:
        """Sign and send one request; return its answer with nothing in it verified. `open` says what each is."""
        started = time.monotonic()
        outcome, request_id = "", ""
        try:
            response = self.open(
                method, target, content, wechatpay_serial=wechatpay_serial, accept=accept, content_type=content_type,
                signs=signs,
            )  # fmt: skip
            outcome, request_id = str(response.status_code), response.headers.get("Request-ID", "")
            body = self.transport.read(response, limit=MAX_ANSWER_BYTES)
            return RawAnswer(response.status_code, response.headers, body)
        except WxPayError as error:
            outcome = f"{outcome} {type(error).__name__}".strip()
            raise
        finally:
            self.log(method, target, outcome or "failed", request_id, time.monotonic() - started)

    def open(
        self,
        method: str,
        target: str,
        content: bytes = b"",
        *,
        wechatpay_serial: str = "",
        accept: str = "",
        encoding: str = "",
        content_type: str = JSON_TYPE,
        signs: bytes | None = None,
        seconds: float | None = None,
    ) -> requests.Response:
        """Sign and send one request; return the answer with its body unread, to be read within ``seconds``.

        signs: the bytes that are signed instead of the whole body.
        """
        headers = dict(self._headers)
        if serial := wechatpay_serial or self.keys.preferred_serial():
            headers["Wechatpay-Serial"] = serial
        if method != "GET":
            headers["Content-Length"] = str(len(content))
        if content:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        if encoding:
            headers["Accept-Encoding"] = encoding

        def prepare(host: str) -> requests.PreparedRequest:
            # Only the steps that matter: `Request.prepare` takes four times as long.
            prepared = requests.PreparedRequest()
            prepared.method = method
            try:
                prepared.prepare_url(host + target, None)
                prepared.prepare_headers(headers)
            except (requests.RequestException, ValueError) as error:
                raise RequestNotSent(f"The request could not be built ({type(error).__name__}).") from error
            prepared.body = content or None
            # requests has normalised the address: what it will send is signed, not what we handed in.
            prepared.headers["Authorization"] = self.authorization(
                method, prepared.path_url, content if signs is None else signs
            )
            return prepared

        return self.transport.send(prepare, seconds=seconds, seconds_to_send=lambda: self._send_by - self.clock())

    def authorization(self, method: str, target: str, content: bytes) -> str:
        """Return the ``Authorization`` header for a request: method, path with query as sent, the bytes it signs."""
        identity = self.identity
        timestamp, nonce = int(self.clock()), secrets.token_hex(16)
        message = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + content + b"\n"
        return (
            f'{signatures.ALGORITHM} mchid="{identity.mchid}",nonce_str="{nonce}",timestamp="{timestamp}",'
            f'serial_no="{identity.serial_no}",signature="{crypto.sign(identity.private_key, message)}"'
        )

    def refusal(
        self,
        raw: RawAnswer,
        *,
        absent: tuple[str, ...] = (),
        business: tuple[str, ...] = (),
        private: Collection[str] = (),
    ) -> WxPayError:
        """Return the error that an answer outside 2xx means, as `refusals.error_for` tells."""
        verified = self._is_proven(raw)
        return error_for(raw, verified=verified, now=self.clock(), absent=absent, business=business, private=private)

    def _is_proven(self, raw: RawAnswer) -> bool:
        if not signatures.are_present(raw.headers):
            return self._trust_unsigned_errors
        try:
            signatures.check(raw.headers, raw.body, self.keys.find, self.clock())
        except SignatureInvalid:
            return False
        return True

    @unseen
    def encrypt_field(self, text: str) -> tuple[str, str]:
        """Return serial and base64 of one sensitive field, as `encrypt_fields` does of several."""
        serial, sealed = self.encrypt_fields(text=text)
        return serial, sealed["text"]

    @unseen
    def encrypt_fields(self, **texts: str) -> tuple[str, dict[str, str]]:
        """Return the serial of one key, and the base64 of each sensitive field under it; give the serial to `request`.

        Raises RequestNotSent when no key of WeChat Pay is known, InvalidField when a text is too long.
        """
        serial, key = self.keys.encryption_key()
        sealed = {}
        for name, text in texts.items():
            try:
                sealed[name] = crypto.encrypt_field(key, text)
            except ValueError:
                raise InvalidField(f"{name} is too long to encrypt (214 bytes at most).", field=name) from None
        return serial, sealed

    @unseen
    def decrypt_field(self, ciphertext: str) -> str:
        """Return the text of a sensitive field in an answer; DecryptionFailed when it is not for us."""
        return crypto.decrypt_field(self.identity.private_key, ciphertext)

    def close(self) -> None:
        """Close this process' connections; the next call opens new ones."""
        self.transport.close()

    def log(self, method: str, target: str, outcome: str, request_id: str, seconds: float) -> None:
        """Write the one line of a call. The query is left out: it may name people."""
        path = _OPENID_IN_PATH.sub(HIDDEN, target.partition("?")[0])
        level = logging.INFO if outcome in ("200", "202", "204", "404") else logging.WARNING
        logger.log(
            level,
            "wechat pay called method=%s path=%s status=%s request_id=%s ms=%.0f",
            method, path, outcome, request_id or "-", seconds * 1000,
        )  # fmt: skip


def target_of(path: str, query: Mapping[str, str | int] | None) -> str:
    """Return a path with its query; values that are ``""`` are left out."""
    given = {name: value for name, value in (query or {}).items() if value != ""}
    return f"{path}?{urlencode(given)}" if given else path


def _worth_repeating(error: OutcomeUnknown) -> bool:
    # A probe, or a connection that was closed as we used it; not a server error, nor a second long wait.
    return isinstance(error.__cause__, (SignatureInvalid, requests.ConnectionError, wire.ProtocolError))
