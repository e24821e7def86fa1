"""Currencies the sandbox takes, and what the payer's wallet is charged for them.

Rates are invented and fixed: units of the wallet's currency (CNY) for one unit of the order's, times 10^8, as
``exchange_rate.rate`` is written.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

WALLET = "CNY"
RATE_UNIT = 10**8
NO_MINOR_UNIT = frozenset({"JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF", "XPF"})
RATES = {
    "CNY": 100000000,
    "HKD": 92000000,
    "USD": 718000000,
    "EUR": 781000000,
    "GBP": 912000000,
    "JPY": 4800000,
    "KRW": 520000,
    "AUD": 470000000,
    "CAD": 525000000,
    "CHF": 812000000,
    "DKK": 104700000,
    "MOP": 89300000,
    "MYR": 163000000,
    "NOK": 66100000,
    "NZD": 432000000,
    "SEK": 68500000,
    "SGD": 541000000,
    "THB": 20600000,
    "TWD": 22400000,
    "VND": 28500,
    "PHP": 12400000,
    "IDR": 45000,
    "AED": 195500000,
    "ZAR": 39200000,
    "RUB": 7900000,
}
CURRENCIES = frozenset(RATES)


def exponent(currency: str) -> int:
    return 0 if currency in NO_MINOR_UNIT else 2


def charged(amount: int, currency: str) -> int:
    """Return what the wallet pays for an amount, in the wallet's minor unit."""
    wallet_amount = Decimal(amount) * RATES[currency] * 10 ** (2 - exponent(currency)) / RATE_UNIT
    return int(wallet_amount.quantize(Decimal(1), ROUND_HALF_UP))


def exchange_rate(currency: str) -> dict[str, int | str] | None:
    if currency == WALLET:
        return None
    return {"type": "SETTLEMENT_RATE", "rate": RATES[currency]}


def major_text(amount: int, currency: str) -> str:
    """Write an amount in major units: 3800 HKD is ``38.00``, 3800 JPY is ``3800``."""
    places = exponent(currency)
    return f"{Decimal(amount).scaleb(-places):.{places}f}"
