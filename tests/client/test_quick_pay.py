import logging

import pytest
import requests

from django_wxpay.client.errors import APIError, InvalidField, NotFound, OutcomeUnknown

from .wire import Reply, make_client

CODE = "130000000000000001"
PAYMENT = {
    "out_trade_no": "Q20260301000001",
    "auth_code": CODE,
    "amount_total": 3800,
    "currency": "HKD",
    "description": "Coffee",
    "merchant_category_code": "5814",
}


def pay(client, **changed):
    return client.orders.pay_by_code(**(PAYMENT | changed))


def test_a_quick_payment_of_a_direct_merchant_is_sent_as_the_manual_shows():
    client = make_client(Reply(200, {"trade_state": "SUCCESS"}))
    assert pay(client).data == {"trade_state": "SUCCESS"}
    assert client.wire.last.path_url == "/v3/global/micropay/transactions/pay"
    assert client.wire.sent == {
        "mchid": "1900000100",
        "appid": "wx1111111111111111",
        "description": "Coffee",
        "out_trade_no": "Q20260301000001",
        "trade_type": "MICROPAY",
        "merchant_category_code": "5814",
        "payer": {"auth_code": CODE},
        "amount": {"total": 3800, "currency": "HKD"},
    }


def test_a_quick_payment_of_an_institution_names_the_sub_merchant_and_what_else_is_given():
    client = make_client(Reply(200, {}), mode="institution")
    pay(
        client, attach="a", goods_tag="g", limit_pay="no_credit", device_id="TILL-3", device_ip="203.0.113.9",
        payer_client_ip="2001:db8::1", operator_id="op", store_id="1", store_name="Central", store_address="1 Road",
        sub_mchid="1900000109", sub_appid="wx2",
    )  # fmt: skip
    sent = client.wire.sent
    assert (sent["sp_mchid"], sent["sp_appid"]) == ("1900000100", "wx1111111111111111")
    assert (sent["sub_mchid"], sent["sub_appid"]) == ("1900000109", "wx2")
    assert (sent["attach"], sent["goods_tag"], sent["limit_pay"]) == ("a", "g", "no_credit")
    assert sent["scene_info"] == {
        "device_id": "TILL-3",
        "device_ip": "203.0.113.9",
        "payer_client_ip": "2001:db8::1",
        "operator_id": "op",
        "store_info": {"id": "1", "name": "Central", "address": "1 Road"},
    }


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("auth_code", {"auth_code": ""}),
        ("auth_code", {"auth_code": None}),
        ("auth_code", {"auth_code": "13000000000000001"}),
        ("auth_code", {"auth_code": "1300000000000000012"}),
        ("auth_code", {"auth_code": "280000000000000001"}),
        ("auth_code", {"auth_code": "160000000000000001"}),
        ("auth_code", {"auth_code": "13000000000000000x"}),
        ("auth_code", {"auth_code": "１３0000000000000001"}),
        ("amount_total", {"amount_total": 0}),
        ("currency", {"currency": "HK$"}),
        ("description", {"description": "x" * 128}),
        ("out_trade_no", {"out_trade_no": "Q 1"}),
        ("limit_pay", {"limit_pay": "no_debit"}),
        ("store_name", {"store_id": "1"}),
        ("store_address", {"store_id": "1", "store_name": "Central"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = make_client()
    with pytest.raises(InvalidField) as caught:
        pay(client, **changed)
    assert caught.value.field == field
    assert not client.wire.requests


def test_prefixes_of_payment_codes_may_grow():
    client = make_client(Reply(200, {}))
    pay(client, auth_code="180000000000000001", auth_code_prefixes={"18"})
    assert client.wire.sent["payer"] == {"auth_code": "180000000000000001"}


@pytest.mark.parametrize("status", [202, 400, 403])
@pytest.mark.parametrize("code", ["USERPAYING", "USER_PAYING"])
def test_a_payer_who_is_still_paying_is_an_answer_whatever_its_status(status, code):
    answer = pay(make_client(Reply(status, {"code": code, "message": "password"})))
    assert (answer.status, answer.data["code"]) == (status, code)


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("status", [202, 403, 500])
def test_still_paying_that_is_not_proven_is_unknown(status):
    with pytest.raises(OutcomeUnknown):
        pay(make_client(Reply(status, {"code": "USERPAYING", "message": "password"}, sign=False)))


@pytest.mark.parametrize("code", ["AUTH_CODE_INVALID", "NOT_ENOUGH", "ORDER_PAID"])
def test_a_refusal_is_a_refusal(code):
    with pytest.raises(APIError) as caught:
        pay(make_client(Reply(403, {"code": code, "message": "no"})))
    assert caught.value.means(code) and caught.value.verified


@pytest.mark.scenario("S52")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"code": "PARAM_ERROR", "message": f"bad {CODE}", "detail": {"field": "/x", "value": CODE}}),
        Reply(401, {"code": "SIGN_ERROR", "message": "", "detail": {"sign_information": {"m": f"..{CODE[:9]}"}}}),
        Reply(403, {"code": "USERPAYING", "message": CODE}, sign=False),
        Reply(500, {"code": "SYSTEM_ERROR", "message": CODE}),
        requests.ReadTimeout(CODE),
    ],
)
def test_a_payment_code_is_in_no_error_and_no_log(reply, caplog):
    client = make_client(reply)
    with caplog.at_level(logging.DEBUG, "django_wxpay"), pytest.raises((APIError, OutcomeUnknown)) as caught:
        pay(client)
    error = caught.value
    shown = f"{error} {error!r} {vars(error)} {caplog.text}"
    assert CODE not in shown and CODE[:9] not in shown
    assert getattr(error, "detail", None) in (None, {"sign_information": {}}, {"field": "/x"})


