"""Plans and sign plans: the bytes that are sent, in both modes, and what is refused before."""

import pytest

from django_wxpay.client.errors import APIError, InvalidField, NotFound

from .wire import Reply, make_client, make_identity

SERVICE = "00002000000000000000000000000001"
LESSONS = [
    {"plan_detail_name": "swim 1", "original_price": 10000, "actual_price": 10000},
    {"plan_detail_name": "swim 2", "original_price": 10000, "actual_price": 5000, "plan_discount_description": "half"},
    {"plan_detail_name": "swim 3", "original_price": 10000, "actual_price": 0},
]
PLAN = {
    "service_id": SERVICE,
    "merchant_plan_no": "P20260302A1",
    "plan_name": "swim 3x",
    "plan_duration": 90,
    "deduction_quantity": 3,
    "total_original_price": 30000,
    "total_actual_price": 15000,
    "plan_detail_list": LESSONS,
}
SIGNED = {
    "service_id": SERVICE,
    "plan_id": "0100000000000000000000000000T001",
    "merchant_sign_plan_no": "SP20260302A1",
    "notify_url": "https://shop.example/wxpay/notify/mainland/",
    "sign_plan_detail": [
        {"plan_detail_no": 1, "merchant_plan_detail_no": "SD1"},
        {"plan_detail_no": 2, "merchant_plan_detail_no": "SD2"},
    ],
    "openid": "oTestUser000000000000000001",
}
PARTNER = {"sub_mchid": "1900000109", "sub_appid": "wx2222222222222222"}


def mainland(*replies, mode="direct", **options):
    return make_client(*replies, identity=make_identity(mode=mode, region="mainland"), **options)


def test_a_plan_of_a_direct_merchant_is_sent_as_the_manual_shows():
    client = mainland(Reply(200, {}))
    client.payscore.create(**PLAN)
    assert client.wire.last.url == "https://api.mch.weixin.qq.com/v3/payscore/plan/payscore-plans"
    assert client.wire.sent == PLAN | {"appid": "wx1111111111111111"}


def test_a_plan_of_a_partner_names_the_sub_merchant_and_the_partners_appid():
    client = mainland(Reply(200, {}), mode="partner")
    client.payscore.create(**PLAN, **PARTNER)
    assert client.wire.last.path_url == "/v3/payscore/plan/partner/payscore-plans"
    assert client.wire.sent == PLAN | PARTNER | {"appid": "wx1111111111111111"}


@pytest.mark.parametrize(
    ("mode", "given", "path", "body"),
    [
        ("direct", {}, "/v3/payscore/plan/payscore-plans/merchant-plan-no/P%2A1/stop", {}),
        (
            "partner",
            {"sub_mchid": "19"},
            "/v3/payscore/plan/partner/payscore-plans/merchant-plan-no/P%2A1/stop",
            {"sub_mchid": "19"},
        ),
    ],
)
def test_a_plan_is_stopped_by_its_number(mode, given, path, body):
    client = mainland(Reply(200, {}), mode=mode)
    client.payscore.stop(merchant_plan_no="P*1", **given)
    assert (client.wire.last.path_url, client.wire.sent) == (path, body)


def test_a_plan_is_queried_by_its_number():
    client = mainland(Reply(200, {"plan_state": "NORMAL"}), Reply(200, {}))
    assert client.payscore.query(merchant_plan_no="P1").data["plan_state"] == "NORMAL"
    assert client.wire.last.path_url == "/v3/payscore/plan/payscore-plans/merchant-plan-no/P1"
    partner = mainland(Reply(200, {}), mode="partner")
    partner.payscore.query(merchant_plan_no="P1", sub_mchid="19")
    assert partner.wire.last.path_url.endswith("/partner/payscore-plans/merchant-plan-no/P1?sub_mchid=19")


def changed(place, **values):
    return [lesson | (values if number == place else {}) for number, lesson in enumerate(LESSONS)]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("plan_detail_list", {"deduction_quantity": 2}),
        ("total_original_price", {"total_original_price": 29999}),
        ("total_actual_price", {"total_actual_price": 15001}),
        ("plan_detail_list[0].actual_price", {"plan_detail_list": changed(0, actual_price=10001)}),
        ("plan_detail_list[2].actual_price", {"plan_detail_list": changed(2, actual_price=5001)}),
        ("plan_detail_list[1].actual_price", {"plan_detail_list": changed(1, actual_price=-1)}),
        ("plan_detail_list[1].original_price", {"plan_detail_list": changed(1, original_price="10000")}),
        ("plan_detail_list[0].plan_detail_name", {"plan_detail_list": changed(0, plan_detail_name="x" * 21)}),
        (
            "plan_detail_list[0].plan_discount_description",
            {"plan_detail_list": changed(0, plan_discount_description="x" * 21)},
        ),
        ("plan_name", {"plan_name": "x" * 21}),
        ("plan_name", {"plan_name": ""}),
        ("plan_duration", {"plan_duration": 0}),
        ("merchant_plan_no", {"merchant_plan_no": "P|1"}),
        ("merchant_plan_no", {"merchant_plan_no": "P" * 33}),
        ("service_id", {"service_id": ""}),
        ("sub_mchid", {"sub_mchid": "19"}),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_the_field_and_nothing_is_sent(field, given):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.payscore.create(**(PLAN | given))
    assert caught.value.field == field
    assert not client.wire.requests


