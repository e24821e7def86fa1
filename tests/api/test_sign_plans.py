"""The customers' endpoints for sign plans and service orders: what they may name, what they see, what they are told."""

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from rest_framework.test import APIClient

from django_wxpay.checkout import Checkout, SignPlanOffer
from django_wxpay.models import PayscorePlan, ServiceOrder, SignPlan
from django_wxpay.services import payscore, service_orders
from tests.services.test_sign_plans import hours_ago

URL, ORDERS = "/wxpay/sign-plans/", "/wxpay/service-orders/"
SIGNING = "/v3/payscore/sign-plan/user-sign-plans"


class ShopCheckout(Checkout):
    def sign_plan_offer(self, request, key):
        plan = PayscorePlan.objects.filter(reference=key).first()
        if plan is None:
            return None
        known = {"plan": plan, "openid": f"o-{request.user.username}"}
        return SignPlanOffer(**known) if key == "swim" else known


@pytest.fixture
def shop(wxpay_sandbox, db, settings):
    cache.clear()  # the throttles' memory
    settings.WXPAY = {**settings.WXPAY, "CHECKOUT": f"{__name__}.ShopCheckout"}
    wxpay_sandbox.plan(reference="swim")
    return wxpay_sandbox


def member_named(name):
    user = get_user_model().objects.create_user(name)
    client = APIClient()
    client.force_authenticate(user)
    client.user = user
    return client


@pytest.fixture
def member(db, shop):
    return member_named("ada")


def test_an_offer_is_signed_and_its_status_confirmed_by_the_server(shop, member):
    opened = member.post(URL, {"offer": "swim"}, format="json")
    assert opened.status_code == 201
    shown = opened.json()
    assert shown["state"] == "UNSIGNED" and set(shown["launch"]["extraData"]) == {"package"}
    assert (shown["total_actual_price"], shown["currency"]) == (15000, "CNY")
    assert [one["actual_price"] for one in shown["details"]] == [10000, 5000, 0]
    assert "openid" not in str(shown)
    row = SignPlan.objects.get()
    assert row.user == member.user and row.openid == "o-ada"
    shop.delivers = False
    shop.wechat.sign_plans.confirm(row.number)
    asked = member.get(f"{URL}{row.number}/").json()
    assert asked["state"] == "SIGNED" and asked["launch"] is None
    again = member.post(URL, {"offer": "swim"}, format="json")
    assert again.status_code == 200 and again.json()["merchant_sign_plan_no"] == row.number


@pytest.mark.parametrize(
    ("client", "names"),
    [("mini_program", {"extraData"}), ("h5", {"queryString"}), ("app", {"query", "extInfo"})],
)
def test_each_front_end_asks_for_its_own_launch(member, client, names):
    shown = member.post(f"{URL}?client={client}", {"offer": "swim"}, format="json").json()
    assert set(shown["launch"]) == {"businessType"} | names


def test_another_front_end_is_none(member):
    refused = member.get(f"{URL}?client=fridge")
    assert refused.status_code == 400 and refused.json()["field"] == "client"


@pytest.mark.parametrize("named", ["plan", "amount", "openid", "merchant", "total_actual_price"])
def test_the_server_names_everything_but_the_offer(member, named):
    refused = member.post(URL, {"offer": "swim", named: "1"}, format="json")
    assert refused.status_code == 400 and refused.json()["field"] == named
    assert not SignPlan.objects.exists()


def test_an_unknown_offer_is_not_found_and_a_stopped_plan_refused(member):
    assert member.post(URL, {"offer": "dive"}, format="json").status_code == 404
    payscore.stop_plan(PayscorePlan.objects.get())
    refused = member.post(URL, {"offer": "swim"}, format="json")
    assert refused.status_code == 409 and not SignPlan.objects.exists()


def test_asked_twice_it_is_opened_once_and_renewed_when_it_is_too_old(shop, member):
    first = member.post(URL, {"offer": "swim"}, format="json").json()
    again = member.post(URL, {"offer": "swim"}, format="json").json()
    assert first["merchant_sign_plan_no"] == again["merchant_sign_plan_no"]
    row = SignPlan.objects.get()
    hours_ago(row)
    renewed = member.post(URL, {"offer": "swim"}, format="json")
    assert renewed.status_code == 201
    latest = SignPlan.objects.get(merchant_sign_plan_no=renewed.json()["merchant_sign_plan_no"])
    assert latest.renews_id == row.pk


