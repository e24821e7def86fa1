from datetime import date

import pytest

from django_wxpay.client import fields
from django_wxpay.client.errors import InvalidField

EMOJI = "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda n, v: fields.text(n, v, 32), "李 M., café"),
        (lambda n, v: fields.text(n, v, 3), "月费用"),
        (lambda n, v: fields.text(n, v, 9, three_byte=False), EMOJI),
        (fields.out_trade_no, "D2026-03_01*1"),
        (fields.out_refund_no, "R|2026@03*1"),
        (fields.out_contract_code, "C" * 32),
        (fields.identifier, "4200000000202603010000000001"),
        (fields.amount, 1),
        (fields.amount, 2**53 + 1),
        (fields.currency, "HKD"),
        (fields.category_code, "5734"),
        (fields.url, "https://shop.example/wxpay/notify/default/"),
        (fields.url, "http://127.0.0.1:8000/notify"),
        (fields.ip, "203.0.113.9"),
        (fields.ip, "2001:db8::1"),
        (fields.moment, "2026-03-01T13:00:00+08:00"),
        (fields.moment, "2026-03-01T13:00:00.5Z"),
        (fields.china_day, "20260301"),
    ],
)
def test_a_proper_value_is_returned_as_it_is(check, value):
    assert check("field", value) == value


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda n, v: fields.text(n, v, 32), ""),
        (lambda n, v: fields.text(n, v, 32), "   "),
        (lambda n, v: fields.text(n, v, 32), "x" * 33),
        (lambda n, v: fields.text(n, v, 32), None),
        (lambda n, v: fields.text(n, v, 32), 7),
        (lambda n, v: fields.text(n, v, 32), f"so good {EMOJI}"),
        (lambda n, v: fields.text(n, v, 32), "two\nlines"),
        (lambda n, v: fields.text(n, v, 32), "nul\x00"),
        (lambda n, v: fields.text(n, v, 32), "half \ud83d"),
        (fields.out_trade_no, "D 1"),
        (fields.out_trade_no, "D/1"),
        (fields.out_trade_no, "D|1"),
        (fields.out_trade_no, "订单1"),
        (fields.out_trade_no, "D" * 33),
        (fields.out_trade_no, "D1\n"),
        (fields.out_refund_no, "R" * 65),
        (fields.out_refund_no, "R#1"),
        (fields.identifier, ".."),
        (fields.identifier, "42/00"),
        (fields.amount, 0),
        (fields.amount, -1),
        (fields.amount, 1.0),
        (fields.amount, True),
        (fields.amount, "100"),
        (fields.amount, 2**63),
        (fields.currency, "hkd"),
        (fields.currency, "ABC"),
        (fields.currency, ["HKD"]),
        (fields.url, "ftp://shop.example/notify"),
        (fields.url, "https://shop.example/notify?x=1"),
        (fields.url, "https://shop.example/notify#x"),
        (fields.url, "https://user:pw@shop.example/notify"),
        (fields.url, "https:///notify"),
        (fields.url, "https://[::1/notify"),
        (fields.url, "https://shop.example:port/notify"),
        (fields.url, "https://商店.example/notify"),
        (fields.url, "https://shop.example/" + "x" * 240),
        (fields.ip, "203.0.113.999"),
        (fields.moment, "2026-03-01T13:00:00"),
        (fields.moment, "2026-02-30T13:00:00+08:00"),
        (fields.moment, "20260301130000"),
        (fields.china_day, "2026-03-01"),
        (fields.china_day, "20260230"),
        (fields.category_code, "57a4"),
    ],
)
def test_an_improper_value_is_refused_and_the_field_named(check, value):
    with pytest.raises(InvalidField) as caught:
        check("the_field", value)
    assert caught.value.field == "the_field"
    assert str(caught.value).startswith("the_field ")


def test_a_refusal_does_not_repeat_the_value():
    with pytest.raises(InvalidField) as caught:
        fields.identifier("openid", "o-secret openid", 128)
    assert "secret" not in str(caught.value)


def test_a_day_may_be_given_as_a_date():
    assert fields.china_day("date", date(2026, 3, 1)) == "20260301"


@pytest.mark.parametrize("given", [{"a": "", "b": ""}, {"a": "1", "b": "2"}])
def test_none_or_both_of_two_numbers_are_refused(given):
    with pytest.raises(InvalidField, match="exactly one of a and b"):
        fields.one_of(**given)
