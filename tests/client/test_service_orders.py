"""Service orders: the bytes that are sent, in both modes, and what is refused before."""

import pytest

from django_wxpay.client.errors import InvalidField, NotFound

from .test_payscore import PARTNER, SERVICE, mainland
from .wire import Reply

START = {
    "service_id": SERVICE,
    "sign_plan_id": "0102000000000000000000000000T001",
    "plan_detail_no": 1,
    "out_order_no": "SD20260302A1",
    "notify_url": "https://shop.example/wxpay/notify/mainland/",
    "service_introduction": "游泳课 1",
    "time_range": {"start_time": "20260303100000"},
    "openid": "oTestUser000000000000000001",
}
ASKED = {"out_order_no": "SD1", "service_id": SERVICE}
LESSON = [{"name": "swim 1", "amount": 10000}]
ROOTS = {"direct": "/v3/payscore/serviceorder", "partner": "/v3/payscore/partner/serviceorder"}


def test_a_service_order_is_created_under_the_number_of_its_service():
    client = mainland(Reply(200, {"state": "DOING"}))
    client.service_orders.create(**START, attach="课 1&x", location={"start_location": "pool 1", "end_location": ""})
    assert client.wire.last.path_url == "/v3/payscore/sign-plan/serviceorder"
    wanted = START | {
        "appid": "wx1111111111111111",
        "out_trade_no": "SD20260302A1",
        "attach": "%E8%AF%BE%201%26x",
        "location": {"start_location": "pool 1"},
    }
    del wanted["out_order_no"]
    assert client.wire.sent == wanted


def test_a_partner_creates_one_for_its_sub_merchant():
    client = mainland(Reply(200, {}), mode="partner")
    client.service_orders.create(**(START | {"openid": "", "sub_openid": "oSub1"}), **PARTNER)
    assert client.wire.last.path_url == "/v3/payscore/sign-plan/partner/serviceorder"
    assert client.wire.sent["sub_openid"] == "oSub1" and "openid" not in client.wire.sent
    assert client.wire.sent["sub_mchid"] == PARTNER["sub_mchid"]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("service_introduction", {"service_introduction": "x" * 21}),
        ("service_introduction", {"service_introduction": ""}),
        ("time_range.start_time", {"time_range": {}}),
        ("time_range.start_time", {"time_range": {"start_time": "2026-03-03"}}),
        ("time_range.start_time", {"time_range": {"start_time": "20260230"}}),
        ("time_range.start_time", {"time_range": {"start_time": "20260303250000"}}),
        ("time_range.end_time", {"time_range": {"start_time": "20260303100000", "end_time": "20260303095959"}}),
        ("time_range.end_time_remark", {"time_range": {"start_time": "20260303", "end_time_remark": "x" * 21}}),
        ("location.start_location", {"location": {"start_location": "x" * 51}}),
        ("attach", {"attach": "课" * 29}),
        ("out_order_no", {"out_order_no": "SD|1"}),
        ("plan_detail_no", {"plan_detail_no": 0}),
        ("sign_plan_id", {"sign_plan_id": ""}),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_the_field_and_nothing_is_sent(field, given):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.service_orders.create(**(START | given))
    assert caught.value.field == field
    assert not client.wire.requests


@pytest.mark.parametrize(
    ("mode", "given", "query"),
    [
        ("direct", {"out_order_no": "SD|1"}, f"out_order_no=SD%7C1&appid=wx1111111111111111&service_id={SERVICE}"),
        ("direct", {"query_id": "15646546"}, f"query_id=15646546&appid=wx1111111111111111&service_id={SERVICE}"),
        ("partner", {"out_order_no": "SD1", "sub_mchid": "19"}, f"out_order_no=SD1&sub_mchid=19&service_id={SERVICE}"),
    ],
)
def test_a_service_order_is_queried_by_one_number(mode, given, query):
    client = mainland(Reply(200, {}), mode=mode)
    client.service_orders.query(service_id=SERVICE, **given)
    assert client.wire.last.path_url == f"{ROOTS[mode]}?{query}"


