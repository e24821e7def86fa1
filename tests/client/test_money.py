from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_wxpay.client import money


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("38.00", "HKD", 3800),
        ("0.01", "CNY", 1),
        ("-0.10", "HKD", -10),
        ("38", "HKD", 3800),
        ("38.5", "HKD", 3850),
        ("38.000", "HKD", 3800),
        ("500", "JPY", 500),
        ("500.00", "KRW", 500),
        ("1.234", "KWD", 1234),
        (Decimal("1E+2"), "CNY", 10000),
        (7, "CNY", 700),
        ("90071992547409930.01", "CNY", 9007199254740993001),
    ],
)
def test_major_units_become_minor_units_exactly(text, currency, minor):
    assert money.minor_units(text, currency) == minor


@pytest.mark.parametrize(
    "amount", ["0.001", "1e3", "", " 1", "1,000.00", "NaN", "１", "+1", ".5", 1.0, True, None, Decimal("NaN")]
)
def test_an_amount_that_is_not_exact_is_refused(amount):
    with pytest.raises(ValueError):
        money.minor_units(amount, "HKD")


@given(st.integers(-(2**63), 2**63), st.sampled_from(["HKD", "JPY", "KWD", "CNY", "TWD"]))
def test_major_units_and_back_is_the_same_amount(minor, currency):
    assert money.minor_units(money.major_units(minor, currency), currency) == minor


def test_major_units_show_the_places_of_the_currency():
    assert str(money.major_units(3800, "HKD")) == "38.00"
    assert str(money.major_units(500, "JPY")) == "500"
    assert str(money.major_units(-5, "HKD")) == "-0.05"


@pytest.mark.parametrize("code", ["HKD", "CNY", "USD", "EUR", "GBP", "JPY", "KRW", "MOP", "TWD", "THB", "MYR"])
def test_a_currency_in_use_is_known(code):
    assert money.check_currency(code) == code


@pytest.mark.parametrize(
    "code", ["hkd", "RMB", "DEM", "XXX", "", None, "HKDX", "\N{FULLWIDTH LATIN CAPITAL LETTER H}KD"]
)
def test_a_currency_not_in_use_is_refused(code):
    with pytest.raises(ValueError):
        money.check_currency(code)


def test_currencies_have_the_places_of_iso_4217():
    assert [money.exponent(code) for code in ("HKD", "JPY", "KRW", "KWD", "IDR")] == [2, 0, 0, 3, 2]
