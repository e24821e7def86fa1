"""Plans and sign plans of the mainland, asked for as any client would."""

import pytest

from django_wxpay.sandbox.mainland import OTHER_SERVICE_ID
from tests.sandbox.shop import NOTIFY_URL, School

SIGNED, CANCELLED = "PAYSCORE.USER_SIGN_PLAN", "PAYSCORE.USER_CANCEL_SIGN_PLAN"
SEVEN = [{"plan_detail_no": no, "merchant_plan_detail_no": f"x{no}"} for no in range(1, 8)]


def refused(answer):
    return answer.status_code, answer.json()["code"]


def reason(answer):
    """The number by which support tells reasons apart."""
    return int(answer.headers["Request-ID"].rpartition("-")[2])


# Plans


def test_a_plan_is_created_queried_and_stopped(school):
    body = school.plan_body()
    made = school.post(school.plans, **body)
    assert made.status_code == 200 and school.verifies(made.headers, made.content)
    shown = made.json()
    assert (shown["plan_state"], shown["mchid"], shown.get("sub_mchid")) == (
        "NORMAL", school.mchid, school.sub.get("sub_mchid"),
    )  # fmt: skip
    assert [one["plan_detail_no"] for one in shown["plan_detail_list"]] == [1, 2, 3]
    path = f"{school.plans}/merchant-plan-no/{body['merchant_plan_no']}"
    assert school.get(path, **school.sub).json() == shown
    stopped = school.post(f"{path}/stop", **school.sub).json()
    assert (stopped["plan_state"], stopped["stop_mchid"]) == ("STOP", school.mchid) and stopped["stop_time"]
    assert refused(school.post(f"{path}/stop", **school.sub)) == (400, "INVALID_REQUEST")


def test_the_same_plan_again_is_the_same_and_with_other_values_refused(school):
    body = school.plan_body()
    first = school.post(school.plans, **body).json()
    assert school.post(school.plans, **body).json() == first
    answer = school.post(school.plans, **body | {"plan_name": "Dive"})
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316598


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_name": "x" * 21},
        {"merchant_plan_no": "a|b"},
        {"merchant_plan_no": "x" * 33},
        {"plan_duration": 0},
        {"plan_duration": 366},
        {"deduction_quantity": 2},
        {"total_original_price": 1},
        {"total_actual_price": 1},
        {"plan_detail_list": []},
        {"service_id": None},
    ],
)
def test_a_plan_that_cannot_be_is_a_param_error(school, changes):
    body = {name: value for name, value in (school.plan_body() | changes).items() if value is not None}
    assert refused(school.post(school.plans, **body)) == (400, "PARAM_ERROR")


@pytest.mark.parametrize("prices", [(5000, 10000), (10_000_001,), (1,) * 31])
def test_prices_never_rise_and_stay_below_the_services_largest_values(school, prices):
    assert refused(school.post(school.plans, **school.plan_body(*prices))) == (400, "PARAM_ERROR")


def test_a_price_is_never_above_the_original(school):
    body = school.plan_body(100)
    body["plan_detail_list"][0]["original_price"] = body["total_original_price"] = 99
    assert refused(school.post(school.plans, **body)) == (400, "PARAM_ERROR")


def test_a_service_that_was_not_granted_is_no_permission(school):
    answer = school.post(school.plans, **school.plan_body(service_id="0" * 32))
    assert refused(answer) == (403, "NO_AUTH") and reason(answer) == 268503786


def test_each_mode_has_its_own_paths(app):
    direct, partner = School(app), School(app, mode="partner")
    assert refused(direct.post(partner.plans, **direct.plan_body())) == (403, "NO_AUTH")
    assert refused(partner.post(direct.plans, **partner.plan_body())) == (403, "NO_AUTH")


def test_nobody_sees_anothers_plan_or_sign_plan(app):
    direct, partner = School(app), School(app, mode="partner")
    plan, signed = direct.plan(), direct.signed_plan()
    for path in (
        f"{partner.plans}/merchant-plan-no/{plan['merchant_plan_no']}",
        f"{partner.sign_plans}/merchant-sign-plan-no/{signed['merchant_sign_plan_no']}",
    ):
        assert refused(partner.get(path, **partner.sub)) == (404, "RESOURCE_NOT_EXISTS")
    assert refused(partner.post(partner.sign_plans, **partner.signing_body(plan))) == (404, "RESOURCE_NOT_EXISTS")


# Sign plans


