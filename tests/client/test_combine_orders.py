"""Combined orders as they are sent, and what a mini program needs to pay one."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from django_wxpay.client.errors import InvalidField, NotFound, OutcomeUnknown

from .test_payscore import mainland
from .wire import Reply, key

ROOT = "https://api.mch.weixin.qq.com/v3/combine-transactions"
PAYER = "oPayer0000000000000000000001"
SUB = {"out_trade_no": "S1", "individual_auth_id": "IA1", "amount": 1200, "description": "used book"}
ORDER = {
    "combine_out_trade_no": "C20260302A1",
    "openid": PAYER,
    "sub_orders": [SUB],
    "notify_url": "https://shop.example/wxpay/notify/mainland/",
}


@pytest.mark.parametrize("mode", ["direct", "partner"])
def test_an_order_is_sent_as_the_manual_shows(mode):
    client = mainland(Reply(200, {"prepay_id": "wx1"}), mode=mode)
    client.combine_orders.create(
        **ORDER | {"sub_orders": [SUB | {"attach": "item-17", "order_service_type": "INDIVIDUALTRADE"}]},
        time_expire="2026-03-02T11:00:00+08:00",
        trade_scenario="RECOMMERCE",
        payer_client_ip="192.0.2.10",
        device_id="till-1",
    )
    assert client.wire.last.url == f"{ROOT}/miniprogram"
    assert client.wire.sent == {
        "combine_appid": client.identity.appid,
        "combine_mchid": client.identity.mchid,
        "combine_out_trade_no": "C20260302A1",
        "combine_payer_info": {"openid": PAYER},
        "sub_orders": [
            {
                "mchid": client.identity.mchid,
                "individual_auth_id": "IA1",
                "out_trade_no": "S1",
                "amount": {"total_amount": 1200, "currency": "CNY"},
                "description": "used book",
                "attach": "item-17",
                "order_service_type": "INDIVIDUALTRADE",
            }
        ],
        "notify_url": "https://shop.example/wxpay/notify/mainland/",
        "time_expire": "2026-03-02T11:00:00+08:00",
        "trade_scenario": "RECOMMERCE",
        "scene_info": {"payer_client_ip": "192.0.2.10", "device_id": "till-1"},
    }


def test_what_only_the_guide_names_is_sent_where_it_is_given():
    client = mainland(Reply(200, {"prepay_id": "wx1"}))
    guide = {
        "transfer_scene": "SECOND_HAND_ECOMMERCE",
        "goods_tag": "WX",
        "detail": {"cost_price": 1},
        "settle_info": {"profit_sharing": False},
        "individual_name": "小王",
    }
    client.combine_orders.create(**ORDER | {"sub_orders": [SUB | guide]}, time_start="2026-03-02T10:00:00+08:00")
    [sent] = client.wire.sent["sub_orders"]
    assert guide.items() <= sent.items() and client.wire.sent["time_start"] == "2026-03-02T10:00:00+08:00"
    assert sent["attach"] == "S1"  # its own number where the shop gives none


def test_an_app_has_a_path_of_its_own():
    client = mainland(Reply(200, {"prepay_id": "wx1"}))
    client.combine_orders.create(**ORDER, client="app")
    assert client.wire.last.url == f"{ROOT}/app"


def test_a_payment_is_asked_about_by_either_number_without_a_query_string():
    client = mainland(Reply(200), Reply(200), Reply(404, {"code": "ORDER_NOT_EXIST", "message": "no"}))
    client.combine_orders.query(combine_out_trade_no="C1")
    assert client.wire.last.url == f"{ROOT}/out-trade-no/C1"
    client.combine_orders.query(combine_transaction_id="4300000000202603020000000001")
    assert client.wire.last.url == f"{ROOT}/id/4300000000202603020000000001"
    with pytest.raises(NotFound):
        client.combine_orders.query(combine_out_trade_no="C1")


def test_closing_names_each_sub_order_as_it_was_sent_and_only_204_is_closed():
    client = mainland(Reply(204), Reply(202, {"code": "USERPAYING", "message": "wait"}), Reply(200, {}))
    named = {"out_trade_no": "S1", "individual_auth_id": "IA1"}
    assert client.combine_orders.close(combine_out_trade_no="C1", sub_orders=[named]).status == 204
    assert client.wire.last.url == f"{ROOT}/out-trade-no/C1/close"
    assert client.wire.sent == {
        "combine_appid": client.identity.appid,
        "sub_orders": [{"mchid": client.identity.mchid} | named],
    }
    with pytest.raises(OutcomeUnknown) as caught:
        client.combine_orders.close(combine_out_trade_no="C1", sub_orders=[named])
    assert (caught.value.code, caught.value.status) == ("USERPAYING", 202)
    with pytest.raises(OutcomeUnknown):
        client.combine_orders.close(combine_out_trade_no="C1", sub_orders=[named])


def test_payment_params_are_signed_over_four_lines_and_fresh_each_time():
    client = mainland(clock=lambda: 1772418030.7)
    given = client.combine_orders.payment_params(prepay_id="wx20260302")
    message = f"{client.identity.appid}\n1772418030\n{given['nonceStr']}\nprepay_id=wx20260302\n"
    key("merchant").public_key().verify(
        base64.b64decode(given.pop("paySign")), message.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    nonce = given.pop("nonceStr")
    assert given == {"timeStamp": "1772418030", "package": "prepay_id=wx20260302", "signType": "RSA"}
    assert client.combine_orders.payment_params(prepay_id="wx20260302")["nonceStr"] != nonce


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("combine_out_trade_no", {"combine_out_trade_no": "C*1"}),
        ("combine_out_trade_no", {"combine_out_trade_no": "x" * 33}),
        ("openid", {"openid": ""}),
        ("client", {"client": "h5"}),
        ("notify_url", {"notify_url": "https://shop.example/?a=b"}),
        ("notify_url", {"notify_url": "https://shop.example/" + "x" * 240}),
        ("time_expire", {"time_expire": "2026-03-02 11:00"}),
        ("time_start", {"time_start": "soon"}),
        ("trade_scenario", {"trade_scenario": "x" * 33}),
        ("scene_info.payer_client_ip", {"device_id": "till-1"}),
        ("scene_info.payer_client_ip", {"payer_client_ip": "here"}),
        ("scene_info.device_id", {"payer_client_ip": "::1", "device_id": "x" * 17}),
        ("sub_orders", {"sub_orders": []}),
        ("sub_orders", {"sub_orders": [SUB | {"out_trade_no": f"S{n}"} for n in range(11)]}),
        ("sub_orders", {"sub_orders": [SUB, SUB]}),
        ("sub_orders[0].amount", {"sub_orders": [SUB | {"amount": 0}]}),
        ("sub_orders[0].amount", {"sub_orders": [SUB | {"amount": 12.0}]}),
        ("sub_orders[0].currency", {"sub_orders": [SUB | {"currency": "HKD"}]}),
        ("sub_orders[0].individual_auth_id", {"sub_orders": [SUB | {"individual_auth_id": ""}]}),
        ("sub_orders[0].out_trade_no", {"sub_orders": [SUB | {"out_trade_no": "S|1"}]}),
        ("sub_orders[0].description", {"sub_orders": [SUB | {"description": "x" * 128}]}),
        ("sub_orders[0].attach", {"sub_orders": [SUB | {"attach": "x" * 129}]}),
        ("sub_orders[0].individual_name", {"sub_orders": [SUB | {"individual_name": "x" * 65}]}),
        ("sub_orders[0].detail", {"sub_orders": [SUB | {"detail": "x"}]}),
        ("sub_orders[0].mchid", {"sub_orders": [SUB | {"mchid": "1"}]}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.combine_orders.create(**(ORDER | changed))
    assert caught.value.field == field
    assert not client.wire.requests
