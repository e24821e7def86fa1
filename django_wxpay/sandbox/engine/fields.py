"""Checks of request fields: what is required in which mode, lengths, types, characters.

A list of `Field` describes one request. `read` goes through it and refuses with ``PARAM_ERROR`` and the JSON
pointer of the first field that is wrong. A field that belongs to the other mode is refused; a field that nobody
knows is ignored, as WeChat Pay does, and noted in the log of calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from .answers import Refused
from .money import CURRENCIES

DIRECT, INSTITUTION, BOTH, NEVER = "direct", "institution", "both", "never"
OF_OTHER_MODE = {
    DIRECT: ("sp_mchid", "sp_appid", "sub_mchid", "sub_appid"),
    INSTITUTION: ("mchid", "appid"),
}
LONGEST_NUMBER = 2**63 - 1
Check = Callable[[Any], Any]


class Wrong(Exception):
    """A value does not pass; the text is the issue."""

    def __init__(self, issue: str, pointer: str = "", value: Any = None) -> None:
        super().__init__(issue)
        self.issue, self.pointer, self.value = issue, pointer, value


@dataclass(frozen=True)
class Field:
    name: str
    check: Check
    required: str = NEVER
    modes: str = BOTH

    def is_required(self, mode: str) -> bool:
        return self.required in (BOTH, mode)


def text(longest: int, *, pattern: str = "", shortest: int = 1) -> Check:
    """A string of characters of at most three bytes each (WeChat Pay refuses emoji)."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong("must be a string")
        if not shortest <= len(value) <= longest:
            raise Wrong(f"must have {shortest} to {longest} characters, has {len(value)}")
        if any(ord(character) > 0xFFFF for character in value):
            raise Wrong("contains a character of four bytes")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
            raise Wrong("contains half a character (a lone surrogate)")
        if pattern and not re.fullmatch(pattern, value):
            raise Wrong(f"must match {pattern}")
        return value

    return check


def integer(least: int, most: int = LONGEST_NUMBER) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong("must be an integer")
        if not least <= value <= most:
            raise Wrong(f"must be between {least} and {most}")
        return value

    return check


def query_integer(least: int, most: int = LONGEST_NUMBER) -> Check:
    inner = integer(least, most)

    def check(value: Any) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", str(value)):
            raise Wrong("must be an integer")
        return int(inner(int(value)))

    return check


def one_of(*values: str) -> Check:
    def check(value: Any) -> str:
        if value not in values:
            raise Wrong("must be one of " + ", ".join(values))
        return str(value)

    return check


def url(longest: int = 256, *, query_allowed: bool = False) -> Check:
    """An absolute URL. ``http://`` passes too: the sandbox and the shop usually are on one machine."""
    plain = text(longest)

    def check(value: Any) -> str:
        plain(value)
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - reading it is the check
        except ValueError:
            raise Wrong("is not a URL") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", value):
            raise Wrong("must be an absolute http or https URL")
        if not query_allowed and ("?" in value or "#" in value):
            raise Wrong("must have no query string and no fragment")
        return str(value)

    return check


def ip(longest: int = 45) -> Check:
    """An IPv4 or IPv6 address, without a zone."""
    plain = text(longest, pattern=r"[0-9A-Fa-f.:]+")

    def check(value: Any) -> str:
        plain(value)
        try:
            ip_address(value)
        except ValueError:
            raise Wrong("must be an IPv4 or IPv6 address") from None
        return str(value)

    return check


def moment(longest: int = 64) -> Check:
    """RFC 3339 with an offset; returns seconds since the epoch."""
    plain = text(longest)

    def check(value: Any) -> float:
        plain(value)
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", value):
            raise Wrong("must be an RFC 3339 time with an offset")
        try:
            fraction = re.sub(r"\.(\d+)", lambda found: "." + found[1].ljust(6, "0"), value)
            return datetime.fromisoformat(fraction.replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise Wrong("is not a time") from None

    return check


def currency(value: Any) -> str:
    if not isinstance(value, str) or value not in CURRENCIES:
        raise Wrong("must be an ISO 4217 currency code that WeChat Pay takes")
    return value


def group(*fields: Field) -> Check:
    """An object with fields of its own."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Wrong("must be an object")
        return _collect(fields, value, BOTH)

    return check


def several(one: Check) -> Check:
    """A list of at least one."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise Wrong("must be a list of at least one")
        clean = []
        for position, item in enumerate(value):
            try:
                clean.append(one(item))
            except Wrong as wrong:
                pointer = f"/{position}{wrong.pointer}"
                raise Wrong(wrong.issue, pointer, wrong.value if wrong.pointer else item) from None
        return clean

    return check


def read(fields: Sequence[Field], given: dict[str, Any], *, mode: str, location: str) -> dict[str, Any]:
    """Return the checked fields that were given; refuse with ``PARAM_ERROR`` otherwise."""
    here = [field for field in fields if field.modes in (BOTH, mode)]
    try:
        for name in OF_OTHER_MODE[mode]:
            if name in given and all(field.name != name for field in here):
                raise Wrong(f"is not used in {mode} mode", f"/{name}", given[name])
        return _collect(here, given, mode)
    except Wrong as wrong:
        name = wrong.pointer.strip("/").replace("/", ".")
        raise Refused(
            400,
            "PARAM_ERROR",
            f"{name} {wrong.issue}",
            detail={
                "field": wrong.pointer,
                "value": "" if wrong.value is None else str(wrong.value)[:64].encode("utf-8", "replace").decode(),
                "issue": wrong.issue,
                "location": "url" if location == "path" else location,
            },
        ) from None


def _collect(fields: Sequence[Field], given: dict[str, Any], mode: str) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for field in fields:
        pointer = f"/{field.name}"
        if field.name not in given:
            if field.is_required(mode):
                raise Wrong("is required", pointer)
            continue
        value = given[field.name]
        if value is None:
            raise Wrong("must not be null: leave it out", pointer)
        try:
            clean[field.name] = field.check(value)
        except Wrong as wrong:
            raise Wrong(wrong.issue, pointer + wrong.pointer, wrong.value if wrong.pointer else value) from None
    return clean