def test_a_wrong_payment_code_is_not_repeated_in_the_refusal():
    with pytest.raises(InvalidField) as caught:
        pay(make_client(), auth_code="280000000000000001")
    assert "2800" not in repr(caught.value)


@pytest.mark.parametrize(
    ("mode", "given", "path"),
    [
        ("direct", {"out_trade_no": "Q*1"}, "out-trade-no/Q%2A1?mchid=1900000100"),
        ("institution", {"id": "4200", "sub_mchid": "19"}, "id/4200?sp_mchid=1900000100&sub_mchid=19"),
    ],
)
def test_a_payment_is_queried_by_either_number(mode, given, path):
    client = make_client(Reply(200, {}), mode=mode)
    client.orders.query_payment(**given)
    assert client.wire.last.path_url == "/v3/global/transactions/" + path


def test_a_payment_that_never_arrived_is_not_found():
    with pytest.raises(NotFound):
        make_client(Reply(404, {"code": "ORDER_NOT_EXIST"})).orders.query_payment(out_trade_no="Q1")


@pytest.mark.parametrize(
    ("call", "root"),
    [("reverse_payment", "/v3/global/micropay/transactions"), ("close_payment", "/v3/global/transactions")],
)
@pytest.mark.parametrize(
    ("mode", "given", "path", "body"),
    [
        ("direct", {"out_trade_no": "Q1"}, "out-trade-no/Q1", {"mchid": "1900000100"}),
        (
            "institution",
            {"id": "4200", "sub_mchid": "19"},
            "id/4200",
            {"sp_mchid": "1900000100", "sub_mchid": "19"},
        ),
    ],
)
def test_a_payment_is_reversed_or_closed_by_either_number(call, root, mode, given, path, body):
    client = make_client(Reply(204), mode=mode)
    assert getattr(client.orders, call)(**given).status == 204
    assert client.wire.last.path_url == f"{root}/{path}/{call.partition('_')[0]}"
    assert client.wire.sent == body


@pytest.mark.parametrize("call", ["query_payment", "reverse_payment", "close_payment"])
@pytest.mark.parametrize("given", [{}, {"id": "1", "out_trade_no": "1"}])
def test_exactly_one_number_is_wanted(call, given):
    with pytest.raises(InvalidField):
        getattr(make_client().orders, call)(**given)


def test_a_reversal_refused_as_too_early_is_a_refusal_and_an_undecided_one_is_an_answer_without_204():
    with pytest.raises(APIError) as caught:
        make_client(Reply(400, {"code": "INVALID_REQUEST"})).orders.reverse_payment(out_trade_no="Q1")
    assert caught.value.means("INVALID_REQUEST")
    answer = make_client(Reply(202, {"code": "USERPAYING"})).orders.reverse_payment(out_trade_no="Q1")
    assert (answer.status, answer.data) == (202, {"code": "USERPAYING"})