def test_a_sign_plan_is_opened_signed_and_cancelled_by_the_merchant_of_which_nobody_is_notified(school, mailbox):
    body = school.signing_body(school.plan())
    opened = school.post(school.sign_plans, **body).json()
    assert opened["sign_plan"]["sign_state"] == "UNSIGNED" and opened["package"]
    path = f"{school.sign_plans}/merchant-sign-plan-no/{body['merchant_sign_plan_no']}"
    shown = school.get(path, **school.sub).json()
    assert "package" not in shown and shown["merchant_callback_url"] == NOTIFY_URL
    assert refused(school.post(f"{path}/stop", **school.sub, stop_reason="x")) == (400, "INVALID_REQUEST")

    school.sandbox.sign_plans.confirm(opened["package"])
    school.sandbox.deliver_due()
    assert mailbox.types == [SIGNED]
    told = mailbox.message(school)
    assert (told["sign_state"], told["cancel_sign_type"], told["mchid"]) == ("SIGNED", "NOT_CANCEL", school.mchid)
    # What is absent is an empty text, or 0.
    [first, *_] = told["signed_detail_list"]
    assert (told["cancel_sign_time"], told["cancel_reason"], told["going_detail_no"]) == ("", "", 0)
    assert [first[name] for name in ("order_id", "use_time", "complete_time", "cancel_time")] == [""] * 4

    ended = school.post(f"{path}/stop", **school.sub, stop_reason="moved").json()
    assert [ended[name] for name in ("sign_state", "cancel_sign_type", "cancel_reason")] == [
        "SIGN_PLAN_CANCEL", "MERCHANT", "moved",
    ]  # fmt: skip
    school.sandbox.deliver_due()
    assert mailbox.types == [SIGNED]


def test_the_same_signing_again_gives_the_same_package(school):
    body = school.signing_body(school.plan())
    first = school.post(school.sign_plans, **body).json()
    assert school.post(school.sign_plans, **body).json() == first
    assert refused(school.post(school.sign_plans, **body | {"openid": "o-2"})) == (400, "INVALID_REQUEST")


def test_a_package_lives_for_two_hours(app, school):
    opened = school.post(school.sign_plans, **school.signing_body(school.plan())).json()
    school.sandbox.advance(7201)
    answer = app.test_client().post(f"/_sandbox/sign-plans/{opened['sign_plan']['merchant_sign_plan_no']}/confirm")
    assert answer.status_code == 409
    assert school.sandbox.sign_plans.get(opened["package"])["sign_state"] == "UNSIGNED"


def test_a_stopped_plan_is_not_signed_and_what_is_signed_runs_to_its_end(school):
    signed = school.signed_plan()
    plan = school.sandbox.payscore.get(signed["plan_id"])
    school.post(f"{school.plans}/merchant-plan-no/{plan['merchant_plan_no']}/stop", **school.sub)
    shown = {"plan_id": plan["plan_id"], "plan_detail_list": plan["details"]}
    assert refused(school.post(school.sign_plans, **school.signing_body(shown))) == (400, "INVALID_REQUEST")
    assert school.post(school.starts, **school.start_body(signed)).status_code == 200


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("PARAM_ERROR", {"openid": None}),
        ("PARAM_ERROR", {"notify_url": "ftp://x"}),
        ("PARAM_ERROR", {"merchant_sign_plan_no": "a|b"}),
        ("PARAM_ERROR", {"sign_plan_detail": SEVEN}),
        ("PARAM_ERROR", {"sign_plan_detail": []}),
        ("RESOURCE_NOT_EXISTS", {"plan_id": "0" * 32}),
        ("INVALID_REQUEST", {"service_id": OTHER_SERVICE_ID}),
    ],
)
def test_a_signing_that_cannot_be_is_refused(school, code, changes):
    body = {name: value for name, value in school.signing_body(school.plan(), **changes).items() if value is not None}
    assert refused(school.post(school.sign_plans, **body))[1] == code


def test_the_number_of_a_service_is_used_once_in_a_merchant(school):
    plan = school.plan()
    first = school.signing_body(plan)
    school.post(school.sign_plans, **first)
    again = school.signing_body(plan) | {"sign_plan_detail": first["sign_plan_detail"]}
    assert refused(school.post(school.sign_plans, **again)) == (400, "INVALID_REQUEST")


def test_a_partner_names_one_openid_and_the_sub_openid_with_its_appid(app):
    partner = School(app, mode="partner")
    plan = partner.plan()
    under_sub = {"sub_appid": partner.merchant["mainland_sub_appid"], "sub_openid": "o-sub"}
    body = partner.signing_body(plan)
    assert refused(partner.post(partner.sign_plans, **body | under_sub)) == (400, "PARAM_ERROR")
    del body["openid"]
    assert refused(partner.post(partner.sign_plans, **body | {"sub_openid": "o-sub"})) == (400, "PARAM_ERROR")
    shown = partner.post(partner.sign_plans, **body | under_sub).json()["sign_plan"]
    assert shown["sub_openid"] == "o-sub" and not shown.get("openid")


def test_the_user_cancels_and_the_shop_hears_of_it(school, mailbox):
    signed = school.signed_plan()
    school.sandbox.sign_plans.cancel_by_user(signed["merchant_sign_plan_no"])
    school.sandbox.deliver_due()
    assert mailbox.types == [SIGNED, CANCELLED]
    told = mailbox.message(school)
    assert (told["sign_state"], told["cancel_sign_type"]) == ("SIGN_PLAN_CANCEL", "USER") and told["cancel_sign_time"]
    answer = school.post(school.starts, **school.start_body(signed))
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271302262


