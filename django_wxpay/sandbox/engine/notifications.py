"""What the sandbox tells the shop: encrypted, signed, repeated until it is acknowledged.

In process nothing is sent by itself: `deliver_due` sends what is due, through the sender the test handed in. As a
process `django_wxpay.sandbox.runner` does the same from a thread.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from . import keys, protocol
from .answers import dump
from .clock import CHINA, rfc3339
from .faults import NOTIFICATION, merged
from .store import Row

if TYPE_CHECKING:
    from ..emulator import Sandbox

# Seconds after the first, second … attempt; 24 h 4 min in all.
RHYTHM = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)
# PayScore has rhythms of its own: eleven times, a minute apart, for a signature; 3 h 4 min for an order.
_SIGN_PLAN_RHYTHM, _SERVICE_ORDER_RHYTHM = (60,) * 10, (15, 15, 30, 180, 1800, 1800, 1800, 1800, 3600)
RHYTHMS = {
    "PAYSCORE.USER_SIGN_PLAN": _SIGN_PLAN_RHYTHM,
    "PAYSCORE.USER_CANCEL_SIGN_PLAN": _SIGN_PLAN_RHYTHM,
    "PAYSCORE.USER_CONFIRM": _SERVICE_ORDER_RHYTHM,
    "PAYSCORE.USER_PAID": _SERVICE_ORDER_RHYTHM,
}
STALE_SECONDS = 360
PENDING, SENDING, DELIVERED, HELD, LOST, GIVEN_UP = "PENDING", "SENDING", "DELIVERED", "HELD", "LOST", "GIVEN_UP"
NOTHING_ASSOCIATED = ("empty_associated_data", "without_associated_data")
ORIGINAL_TYPES = {"PAPAY": "papay", "REFUND": "refund", "PAYSCORE": "payscore"}  # all others: transaction
SUMMARIES = {
    "PAPAY.SIGN": "contract signed",
    "PAPAY.TERMINATE": "contract terminated",
    "TRANSACTION.SUCCESS": "payment succeeded",
    "REFUND.SUCCESS": "refund succeeded",
    "REFUND.ABNORMAL": "refund abnormal",
    "REFUND.CLOSED": "refund closed",
    "PAYSCORE.USER_SIGN_PLAN": "plan signed",
    "PAYSCORE.USER_CANCEL_SIGN_PLAN": "plan cancelled",
    "PAYSCORE.USER_CONFIRM": "service order confirmed",
    "PAYSCORE.USER_PAID": "service order paid",
}

# Returns the status code, or the status code and the body.
Sender = Callable[[str, dict[str, str], bytes], "int | tuple[int, bytes]"]


class Notifications:
    def __init__(self, sandbox: Sandbox, sender: Sender | None) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store
        self.sender = sender
        self.first_delay = 0.0

    def tell(
        self,
        mchid: str,
        event_type: str,
        url: str,
        resource: dict[str, Any] | str,
        *,
        original_type: str = "",
        about: str,
    ) -> Row:
        """Write down a notification; it is sent later. ``resource`` as a text is sealed as it stands."""
        now = self._sandbox.clock.now()
        fault = self._sandbox.faults.take(NOTIFICATION, event_type, mchid=mchid)
        kind, options = (fault["kind"], fault["options"]) if fault else ("", {})
        original_type = original_type or ORIGINAL_TYPES.get(event_type.partition(".")[0], "transaction")
        if kind == "altered":
            event_type = options.get("event_type", event_type)
            if isinstance(resource, dict):
                resource = merged(resource, options.get("resource", {}))
        notification_id = str(uuid.uuid4())
        plain = dump(resource) if isinstance(resource, dict) else resource.encode()
        envelope = self._envelope(notification_id, event_type, plain, original_type, kind, options, now)
        state = PENDING
        next_at: float | None = now + self._sandbox.clock.delay(self.first_delay)
        if kind == "lost" and "attempts" not in options:
            state, next_at = LOST, None
        elif kind == "out_of_order":
            state, next_at = HELD, None
        elif kind == "late":
            next_at = now + float(options.get("seconds", 60))
        self._store.insert(
            "notifications",
            notification_id=notification_id,
            mchid=mchid,
            event_type=event_type,
            about=about,
            url=url,
            body=dump(envelope).decode(),
            state=state,
            created_at=now,
            next_at=next_at,
            fault={"kind": kind, **options} if fault else None,
            attempts=[],
        )
        row = self.find(notification_id)
        assert row is not None
        return row

    def find(self, notification_id: str) -> Row | None:
        return self._store.one("SELECT * FROM notifications WHERE notification_id = ?", notification_id)

    def all(self, limit: int = 200) -> list[Row]:
        newest = self._store.all("SELECT * FROM notifications ORDER BY seq DESC LIMIT ?", limit)
        return newest[::-1]

    def next_due(self) -> float | None:
        row = self._store.one("SELECT MIN(next_at) AS moment FROM notifications WHERE state = ?", PENDING)
        return row["moment"] if row else None

    def claim_due(self, now: float) -> list[Row]:
        """Take the notifications that are due, so that nobody else sends them meanwhile."""
        with self._store.transaction():
            due = self._store.all(
                "SELECT * FROM notifications WHERE state = ? AND next_at <= ? ORDER BY next_at, seq", PENDING, now
            )
            for row in due:
                self._store.update("notifications", "seq", row["seq"], state=SENDING)
        return due

    def claim_early(self) -> list[Row]:
        """Take those ordered to arrive before the answer to the call that caused them."""
        with self._store.transaction():
            pending = self._store.all("SELECT * FROM notifications WHERE state = ? AND fault IS NOT NULL", PENDING)
            early = [row for row in pending if row["fault"]["kind"] == "early" and not row["attempts"]]
            for row in early:
                self._store.update("notifications", "seq", row["seq"], state=SENDING)
        return early

    def resume(self) -> None:
        """Take up again what a stopped process was sending."""
        self._store.run("UPDATE notifications SET state = ? WHERE state = ?", PENDING, SENDING)

    def deliver_due(self, now: float | None = None) -> list[Row]:
        """Send every notification that is due; return them as they are afterwards."""
        sent: list[Row] = []
        while due := self.claim_due(self._sandbox.clock.now() if now is None else now):
            sent += [self.send(row) for row in due]
        return sent

    def deliver_now(self, notification_id: str) -> Row | None:
        """Send one notification at once, whatever its state."""
        row = self.find(notification_id)
        return self.send(row) if row else None

    def send(self, row: Row) -> Row:
        """Make one attempt and record it. No lock is held while the shop works."""
        fault = row["fault"] or {}
        attempt_number = len(row["attempts"]) + 1
        copies = int(fault.get("copies", 2)) if fault.get("kind") == "twice" else 1
        broken = fault.get("kind") if attempt_number <= int(fault.get("attempts", 1)) else None
        attempts = []
        for _ in range(copies):
            attempt: dict[str, Any] = {"at": rfc3339(self._sandbox.clock.now())}
            if broken == "lost":
                attempt.update(status=None, error="lost by fault", acknowledged=False)
            else:
                attempt.update(self._post(row, broken))
            attempts.append(attempt)
        return self._record(row, attempts)

    def _post(self, row: Row, broken: str | None) -> dict[str, Any]:
        body = _with_wrong_tag(row["body"]) if broken == "wrong_tag" else row["body"].encode()
        headers = self._headers(row, body, broken)
        if self.sender is None:
            return {"status": None, "error": "this sandbox has no sender", "acknowledged": False}
        try:
            answered = self.sender(row["url"], headers, body)
        except Exception as error:  # whatever the shop does, it has not acknowledged
            return {"status": None, "error": f"{type(error).__name__}: {error}"[:500], "acknowledged": False}
        status, text = answered if isinstance(answered, tuple) else (answered, b"")
        return {
            "status": status,
            "answer": text[:500].decode("utf-8", "replace"),
            "acknowledged": acknowledged(status, text),
            "serial": headers.get("Wechatpay-Serial"),
        }

    def _headers(self, row: Row, body: bytes, broken: str | None) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "*/*",
            "User-Agent": "Mozilla/4.0",
            "Request-ID": protocol.new_request_id(),
        }
        if broken == "unsigned":
            return headers
        now = self._sandbox.clock.wire_time() - (STALE_SECONDS if broken == "stale" else 0)
        private_key, serial = self._signer(row["notification_id"])
        signed_body = body + b" " if broken == "bad_signature" else body
        signed = protocol.signature_headers(private_key, serial, signed_body, now=now)
        if broken == "probe":
            signed["Wechatpay-Signature"] = probe_signature(signed["Wechatpay-Signature"])
        elif broken == "unknown_serial":
            signed["Wechatpay-Serial"] = "5A" * 20
        return {**headers, **signed}

    def _signer(self, notification_id: str) -> tuple[str, str]:
        """Choose certificate or public key: a fixed share of all notifications, stable per notification."""
        share = float(self._store.setting("public_key_share", 0))
        draw = int.from_bytes(sha256(notification_id.encode()).digest()[:4], "big") / 2**32
        if draw * 100 < share:
            return self._sandbox.keys.public_private_key, self._sandbox.keys.public_key_id
        return self._sandbox.certificates.signer()

    def _record(self, row: Row, attempts: list[dict[str, Any]]) -> Row:
        with self._store.transaction():
            fresh = self.find(row["notification_id"])
            assert fresh is not None
            made = fresh["attempts"] + attempts
            rounds = len(fresh["attempts"]) + 1
            rhythm = RHYTHMS.get(fresh["event_type"], RHYTHM)
            if any(attempt["acknowledged"] for attempt in attempts):
                state, next_at = DELIVERED, None
            elif rounds <= len(rhythm):
                state, next_at = PENDING, self._sandbox.clock.now() + self._sandbox.clock.delay(rhythm[rounds - 1])
            else:
                state, next_at = GIVEN_UP, None
            self._store.update("notifications", "seq", row["seq"], state=state, next_at=next_at, attempts=made)
            # A later one has been sent: those held back before it may go.
            self._store.run(
                "UPDATE notifications SET state = ?, next_at = ? WHERE state = ? AND mchid = ? AND seq < ?",
                PENDING,
                self._sandbox.clock.now(),
                HELD,
                row["mchid"],
                row["seq"],
            )
            recorded = self.find(row["notification_id"])
        assert recorded is not None
        return recorded

    def _envelope(
        self,
        notification_id: str,
        event_type: str,
        plain: bytes,
        original_type: str,
        kind: str,
        options: dict[str, Any],
        now: float,
    ) -> dict[str, Any]:
        create_time = rfc3339(now)
        if kind == "create_time_14":
            create_time = datetime.fromtimestamp(now, CHINA).strftime("%Y%m%d%H%M%S")
        envelope: dict[str, Any] = {
            "id": notification_id,
            "create_time": create_time,
            "event_type": event_type,
            "resource_type": "encrypt-resource",
            "summary": None if kind == "without_summary" else SUMMARIES.get(event_type, event_type),
            "resource": {
                "original_type": None if kind == "without_original_type" else original_type,
                **keys.encrypt(self._sandbox.apiv3_key, plain, "" if kind in NOTHING_ASSOCIATED else original_type),
            },
        }
        if kind == "without_associated_data":
            del envelope["resource"]["associated_data"]
        return merged(envelope, options.get("envelope", {})) if kind == "altered" else envelope


def acknowledged(status: int, body: bytes) -> bool:
    """Tell whether an answer counts: 204, or 200 that does not say otherwise in its JSON body."""
    if status == 204:
        return True
    if status != 200:
        return False
    try:
        answer = json.loads(body) if body.strip() else {}
    except ValueError:
        return True  # bodies are recorded, not required
    return not isinstance(answer, dict) or answer.get("code", "SUCCESS") == "SUCCESS"


def probe_signature(genuine: str) -> str:
    """Make the odd signature with which WeChat Pay finds out who does not verify."""
    return ("WECHATPAY/SIGNTEST/" + genuine)[: len(genuine) + 11]


def _with_wrong_tag(body: str) -> bytes:
    envelope = json.loads(body)
    ciphertext = envelope["resource"]["ciphertext"]
    envelope["resource"]["ciphertext"] = ("B" if ciphertext[0] == "A" else "A") + ciphertext[1:]
    return dump(envelope)