def test_a_service_order_that_is_not_there_is_not_found():
    with pytest.raises(NotFound):
        mainland(Reply(404, {"code": "ORDER_NOT_EXIST", "message": "no"})).service_orders.query(**ASKED)


@pytest.mark.parametrize("numbers", [{}, {"out_order_no": "SD1", "query_id": "1"}])
def test_a_query_wants_exactly_one_number(numbers):
    with pytest.raises(InvalidField):
        mainland().service_orders.query(service_id=SERVICE, **numbers)


CALLS = {
    "complete": (
        {
            "post_payments": [*LESSON, {"name": "towel", "amount": 500, "description": "hired", "count": 2}],
            "post_discounts": [{"name": "member", "amount": 1500}],
            "total_amount": 9000,
            "time_range": {"end_time": "20260303113000"},
            "location": {"end_location": "pool 2"},
            "profit_sharing": False,
            "goods_tag": "SWIM",
        },
        {},
    ),
    "cancel": ({"reason": "pool closed"}, {}),
    "sync": ({"paid_time": "20260303120000"}, {"type": "Order_Paid", "detail": {"paid_time": "20260303120000"}}),
    "modify": ({"post_payments": LESSON, "total_amount": 10000, "reason": "half of it"}, {}),
    "pay": ({}, {}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", ROOTS)
def test_each_call_is_sent_as_the_manual_shows(call, mode):
    given, sent_instead = CALLS[call]
    client = mainland(Reply(200, {}) if mode == "direct" else Reply(204), mode=mode)
    parties = {} if mode == "direct" else {"sub_mchid": "19"}
    getattr(client.service_orders, call)(**ASKED, **given, **parties)
    assert client.wire.last.path_url == f"{ROOTS[mode]}/SD1/{call}"
    known = {"appid": "wx1111111111111111"} if mode == "direct" else parties
    assert client.wire.sent == {"service_id": SERVICE, **known, **(sent_instead or given)}


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("total_amount", {"total_amount": 9999}),
        ("total_amount", {"total_amount": True}),
        ("post_payments", {"post_payments": []}),
        ("post_payments", {"post_payments": LESSON * 101}),
        ("post_payments[0].amount", {"post_payments": [{"name": "swim", "amount": -1}]}),
        ("post_payments[0].amount", {"post_payments": [{"name": "swim", "amount": 1.5}]}),
        ("post_payments[0].name", {"post_payments": [{"name": "x" * 21, "amount": 1}]}),
        ("post_payments[0].description", {"post_payments": [LESSON[0] | {"description": "x" * 31}]}),
        ("post_payments[0].count", {"post_payments": [LESSON[0] | {"count": 101}]}),
        ("post_discounts", {"post_discounts": [{"name": "a", "amount": 1}, {"name": "a", "amount": 2}]}),
        ("post_discounts", {"post_discounts": [{"name": str(n), "amount": 1} for n in range(31)]}),
        ("post_discounts", {"post_discounts": [{"name": "a", "amount": 10001}]}),
        ("time_range.end_time", {"time_range": {"start_time": "20260303"}}),
        ("goods_tag", {"goods_tag": "x" * 33}),
        ("out_order_no", {"out_order_no": "x" * 33}),
    ],
)
def test_a_completion_that_cannot_be_is_refused_with_the_field_and_nothing_is_sent(field, given):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.service_orders.complete(**(ASKED | {"post_payments": LESSON, "total_amount": 10000} | given))
    assert caught.value.field == field
    assert not client.wire.requests


@pytest.mark.parametrize(
    ("call", "field", "given"),
    [
        ("cancel", "reason", {"reason": "x" * 51}),
        ("modify", "reason", {"post_payments": LESSON, "total_amount": 10000, "reason": ""}),
        ("sync", "paid_time", {"paid_time": "2026"}),
    ],
)
def test_other_calls_refuse_what_cannot_be(call, field, given):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        getattr(client.service_orders, call)(**ASKED, **given)
    assert caught.value.field == field
    assert not client.wire.requests
