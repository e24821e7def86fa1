"""What came back: an answer as received, as proven, and what it says when it is an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import signatures
from .errors import OutcomeUnknown, SignatureInvalid
from .texts import clean

# What `Retry-After` may ask for: a header of one answer, perhaps unsigned, must not silence a merchant for long.
LONGEST_WAIT_SECONDS = 600
LONGEST_INTEGER = 1000  # digits


@dataclass(frozen=True)
class Answer:
    """A verified answer. ``data`` is None for 204; ``text`` is the body word for word, as it was signed."""

    status: int
    data: dict[str, Any] | None = field(repr=False)
    text: str = field(repr=False)
    request_id: str
    server_time: datetime | None


@dataclass(frozen=True)
class RawAnswer:
    """An answer before anything in it was verified."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str:
        """What WeChat Pay's support asks for."""
        return self.headers.get("Request-ID", "")

    @property
    def server_time(self) -> datetime | None:
        """The other side's clock, from the ``Date`` header; None when it has none that can be read."""
        try:
            moment = parsedate_to_datetime(self.headers["Date"])
        except (KeyError, TypeError, ValueError):
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _whole(digits: str) -> int | str:
    """An integer. One longer than any number of ours stays text, for Python refuses to read very long ones at all."""
    return int(digits) if len(digits) <= LONGEST_INTEGER else digits


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; ValueError for anything else, however deep or huge."""
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def prove(raw: RawAnswer, find_key: Callable[[str], RSAPublicKey | None], now: float) -> None:
    """Raise OutcomeUnknown unless an answer is proven to come from WeChat Pay."""
    try:
        signatures.check(raw.headers, raw.body, find_key, now)
    except SignatureInvalid as error:
        raise OutcomeUnknown(
            f"An answer of status {raw.status} is not proven: {error.reason}",
            status=raw.status,
            request_id=raw.request_id,
        ) from error


def decode(raw: RawAnswer) -> Answer:
    """Return a proven 2xx as an `Answer`; OutcomeUnknown when its body is not what it must be."""
    try:
        text = raw.body.decode()
        data = None if raw.status == 204 else read_object(text)
    except ValueError:
        raise OutcomeUnknown(
            f"An answer of status {raw.status} cannot be read.", status=raw.status, request_id=raw.request_id
        ) from None
    return Answer(raw.status, data, text, raw.request_id, raw.server_time)


def error_of(raw: RawAnswer) -> tuple[str, str, Any]:
    """Return code, message and detail of an answer that is an error."""
    try:
        error = read_object(raw.body.decode())
    except ValueError:
        return "", "the answer's body is not the JSON of an error", None
    code, message = error.get("code"), error.get("message")
    return (
        clean(code.strip(), 64) if isinstance(code, str) else "",
        clean(message, 512) if isinstance(message, str) else "",
        error.get("detail"),
    )


def retry_after(raw: RawAnswer, now: float) -> int | None:
    """Return how many seconds an answer asks to wait, `LONGEST_WAIT_SECONDS` at most; None when it does not say."""
    header = raw.headers.get("Retry-After", "").strip()
    try:
        if header.isascii() and header.isdigit():
            seconds = int(header[:12])
        else:
            moment = parsedate_to_datetime(header)
            seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0), LONGEST_WAIT_SECONDS)
