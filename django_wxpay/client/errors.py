"""What can go wrong between a shop and WeChat Pay; the class says what to do next.

::

    WxPayError
    ├── RequestNotSent       it surely did not happen           → safe to send again
    │   └── InvalidField     one value is wrong (also ValueError) → correct it
    ├── OutcomeUnknown       timeout, 5xx, unproven 2xx         → query; only the SAME number again
    ├── APIError             WeChat Pay said no                 → show, do not retry
    │   ├── NotFound         signed: the very thing is not there
    │   │   └── NoStatement  a day without a statement
    │   ├── RateLimited      too many calls, not accepted       → the same number, later
    │   └── SetupError       keys, numbers or path are wrong    → stop, tell the operator
    ├── SignatureInvalid     not proven to come from WeChat Pay → trust nothing in it
    ├── MessageMalformed     proven, but not the message it should be
    ├── DecryptionFailed     no APIv3 key of ours opens it      → was the key changed?
    ├── BillNotReady         the file is still being made       → later
    └── BillCorrupt          the file is not what was promised  → throw it away, fetch again
"""

from __future__ import annotations

from datetime import datetime
from typing import Any


def normal_code(code: str) -> str:
    """Return an error code without underscores, in capitals: the manuals spell one code in several ways."""
    return code.replace("_", "").upper()


class WxPayError(Exception):
    """The root of everything this package raises on purpose. ``code`` is WeChat Pay's, where it gave one."""

    code: str = ""

    def means(self, *codes: str) -> bool:
        """Say whether ``code`` is one of these: ``ORDER_NOT_EXIST`` is also ``ORDERNOTEXIST``."""
        return normal_code(self.code) in map(normal_code, codes)


class RequestNotSent(WxPayError):
    """Nothing reached WeChat Pay: it surely did not happen, and may be asked again."""


class InvalidField(RequestNotSent, ValueError):
    """A value was refused before anything was sent; ``field`` names it as on the wire."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class OutcomeUnknown(WxPayError):
    """WeChat Pay may or may not have done it: query, and repeat only with the same number.

    ``code``, ``status`` and ``request_id`` are set when there was an answer.
    """

    def __init__(self, message: str, *, code: str = "", status: int = 0, request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id


class APIError(WxPayError):
    """WeChat Pay refused. ``verified`` says whether the refusal was signed.

    An unverified refusal of a write proves nothing about money: let a signed query decide. ``detail`` is for
    developers; it may quote what was sent, so it is left out of messages.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        request_id: str = "",
        verified: bool = False,
        detail: Any = None,
        server_time: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id
        self.verified = verified
        self.detail = detail
        self.server_time = server_time

    def __str__(self) -> str:
        proof = "" if self.verified else ", unsigned"
        answer = f"HTTP {self.status}{proof}, request id {self.request_id or '-'}"
        return f"{self.code or 'no code'}: {self.message} ({answer})"


class NotFound(APIError):
    """WeChat Pay knows no such order, refund, contract or file: so it said, signed, in the code of that very object.

    Always `verified`. Another 404, or a code that speaks of the merchant, the user or the path, is an APIError.
    """


class NoStatement(NotFound):
    """There is no statement for that day: nothing was paid, or it is too early to ask."""


class SetupError(APIError):
    """Our keys, merchant numbers, permissions or paths are not as WeChat Pay has them: stop, and tell the operator.

    It says nothing about the object that was asked about.
    """


class RateLimited(APIError):
    """Too many calls. Not accepted: send the same number again, later.

    ``retry_after`` is what the answer asked for, in whole seconds and ten minutes at most, or None. Not ``verified``:
    anything between us and WeChat Pay may have said so.
    """

    def __init__(self, message: str, *, retry_after: int | None = None, **known: Any) -> None:
        super().__init__(message, **known)
        self.retry_after = retry_after


class SignatureInvalid(WxPayError):
    """A message is not proven to come from WeChat Pay; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MessageMalformed(WxPayError):
    """A message is not in the form the manual describes."""


class DecryptionFailed(WxPayError):
    """None of the keys at hand opens the message; most often the APIv3 key was changed."""


class BillNotReady(WxPayError):
    """WeChat Pay is still making the file: ask again later."""

    def __init__(self, message: str, *, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


class BillCorrupt(WxPayError):
    """A file is cut, altered, too large, or not laid out as any layout known: nothing in it may be used."""
