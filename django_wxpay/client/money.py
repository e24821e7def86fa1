"""Amounts: whole numbers of the currency's minor unit, decimal text in its major unit, never `float`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache

from babel.core import get_global

# ISO 4217, table A.1: every other currency has two places. (CLDR's places, which babel offers, are those
# people write, not those banks book: CLDR gives ALL, MMK and RSD none, ISO 4217 gives them two.)
_PLACES = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
_DECIMAL = re.compile(r"(-?)([0-9]{1,30})(?:\.([0-9]{1,30}))?")


@cache
def _currencies() -> frozenset[str]:
    """Return the codes that are legal tender somewhere today."""
    used = get_global("territory_currencies").values()
    return frozenset(code for history in used for code, _, end, tender in history if tender and end is None)


def check_currency(code: str) -> str:
    """Return ``code`` when it is an ISO 4217 code in use today; ValueError when it is not."""
    if not isinstance(code, str) or code not in _currencies():
        raise ValueError(f"{code!r} is no currency code in use (ISO 4217, three capitals).")
    return code


def exponent(currency: str) -> int:
    """Return how many decimal places the currency has: ``HKD`` 2, ``JPY`` 0, ``KWD`` 3."""
    return _PLACES.get(check_currency(currency), 2)


def minor_units(amount: str | Decimal | int, currency: str) -> int:
    """Return an amount written in major units as a whole number of minor units, exactly.

    ``minor_units("38.00", "HKD") == 3800``. ValueError for what cannot be told exactly: more places than the
    currency has (unless they are zeros), a `float`, an exponent, blanks.
    """
    places = exponent(currency)
    if isinstance(amount, bool) or not isinstance(amount, (str, Decimal, int)):
        raise ValueError(f"{amount!r} is no exact amount: give text or a Decimal.")
    text = format(amount, "f") if isinstance(amount, Decimal) else str(amount)
    found = _DECIMAL.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:40]!r} is no decimal amount.")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if fraction[places:].strip("0"):
        raise ValueError(f"{text} has more than the {places} decimal places of {currency}.")
    return int(f"{sign}{whole}{fraction[:places].ljust(places, '0')}")


def major_units(amount: int, currency: str) -> Decimal:
    """Return minor units in major units: ``major_units(3800, "HKD") == Decimal("38.00")``."""
    places = exponent(currency)
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"{amount!r} is no whole number of minor units.")
    digits = tuple(int(digit) for digit in str(abs(amount)))
    return Decimal((amount < 0, digits, -places))