def test_revoking_the_service_is_told_in_the_manuals_awkward_form(school, mailbox):
    signed = school.signed_plan()
    school.sandbox.sign_plans.revoke_service(signed["merchant_sign_plan_no"])
    school.sandbox.deliver_due()
    told = mailbox.message(school)
    assert (told["sign_state"], told["cancel_sign_type"]) == ("UNSIGNED", "REVOKE_SERVICE")
    path = f"{school.sign_plans}/merchant-sign-plan-no/{signed['merchant_sign_plan_no']}"
    assert school.get(path, **school.sub).json()["sign_state"] == "SIGN_PLAN_CANCEL"


def test_a_notice_of_a_signature_is_tried_for_eleven_minutes(school, mailbox):
    mailbox.answers = [(500, b"")] * 20
    school.signed_plan()
    for _ in range(15):
        school.sandbox.advance(60)
    assert len(mailbox.received) == 11
    [notification] = school.sandbox.notifications.all()
    assert notification["state"] != "PENDING"


def test_a_plan_expires_after_its_days_and_is_complete_once_all_is_used(school):
    expired, used = school.signed_plan(), school.signed_plan(100)
    number = school.post(school.starts, **school.start_body(used)).json()["out_order_no"]
    school.post(f"{school.orders}/{number}/complete", **school.complete_body(100))
    school.sandbox.advance(91 * 86400)
    states = [
        school.get(
            f"{school.sign_plans}/merchant-sign-plan-no/{one['merchant_sign_plan_no']}", **school.sub
        ).json()["sign_state"]
        for one in (expired, used)
    ]  # fmt: skip
    assert states == ["EXPIRE", "COMPLETE"]


# The phone, and what scripts may do


@pytest.mark.parametrize(("deed", "state"), [("agree", "SIGNED"), ("leave", "UNSIGNED")])
def test_the_phone_shows_what_is_signed_and_returns_to_the_shop(app, school, deed, state):
    opened = school.post(school.sign_plans, **school.signing_body(school.plan())).json()
    page = app.test_client().get("/_sandbox/phone/sign-plan", query_string={"package": opened["package"]})
    assert all(words in page.text for words in ("Swim", "Lesson 3", "100.00", "50.00"))
    number = opened["sign_plan"]["merchant_sign_plan_no"]
    form = {"do": deed, "return_url": "http://shop.example/back"}
    back = app.test_client().post(f"/_sandbox/phone/sign-plans/{number}", data=form)
    assert (back.status_code, back.location) == (303, "http://shop.example/back")
    assert school.sandbox.sign_plans.get(number)["sign_state"] == state


@pytest.mark.parametrize(("deed", "how"), [("cancel", "USER"), ("revoke", "REVOKE_SERVICE")])
def test_scripts_play_the_user(app, school, deed, how):
    opened = school.post(school.sign_plans, **school.signing_body(school.plan())).json()
    number = opened["sign_plan"]["merchant_sign_plan_no"]
    browser = app.test_client()
    assert browser.post(f"/_sandbox/sign-plans/{number}/{deed}").status_code == 409
    assert browser.post(f"/_sandbox/sign-plans/{number}/confirm").json["sign_state"] == "SIGNED"
    assert browser.post(f"/_sandbox/sign-plans/{number}/{deed}").json["cancel_type"] == how
    assert browser.post("/_sandbox/sign-plans/nobodys/confirm").status_code == 404


def test_who_plays_the_user_says_whose_plan_he_means(app):
    schools, browser = [School(app), School(app, mode="partner")], app.test_client()
    [number, again] = [school.signed_plan()["merchant_sign_plan_no"] for school in schools]
    assert number == again
    path = f"/_sandbox/sign-plans/{number}"
    for deed in ("confirm", "cancel", "revoke"):
        answer = browser.post(f"{path}/{deed}")
        assert answer.status_code == 409 and all(school.mchid in answer.json["message"] for school in schools)
    assert browser.get(f"/_sandbox/phone/sign-plan?package={number}").status_code == 409
    for school, deed in zip(schools, ("cancel", "revoke"), strict=True):
        ended = browser.post(f"{path}/{deed}", json={"mchid": school.mchid}).json
        assert (ended["mchid"], ended["sign_state"]) == (school.mchid, "SIGN_PLAN_CANCEL")


def test_the_phone_tells_plans_of_one_number_apart(app):
    plans = [School(app).signed_plan(), School(app, mode="partner").signed_plan()]
    home = app.test_client().get("/_sandbox/").text
    assert all(f"/_sandbox/phone/sign-plans/{plan['sign_plan_id']}" in home for plan in plans)


def test_two_sub_merchants_may_use_one_number(app, sandbox):
    partner = School(app, mode="partner")
    sandbox.add_sub_merchant("1900000310", "wx5a4d0b0c00000310", of=partner.mchid)
    first = partner.signing_body(partner.plan())
    partner.post(partner.sign_plans, **first)
    partner.merchant = partner.merchant | {"mainland_sub_mchid": "1900000310"}
    body = partner.signing_body(partner.plan(), merchant_sign_plan_no=first["merchant_sign_plan_no"])
    answer = partner.post(partner.sign_plans, **body)
    assert answer.status_code == 200 and answer.json()["sign_plan"]["sub_mchid"] == "1900000310"
