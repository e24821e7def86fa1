"""Checks of one request field each: the value as it may be sent, or `InvalidField` with the field's name.

Lengths and characters are those of the API pages (global and mainland agree on all that is checked here).
Lengths count characters. Messages never repeat a value: it may be an openid or a payment code.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from datetime import date, datetime, time
from typing import NoReturn
from urllib.parse import urlsplit

from . import money
from .errors import InvalidField

_ORDER_NUMBER = re.compile(r"[0-9A-Za-z_\-*]+")
_SERVICE_ORDER_NUMBER = re.compile(r"[0-9A-Za-z_\-|*]+")
_REFUND_NUMBER = re.compile(r"[0-9A-Za-z_\-|*@]+")
_IDENTIFIER = re.compile(r"[0-9A-Za-z_\-]+")
_LETTERS_AND_DIGITS = re.compile(r"[0-9A-Za-z]+")
_DIGITS = re.compile(r"[0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BEYOND_THREE_BYTES = re.compile(r"[\U00010000-\U0010ffff]")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_LARGEST = 2**63 - 1


def _refuse(name: str, problem: str) -> NoReturn:
    raise InvalidField(f"{name} {problem}.", field=name)


def text(name: str, value: object, max_length: int, *, required: bool = True, three_byte: bool = True) -> str:
    """Return text people may read. three_byte: refuse characters of four bytes (emoji, rare Chinese).

    Control characters and line ends are refused too: they would break the lines of a statement.
    """
    if not isinstance(value, str):
        _refuse(name, f"must be text, not {type(value).__name__}")
    if not value.strip():
        if required:
            _refuse(name, "must not be empty")
        return ""
    if len(value) > max_length:
        _refuse(name, f"has {len(value)} characters, at most {max_length} are allowed")
    if _CONTROL.search(value):
        _refuse(name, "must be one line, without control characters")
    if _SURROGATE.search(value):
        _refuse(name, "is broken text (half a character)")
    if three_byte and _BEYOND_THREE_BYTES.search(value):
        _refuse(name, "must not have emoji or other characters of four bytes")
    return value


def _matching(name: str, value: object, pattern: re.Pattern[str], allowed: str, max_length: int, required: bool) -> str:
    checked = text(name, value, max_length, required=required)
    if checked and not pattern.fullmatch(checked):
        _refuse(name, f"may only have {allowed}")
    return checked


def out_trade_no(name: str, value: object, *, required: bool = True) -> str:
    """Return a merchant's order or contract number: at most 32 digits, letters and ``_-*``."""
    return _matching(name, value, _ORDER_NUMBER, "digits, letters and _ - *", 32, required)


out_contract_code = merchant_plan_no = merchant_sign_plan_no = merchant_plan_detail_no = out_trade_no


def out_order_no(name: str, value: object, *, required: bool = True) -> str:
    """Return a merchant's service order number: at most 32 digits, letters and ``_-|*``."""
    return _matching(name, value, _SERVICE_ORDER_NUMBER, "digits, letters and _ - | *", 32, required)


def out_refund_no(name: str, value: object, *, required: bool = True) -> str:
    """Return a merchant's refund number: at most 64 digits, letters and ``_-|*@``."""
    return _matching(name, value, _REFUND_NUMBER, "digits, letters and _ - | * @", 64, required)


def identifier(name: str, value: object, max_length: int = 32, *, required: bool = True) -> str:
    """Return a number WeChat Pay gave out, or an openid: digits, letters, ``_`` and ``-``."""
    return _matching(name, value, _IDENTIFIER, "digits, letters, _ and -", max_length, required)


def appid(name: str, value: object, *, required: bool = True) -> str:
    """Return an appid: at most 32 letters and digits."""
    return _matching(name, value, _LETTERS_AND_DIGITS, "letters and digits", 32, required)


def mchid(name: str, value: object, *, required: bool = True) -> str:
    """Return a merchant number: at most 32 digits."""
    return _matching(name, value, _DIGITS, "digits", 32, required)


def category_code(name: str, value: object) -> str:
    """Return a merchant category code (MCC): four digits at home, at most 16 on the wire."""
    return _matching(name, value, _DIGITS, "digits", 16, True)