def test_a_lost_answer_is_a_later_answer(shop, member, later):
    shop.fault("lost_answer", SIGNING)
    opened = member.post(URL, {"offer": "swim"}, format="json")
    assert opened.status_code == 202 and opened.json()["launch"] is None and opened.json()["pending"] == "SIGN_PLAN"
    later()
    assert member.post(URL, {"offer": "swim"}, format="json").status_code == 201


def test_people_see_and_cancel_only_their_own(shop, member):
    member.post(URL, {"offer": "swim"}, format="json")
    row = shop.sign_plan(SignPlan.objects.get())
    other = member_named("bob")
    assert other.get(URL).json()["results"] == []
    assert other.get(f"{URL}{row.number}/").status_code == 404
    assert other.post(f"{URL}{row.number}/cancel/", {"reason": "no"}, format="json").status_code == 404
    assert APIClient().get(URL).status_code == 403
    row.refresh_from_db()
    assert row.state == "SIGNED"


def test_a_customer_cancels_with_a_reason(shop, member):
    member.post(URL, {"offer": "swim"}, format="json")
    row = shop.sign_plan(SignPlan.objects.get())
    assert member.post(f"{URL}{row.number}/cancel/", {}, format="json").json()["field"] == "reason"
    ended = member.post(f"{URL}{row.number}/cancel/", {"reason": "moved away"}, format="json")
    assert (ended.status_code, ended.json()["state"]) == (200, "SIGN_PLAN_CANCEL")
    assert member.post(f"{URL}{row.number}/cancel/", {"reason": "again"}, format="json").status_code == 200


def test_a_customer_sees_each_lesson_and_each_service_order(shop, member):
    member.post(URL, {"offer": "swim"}, format="json")
    row = shop.sign_plan(SignPlan.objects.get())
    first = service_orders.start(row, reference="1")
    shop._after(service_orders.complete(first))
    shop.deliver()
    shown = member.get(f"{URL}{row.number}/").json()
    assert [one["state"] for one in shown["details"]] == ["USED", "NOT_USED", "NOT_USED"]
    [listed] = member.get(f"{ORDERS}?merchant_sign_plan_no={row.number}").json()["results"]
    assert (listed["state"], listed["is_paid"], listed["total_amount"], listed["plan_detail_no"]) == (
        "DONE", True, 10000, 1,
    )  # fmt: skip
    assert member.get(f"{ORDERS}{first.number}/").json()["merchant_sign_plan_no"] == row.number
    assert member.get(f"{ORDERS}?merchant_sign_plan_no=other").json()["results"] == []
    assert member_named("bob").get(f"{ORDERS}{first.number}/").status_code == 404


def test_a_status_is_confirmed_at_most_once_in_some_seconds(shop, member):
    member.post(URL, {"offer": "swim"}, format="json")
    row = shop.sign_plan(SignPlan.objects.get())
    order = service_orders.start(row, reference="1")
    before = len(shop.calls)
    for _ in range(3):
        assert member.get(f"{ORDERS}{order.number}/").json()["state"] == "DOING"
    assert len(shop.calls) == before + 1


def test_lists_take_the_same_number_of_statements_however_long_they_are(
    shop, member, django_assert_max_num_queries, django_assert_num_queries
):
    from django_wxpay.testing import make_service_order, make_sign_plan

    for _ in range(3):
        make_service_order(sign_plan=make_sign_plan(user=member.user))
    with django_assert_max_num_queries(3) as first:
        assert len(member.get(URL).json()["results"]) == 3
    for _ in range(5):
        make_service_order(sign_plan=make_sign_plan(user=member.user))
    with django_assert_num_queries(len(first)):
        assert len(member.get(URL).json()["results"]) == 8
    with django_assert_max_num_queries(2):
        assert len(member.get(ORDERS).json()["results"]) == ServiceOrder.objects.count()