def test_a_sign_plan_names_its_user_and_the_number_of_each_service():
    client = mainland(Reply(200, {"sign_plan": {}, "package": "DJIOS"}))
    assert client.sign_plans.create(**SIGNED).data["package"] == "DJIOS"
    assert client.wire.last.path_url == "/v3/payscore/sign-plan/user-sign-plans"
    assert client.wire.sent == SIGNED | {"appid": "wx1111111111111111"}


@pytest.mark.parametrize("user", [{"openid": "oUser1"}, {"sub_openid": "oSub1"}])
def test_a_partners_user_is_known_by_either_openid(user):
    client = mainland(Reply(200, {}), mode="partner")
    client.sign_plans.create(**(SIGNED | {"openid": ""} | user), **PARTNER)
    assert client.wire.last.path_url == "/v3/payscore/sign-plan/partner/user-sign-plans"
    sent = client.wire.sent
    assert {name: sent[name] for name in ("openid", "sub_openid") if name in sent} == user


@pytest.mark.parametrize(
    ("field", "mode", "given"),
    [
        ("sub_openid", "direct", {"sub_openid": "oSub1", "openid": ""}),
        ("openid", "direct", {"openid": ""}),
        ("openid", "partner", {"sub_openid": "oSub1", **PARTNER}),
        ("sub_appid", "partner", {"sub_openid": "oSub1", "openid": "", "sub_mchid": "19"}),
        ("sub_mchid", "partner", {}),
        ("plan_id", "direct", {"plan_id": ""}),
        ("notify_url", "direct", {"notify_url": "https://shop.example/?a=1"}),
        ("merchant_sign_plan_no", "direct", {"merchant_sign_plan_no": "SP|1"}),
        ("sign_plan_detail", "direct", {"sign_plan_detail": []}),
        (
            "sign_plan_detail[1].plan_detail_no",
            "direct",
            {
                "sign_plan_detail": [
                    SIGNED["sign_plan_detail"][0],
                    {"plan_detail_no": 3, "merchant_plan_detail_no": "SD3"},
                ]
            },
        ),
        (
            "sign_plan_detail[1].merchant_plan_detail_no",
            "direct",
            {
                "sign_plan_detail": [
                    SIGNED["sign_plan_detail"][0],
                    {"plan_detail_no": 2, "merchant_plan_detail_no": "SD1"},
                ]
            },
        ),
    ],
)
def test_a_sign_plan_that_cannot_be_is_refused_with_the_field_and_nothing_is_sent(field, mode, given):
    client = mainland(mode=mode)
    with pytest.raises(InvalidField) as caught:
        client.sign_plans.create(**(SIGNED | given))
    assert caught.value.field == field
    assert not client.wire.requests


def test_a_sign_plan_is_queried_and_cancelled_by_its_number():
    client = mainland(Reply(200, {"sign_state": "SIGNED"}), Reply(200, {}))
    assert client.sign_plans.query(merchant_sign_plan_no="SP1").data["sign_state"] == "SIGNED"
    root = "/v3/payscore/sign-plan/user-sign-plans/merchant-sign-plan-no/SP1"
    assert client.wire.last.path_url == root
    client.sign_plans.cancel(merchant_sign_plan_no="SP1", stop_reason="moved away")
    assert (client.wire.last.path_url, client.wire.sent) == (f"{root}/stop", {"stop_reason": "moved away"})


def test_a_partner_cancels_a_sign_plan_of_its_sub_merchant():
    client = mainland(Reply(204), mode="partner")
    answer = client.sign_plans.cancel(merchant_sign_plan_no="SP1", stop_reason="moved", sub_mchid="19")
    assert answer.status == 204
    assert client.wire.sent == {"sub_mchid": "19", "stop_reason": "moved"}
    assert "/sign-plan/partner/user-sign-plans/" in client.wire.last.path_url


@pytest.mark.parametrize("reason", ["", "x" * 129, "two\nlines"])
def test_a_cancellation_wants_a_reason_of_one_line(reason):
    with pytest.raises(InvalidField) as caught:
        mainland().sign_plans.cancel(merchant_sign_plan_no="SP1", stop_reason=reason)
    assert caught.value.field == "stop_reason"


@pytest.mark.parametrize("code", ["RESOURCE_NOT_EXISTS", "ORDER_NOT_EXIST"])
def test_only_a_query_takes_such_a_code_for_not_there(code):
    refusal = {"code": code, "message": "no such"}
    client = mainland(*(Reply(404, refusal) for _ in range(3)))
    with pytest.raises(NotFound):
        client.payscore.query(merchant_plan_no="P1")
    with pytest.raises(NotFound):
        client.sign_plans.query(merchant_sign_plan_no="SP1")
    with pytest.raises(APIError) as caught:
        client.sign_plans.cancel(merchant_sign_plan_no="SP1", stop_reason="moved")
    assert not isinstance(caught.value, NotFound)
