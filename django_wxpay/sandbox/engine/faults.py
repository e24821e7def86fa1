"""Faults on demand: what the next calls or notifications shall suffer.

``times`` calls (``-1``: until removed) suffer the fault, after ``skip`` calls that do not. A call's ``path`` is a
prefix, or a pattern when it holds ``*``. For notifications ``path`` is matched against the event type. The option
``mchid`` narrows both to one merchant number.
"""

from __future__ import annotations

import threading
from fnmatch import fnmatchcase
from typing import Any

from .answers import Refused
from .store import Row, Store

CALL, NOTIFICATION = "call", "notification"

# Errors of the gateway: status and code, unless the fault names others.
ERRORS = {"error_500": (500, "SYSTEM_ERROR"), "error_429": (429, "FREQUENCY_LIMITED"), "refuse": (403, "NO_AUTH")}
CALL_FAULTS = {
    "lost_answer": "carried out, then the connection is cut without an answer",
    "closed_connection": "the connection is cut before anything is done",
    "silent": "no answer while the client waits, at most `seconds` (default 60); `when`",
    "slow": "carried out, answered `seconds` later (default 15)",
    "error_500": "500 SYSTEM_ERROR; `when`, `status` 502, 503 …, `code`, `message`, `retry_after`",
    "error_429": "429 FREQUENCY_LIMITED, not accepted; the same options",
    "refuse": "403 NO_AUTH; the same options",
    "altered": "carried out, `answer` is merged into the answer before it is signed",
    "bad_signature": "carried out, the answer's signature is wrong",
    "probe": "carried out, the signature begins with WECHATPAY/SIGNTEST/",
    "unsigned": "the answer has no signature headers",
    "stale": "carried out, the answer's signed time is 6 minutes old",
    "wrong_serial": "carried out, signed rightly under a serial that nobody knows",
    "garbage": "carried out, the answer is no JSON (rightly signed; `signed`: false for a gateway's page)",
    "empty": "carried out, the answer has an empty body (rightly signed)",
    "wrong_tag": "certificates only: the ciphertexts do not decrypt",
    "empty_list": "certificates only: an empty list",
}
NOTIFICATION_FAULTS = {
    "lost": "never sent (`attempts`: only that many attempts are lost)",
    "twice": "each attempt is sent `copies` times (default 2)",
    "late": "sent `seconds` later (default 60)",
    "early": "sent before the answer to the call that caused it",
    "out_of_order": "held back until a later one was sent",
    "without_original_type": "resource.original_type is absent",
    "create_time_14": "create_time is written yyyyMMddHHmmss",
    "without_summary": "summary is absent",
    "empty_associated_data": "resource.associated_data is empty",
    "without_associated_data": "resource.associated_data is absent",
    "altered": "`resource` is merged into the message before it is encrypted; `event_type`, `envelope` too",
    "bad_signature": "the first attempt has a wrong signature (`attempts`: how many)",
    "wrong_tag": "the first attempt does not decrypt, rightly signed",
    "probe": "the first attempt's signature begins with WECHATPAY/SIGNTEST/",
    "unsigned": "the first attempt has no signature headers",
    "stale": "the first attempt is signed with a time 6 minutes old",
    "unknown_serial": "the first attempt names a serial that nobody knows",
}
KINDS = {CALL: CALL_FAULTS, NOTIFICATION: NOTIFICATION_FAULTS}


class Faults:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._released = threading.Condition()

    def add(
        self,
        kind: str,
        *,
        target: str = CALL,
        path: str = "",
        method: str = "",
        times: int = 1,
        skip: int = 0,
        **options: Any,
    ) -> Row:
        """Order a fault. Raises Refused (400) for kinds that do not exist."""
        if target not in KINDS or kind not in KINDS[target]:
            known = ", ".join(KINDS.get(target, KINDS[CALL]))
            raise Refused(400, "PARAM_ERROR", f"no {target} fault is called {kind!r}; there are {known}")
        if times == 0 or times < -1 or skip < 0:
            raise Refused(400, "PARAM_ERROR", "times is 1 or more, or -1 for always; skip is 0 or more")
        with self._store.transaction():
            self._store.insert(
                "faults",
                target=target,
                kind=kind,
                pattern=path,
                method=method.upper(),
                skip=skip,
                times=times,
                options=options,
            )
            row = self._store.one("SELECT * FROM faults ORDER BY seq DESC LIMIT 1")
        assert row is not None
        return row

    def take(self, target: str, subject: str, *, mchid: str, method: str = "") -> Row | None:
        """Return the fault that this call or notification suffers, if any, and use it up by one."""
        for fault in self._store.all("SELECT * FROM faults WHERE target = ? ORDER BY seq", target):
            if fault["options"].get("mchid", mchid) != mchid:
                continue
            if not matches(fault["pattern"], fault["method"], subject, method):
                continue
            if fault["skip"]:
                self._store.update("faults", "seq", fault["seq"], skip=fault["skip"] - 1)
                continue
            if fault["times"] == 1:
                self._store.run("DELETE FROM faults WHERE seq = ?", fault["seq"])
            elif fault["times"] > 1:
                self._store.update("faults", "seq", fault["seq"], times=fault["times"] - 1)
            return fault
        return None

    def hold(self, seconds: float) -> None:
        """Keep a call waiting that long, or until `release`."""
        with self._released:
            self._released.wait(seconds)

    def release(self) -> None:
        """Let every call go on that is waiting now."""
        with self._released:
            self._released.notify_all()

    def remove(self, seq: int | None = None) -> None:
        """Remove one fault, or all."""
        if seq is None:
            self._store.run("DELETE FROM faults")
        else:
            self._store.run("DELETE FROM faults WHERE seq = ?", seq)

    def all(self) -> list[Row]:
        return self._store.all("SELECT * FROM faults ORDER BY seq")


def matches(pattern: str, wanted_method: str, subject: str, method: str) -> bool:
    """Tell whether a call or an event type is meant; an empty pattern or method means any."""
    if wanted_method and wanted_method != method.upper():
        return False
    return fnmatchcase(subject, pattern) if "*" in pattern else subject.startswith(pattern)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay changes over a message; a null in them removes the field."""
    result = dict(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result
