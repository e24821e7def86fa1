import pytest

from django_wxpay.client.errors import InvalidField, NotFound

from .test_payscore import mainland
from .wire import Reply

REFUND = {
    "out_refund_no": "R20260304A1",
    "amount": 5000,
    "amount_total": 10000,
    "currency": "CNY",
    "notify_url": "https://shop.example/wxpay/notify/mainland/",
    "transaction_id": "4200000000202603030000000001",
}


def test_a_mainland_refund_is_sent_as_the_manual_shows():
    client = mainland(Reply(200, {"status": "PROCESSING"}))
    client.domestic_refunds.create(**REFUND, reason="class cancelled", funds_account="AVAILABLE")
    assert client.wire.last.url == "https://api.mch.weixin.qq.com/v3/refund/domestic/refunds"
    assert client.wire.sent == {
        "transaction_id": "4200000000202603030000000001",
        "out_refund_no": "R20260304A1",
        "amount": {"refund": 5000, "total": 10000, "currency": "CNY"},
        "notify_url": "https://shop.example/wxpay/notify/mainland/",
        "reason": "class cancelled",
        "funds_account": "AVAILABLE",
    }


def test_a_providers_refund_names_the_sub_merchant_in_both_calls():
    client = mainland(Reply(200, {}), Reply(200, {}), mode="partner")
    client.domestic_refunds.create(**REFUND, sub_mchid="19")
    assert client.wire.sent["sub_mchid"] == "19" and "sp_mchid" not in client.wire.sent
    client.domestic_refunds.query(out_refund_no="R|1", sub_mchid="19")
    assert client.wire.last.path_url == "/v3/refund/domestic/refunds/R%7C1?sub_mchid=19"


def test_a_refund_that_was_never_taken_is_not_found():
    client = mainland(Reply(404, {"code": "RESOURCE_NOT_EXISTS", "message": "no"}))
    with pytest.raises(NotFound):
        client.domestic_refunds.query(out_refund_no="R1")


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("amount", {"amount": 10001}),
        ("amount", {"amount": 0}),
        ("currency", {"currency": "HKD"}),
        ("out_trade_no", {"transaction_id": ""}),
        ("out_trade_no", {"out_trade_no": "Q1"}),
        ("funds_account", {"funds_account": "REFUND_SOURCE_RECHARGE_FUNDS"}),
        ("reason", {"reason": "x" * 81}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.domestic_refunds.create(**(REFUND | changed))
    assert caught.value.field == field
    assert not client.wire.requests
