import pytest

from django_wxpay.client.errors import InvalidField

from .wire import Reply, make_client

DEDUCTION = {
    "out_trade_no": "D20260301000001",
    "contract_id": "202603011234567890",
    "amount_total": 10000,
    "currency": "HKD",
    "description": "March plan",
    "notify_url": "https://shop.example/wxpay/notify/",
    "merchant_category_code": "5734",
}


def test_a_deduction_of_a_direct_merchant_is_sent_as_the_manual_shows():
    client = make_client(Reply(200, {"trade_state": "SUCCESS"}))
    assert client.orders.deduct(**DEDUCTION).data == {"trade_state": "SUCCESS"}
    assert client.wire.last.path_url == "/v3/global/papay/transactions"
    assert client.wire.sent == {
        "appid": "wx1111111111111111",
        "description": "March plan",
        "notify_url": "https://shop.example/wxpay/notify/",
        "out_trade_no": "D20260301000001",
        "merchant_category_code": "5734",
        "contract_id": "202603011234567890",
        "amount": {"total": 10000, "currency": "HKD"},
    }


def test_a_deduction_of_an_institution_names_the_sub_merchant_and_what_else_is_given():
    client = make_client(Reply(200, {}), mode="institution")
    client.orders.deduct(
        **DEDUCTION, attach="a", goods_tag="g", device_id="T-1", device_ip="203.0.113.9",
        sub_mchid="1900000109", sub_appid="wx2",
    )  # fmt: skip
    sent = client.wire.sent
    assert {name: sent[name] for name in ("sp_appid", "sub_mchid", "sub_appid", "attach", "goods_tag")} == {
        "sp_appid": "wx1111111111111111",
        "sub_mchid": "1900000109",
        "sub_appid": "wx2",
        "attach": "a",
        "goods_tag": "g",
    }
    assert sent["scene_info"] == {"device_id": "T-1", "device_ip": "203.0.113.9"}
    assert "appid" not in sent and "mchid" not in sent


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("out_trade_no", {"out_trade_no": ""}),
        ("contract_id", {"contract_id": "../x"}),
        ("amount_total", {"amount_total": 0}),
        ("amount_total", {"amount_total": 10.0}),
        ("currency", {"currency": "RMB"}),
        ("description", {"description": "x" * 129}),
        ("description", {"description": "\N{GRINNING FACE}"}),
        ("notify_url", {"notify_url": "shop.example"}),
        ("merchant_category_code", {"merchant_category_code": ""}),
        ("attach", {"attach": "x" * 128}),
        ("goods_tag", {"goods_tag": "x" * 33}),
        ("device_ip", {"device_ip": "till"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = make_client()
    with pytest.raises(InvalidField) as caught:
        client.orders.deduct(**(DEDUCTION | changed))
    assert caught.value.field == field
    assert not client.wire.requests


@pytest.mark.parametrize(
    ("mode", "given", "path"),
    [
        ("direct", {"out_trade_no": "D*1"}, "/out-trade-no/D%2A1"),
        ("direct", {"transaction_id": "4200"}, "/4200"),
        ("institution", {"transaction_id": "4200", "sub_mchid": "19"}, "/4200?sub_mchid=19"),
    ],
)
def test_a_deduction_is_queried_by_either_number(mode, given, path):
    client = make_client(Reply(200, {}), mode=mode)
    client.orders.query_deduction(**given)
    assert client.wire.last.path_url == "/v3/global/papay/transactions" + path


@pytest.mark.parametrize(
    ("mode", "given", "body"), [("direct", {}, {}), ("institution", {"sub_mchid": "19"}, {"sub_mchid": "19"})]
)
def test_a_deduction_is_reversed_by_the_merchants_number(mode, given, body):
    client = make_client(Reply(204), mode=mode)
    assert client.orders.reverse_deduction(out_trade_no="D1", **given).status == 204
    assert client.wire.last.path_url == "/v3/global/papay/transactions/out-trade-no/D1/reverse"
    assert client.wire.sent == body
