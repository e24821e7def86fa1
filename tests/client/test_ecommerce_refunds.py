import pytest

from django_wxpay.client.errors import InvalidField, NotFound

from .test_payscore import mainland
from .wire import Reply

ROOT = "https://api.mch.weixin.qq.com/v3/ecommerce/refunds"
REFUND = {
    "out_refund_no": "R20260303B1",
    "individual_auth_id": "IA0000000000000001",
    "combine_transaction_id": "4300000000202603020000000001",
    "transaction_id": "4300000000202603020000000002",
    "amount": 200,
    "amount_total": 1200,
    "currency": "CNY",
    "notify_url": "https://shop.example/wxpay/notify/mainland/",
}


@pytest.mark.parametrize("mode", ["direct", "partner"])
def test_a_refund_of_a_sub_order_is_sent_as_the_manual_shows(mode):
    client = mainland(Reply(200, {"refund_id": "5"}), mode=mode)
    client.ecommerce_refunds.create(**REFUND, reason="torn", out_trade_no="S1", funds_account="UNSETTLED")
    assert client.wire.last.url == f"{ROOT}/apply"
    assert client.wire.sent == {
        "individual_auth_id": "IA0000000000000001",
        "sp_appid": client.identity.appid,
        "combine_transaction_id": "4300000000202603020000000001",
        "transaction_id": "4300000000202603020000000002",
        "out_refund_no": "R20260303B1",
        "amount": {"refund": 200, "total": 1200, "currency": "CNY"},
        "notify_url": "https://shop.example/wxpay/notify/mainland/",
        "funds_account": "UNSETTLED",
        "out_trade_no": "S1",
        "reason": "torn",
    }


def test_a_refund_is_asked_about_by_either_number():
    client = mainland(Reply(200), Reply(200), Reply(404, {"code": "RESOURCE_NOT_EXISTS", "message": "no"}))
    client.ecommerce_refunds.query(individual_auth_id="IA1", out_refund_no="R|1")
    assert client.wire.last.url == f"{ROOT}/out-refund-no/R%7C1?individual_auth_id=IA1"
    client.ecommerce_refunds.query(individual_auth_id="IA1", refund_id="50300")
    assert client.wire.last.url == f"{ROOT}/id/50300?individual_auth_id=IA1"
    with pytest.raises(NotFound):
        client.ecommerce_refunds.query(individual_auth_id="IA1", out_refund_no="R1")


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("amount", {"amount": 1201}),
        ("amount", {"amount": 0}),
        ("currency", {"currency": "HKD"}),
        ("individual_auth_id", {"individual_auth_id": ""}),
        ("combine_transaction_id", {"combine_transaction_id": ""}),
        ("transaction_id", {"transaction_id": ""}),
        ("funds_account", {"funds_account": "BASIC"}),
        ("reason", {"reason": "x" * 81}),
        ("notify_url", {"notify_url": "https://shop.example/?x"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.ecommerce_refunds.create(**(REFUND | changed))
    assert caught.value.field == field
    assert not client.wire.requests