def whole(name: str, value: object, least: int, most: int = _LARGEST) -> int:
    """Return a whole number between two bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(name, f"must be a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        _refuse(name, f"must be at least {least}" if value < least else f"must be at most {most}")
    return value


def amount(name: str, value: object) -> int:
    """Return an amount: a whole number of minor units, one at least."""
    return whole(name, value, 1)


def currency(name: str, value: object) -> str:
    """Return an ISO 4217 code in use today."""
    try:
        return money.check_currency(value)  # type: ignore[arg-type]
    except ValueError:
        _refuse(name, "must be an ISO 4217 code in use, three capitals")


def choice(name: str, value: object, allowed: Collection[str], *, required: bool = True) -> str:
    """Return one of the words the API knows."""
    if value == "" and not required:
        return ""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(sorted(allowed)) if isinstance(allowed, (set, frozenset, dict, tuple)) else "known words"
        _refuse(name, f"must be one of {words}")
    return value


def url(name: str, value: object, max_length: int = 256, *, required: bool = True, query: bool = False) -> str:
    """Return an absolute http or https URL in ASCII; a query string only where ``query`` allows it."""
    checked = text(name, value, max_length, required=required)
    if not checked:
        return checked
    if not checked.isascii() or " " in checked or "\\" in checked:
        _refuse(name, "must be written in ASCII, percent-encoded where needed")
    try:
        parts = urlsplit(checked)
        host, _ = parts.hostname, parts.port
    except ValueError:
        _refuse(name, "is no URL")
    if parts.scheme not in ("https", "http") or not host:
        _refuse(name, "must begin with https:// (or http://) and a host name")
    if parts.username is not None:
        _refuse(name, "must not carry a user name")
    if not query and ("?" in checked or "#" in checked):
        _refuse(name, "must not have a query string or fragment")
    return checked


def ip(name: str, value: object, *, required: bool = False) -> str:
    """Return an IPv4 or IPv6 address."""
    checked = text(name, value, 45, required=required)
    if not checked:
        return checked
    try:
        return str(ipaddress.ip_address(checked))
    except ValueError:
        _refuse(name, "must be an IPv4 or IPv6 address")


def moment(name: str, value: object, *, required: bool = False) -> str:
    """Return a time in RFC 3339 with its offset, such as ``2026-03-01T13:00:00+08:00``."""
    checked = text(name, value, 64, required=required)
    if not checked:
        return checked
    if not _RFC3339.fullmatch(checked):
        _refuse(name, "must be a time in RFC 3339 with offset, such as 2026-03-01T13:00:00+08:00")
    try:
        datetime.fromisoformat(checked[:19])
    except ValueError:
        _refuse(name, "is no time of any calendar")
    return checked


def china_day(name: str, value: object) -> str:
    """Return a China day as ``yyyyMMdd``, given as a `date` or in that form."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.strftime("%Y%m%d")
    checked = text(name, value, 8)
    try:
        if len(checked) != 8 or not _DIGITS.fullmatch(checked):
            raise ValueError
        date(int(checked[:4]), int(checked[4:6]), int(checked[6:]))
    except ValueError:
        _refuse(name, "must be a date, or text such as 20260301")
    return checked


def china_time(name: str, value: object, *, required: bool = True) -> str:
    """Return a time of China as ``yyyyMMddHHmmss``, or a day as ``yyyyMMdd``."""
    checked = text(name, value, 14, required=required)
    try:
        if checked and (len(checked) not in (8, 14) or not _DIGITS.fullmatch(checked)):
            raise ValueError
        if checked:
            date(int(checked[:4]), int(checked[4:6]), int(checked[6:8]))
            hour, minute, second = (int(checked[at : at + 2] or 0) for at in (8, 10, 12))
            time(hour, minute, second)
    except ValueError:
        _refuse(name, "must be a time of China such as 20260301130000, or a day such as 20260301")
    return checked


def auth_code(name: str, value: object, prefixes: Collection[str]) -> str:
    """Return a payment code: 18 digits, the first two among ``prefixes``."""
    checked = text(name, value, 64)
    if len(checked) != 18 or not _DIGITS.fullmatch(checked):
        _refuse(name, "must have 18 digits")
    if checked[:2] not in prefixes:
        _refuse(name, "is no payment code of WeChat Pay (its first two digits are not among those known)")
    return checked


def one_of(**numbers: str) -> tuple[str, str]:
    """Return the only pair of name and value that is not empty: calls that take either of two numbers."""
    given = [(name, value) for name, value in numbers.items() if value]
    if len(given) != 1:
        first = next(iter(numbers))
        raise InvalidField(f"Give exactly one of {' and '.join(numbers)}.", field=first)
    return given[0]
