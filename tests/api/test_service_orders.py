"""The customers' endpoints for service orders: whose they see, in which states, how many at once, and what never."""

import json

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from django_wxpay.models import PayscorePlanDetail, ServiceOrder
from django_wxpay.services import service_orders
from django_wxpay.testing import make_payscore_plan, make_service_order, make_sign_plan
from tests.api.test_sign_plans import member_named

URL = "/wxpay/service-orders/"
QUERY = "/v3/payscore/serviceorder"


@pytest.fixture
def shop(wxpay_sandbox, db):
    cache.clear()  # the throttles' memory
    return wxpay_sandbox


@pytest.fixture
def member(shop):
    return member_named("ada")


@pytest.fixture
def plan(shop):
    return make_payscore_plan()


@pytest.fixture
def an_order(plan):
    """Makes a service order of somebody's, of a sign plan of its own."""

    def make(client, state="DOING", **values):
        return make_service_order(sign_plan=make_sign_plan(plan=plan, user=client.user), state=state, **values)

    return make


def listed(client, query=""):
    return client.get(f"{URL}{query}").json()["results"]


# Whose


def test_a_list_has_ones_own_and_nobody_elses(member, an_order):
    bob, eve = member_named("bob"), member_named("eve")
    own = [an_order(member).number for _ in range(2)]
    theirs = an_order(bob)
    assert [row["out_order_no"] for row in listed(member)] == own[::-1]
    assert [row["out_order_no"] for row in listed(bob)] == [theirs.number]
    assert listed(eve) == []
    assert listed(member, f"?merchant_sign_plan_no={theirs.sign_plan.number}") == []


def test_an_order_whose_user_was_deleted_is_nobodys(member, an_order):
    order = an_order(member)
    member.user.delete()
    order.refresh_from_db()
    assert order.user is None and listed(member_named("bob")) == []


def test_somebody_elses_is_not_there_and_wechat_pay_is_not_asked(shop, member, an_order):
    theirs = an_order(member_named("bob"))
    answer = member.get(f"{URL}{theirs.number}/")
    assert answer.status_code == 404 and answer.json()["code"] == "NOT_FOUND"
    assert answer.json()["out_order_no"] == theirs.number
    assert shop.calls == []


def test_nobody_gets_in_without_signing_in(shop, member, an_order):
    order = an_order(member)
    for path in (URL, f"{URL}{order.number}/"):
        answer = APIClient().get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "NOT_AUTHENTICATED")
        assert order.number not in answer.json()["message"]
    assert shop.calls == []


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_customer_changes_nothing(shop, member, an_order, method):
    order = an_order(member)
    for path in (URL, f"{URL}{order.number}/"):
        assert getattr(member, method)(path, {}, format="json").status_code == 405
    assert shop.calls == []


# In which state


@pytest.mark.parametrize(
    ("state", "values", "shown"),
    [
        ("PLANNED", {}, {"state_description": "", "is_paid": False, "total_amount": None, "synced_at": None}),
        ("REFUSED", {"error_code": "INVALID_REQUEST"}, {"state_description": "", "is_paid": False}),
        ("CREATED", {}, {"state_description": "", "is_paid": False, "total_amount": None, "paid_amount": None}),
        ("DOING", {}, {"state_description": "USER_CONFIRM", "is_paid": False, "total_amount": None}),
        (
            "DOING",
            {"state_description": "MCH_COMPLETE", "collection_state": "USER_PAYING", "total_amount": 900},
            {"state_description": "MCH_COMPLETE", "is_paid": False, "total_amount": 900, "paid_amount": None},
        ),
        (
            "DONE",
            {"collection_state": "USER_PAID", "total_amount": 900, "paid_amount": 900},
            {"is_paid": True, "total_amount": 900, "paid_amount": 900},
        ),
        ("DONE", {"total_amount": 0}, {"is_paid": True, "total_amount": 0, "paid_amount": None}),
        ("DONE", {"total_amount": 900}, {"is_paid": False}),
        ("REVOKED", {"total_amount": 900}, {"is_paid": False, "state_description": ""}),
        ("EXPIRED", {}, {"is_paid": False, "total_amount": None}),
    ],
)
def test_each_state_is_listed_as_it_is(shop, member, an_order, state, values, shown):
    order = an_order(member, state, **values)
    [row] = listed(member)
    assert row["state"] == state and row["currency"] == "CNY"
    assert (row["out_order_no"], row["plan_detail_no"]) == (order.number, 1)
    assert row["merchant_sign_plan_no"] == order.sign_plan.number
    assert {name: row[name] for name in shown} == shown
    assert shop.calls == []  # as last heard of


@pytest.mark.parametrize("state", ["REFUSED", "DONE", "REVOKED", "EXPIRED"])
def test_what_is_over_is_shown_without_asking_wechat_pay(shop, member, an_order, state):
    order = an_order(member, state)
    assert member.get(f"{URL}{order.number}/").json()["state"] == state
    assert shop.calls == []


def test_what_is_only_planned_is_shown_as_planned_and_started_later(shop, member):
    signed = shop.signed_plan(user=member.user)
    order = service_orders.plan_start(signed, reference="lesson-1")
    shown = member.get(f"{URL}{order.number}/").json()
    assert (shown["state"], shown["is_paid"], shown["total_amount"]) == ("PLANNED", False, None)
    assert [row["state"] for row in listed(member)] == ["PLANNED"]


def test_what_was_cancelled_is_shown_as_revoked(shop, member):
    order = shop.started(shop.signed_plan(user=member.user))
    shop.delivers = False
    service_orders.cancel(order, reason="pool closed")
    assert [row["state"] for row in listed(member)] == ["REVOKED"]
    assert member.get(f"{URL}{order.number}/").json()["state"] == "REVOKED"


def test_times_are_aware_and_money_is_whole_fen(shop, member):
    order = shop.completed(shop.signed_plan(user=member.user))
    service_orders.sync(order)
    [row] = listed(member)
    for name in ("start_time", "end_time", "synced_at", "created_at"):
        assert parse_datetime(row[name]).tzinfo is not None, name
    assert [type(row[name]) for name in ("total_amount", "paid_amount", "plan_detail_no")] == [int] * 3
    assert (row["total_amount"], row["paid_amount"], row["is_paid"]) == (10000, 10000, True)


def test_while_wechat_pay_is_out_of_reach_the_row_is_shown_as_it_was(shop, member):
    order = shop.started(shop.signed_plan(user=member.user))
    shop.fault("error_500", QUERY, method="GET", times=-1)
    answer = member.get(f"{URL}{order.number}/")
    assert (answer.status_code, answer.json()["state"]) == (200, "DOING")
    assert [path for _, path in shop.calls].count(QUERY) == 1


# How many


def test_more_than_a_page_is_read_page_by_page_each_once(member, an_order):
    numbers = [an_order(member).number for _ in range(103)]
    seen, sizes, following = [], [], URL
    while following:
        page = member.get(following).json()
        sizes.append(len(page["results"]))
        seen += [row["out_order_no"] for row in page["results"]]
        following = page["next"]
    assert sizes == [50, 50, 3]
    assert seen == numbers[::-1]


def test_the_pages_of_one_sign_plan_stay_with_it(member, an_order):
    long_course = make_payscore_plan()
    PayscorePlanDetail.objects.bulk_create(
        PayscorePlanDetail(plan=long_course, plan_detail_no=no, plan_detail_name="x", original_price=0, actual_price=0)
        for no in range(4, 53)
    )
    sign_plan = make_sign_plan(plan=long_course, user=member.user)
    for _ in range(52):
        make_service_order(sign_plan=sign_plan)
        an_order(member)
    first = member.get(f"{URL}?merchant_sign_plan_no={sign_plan.number}").json()
    last = member.get(first["next"]).json()
    found = first["results"] + last["results"]
    assert [row["plan_detail_no"] for row in found] == list(range(52, 0, -1))
    assert {row["merchant_sign_plan_no"] for row in found} == {sign_plan.number} and last["next"] is None


def test_a_row_that_comes_meanwhile_moves_no_page(member, an_order):
    numbers = [an_order(member).number for _ in range(51)]
    first = member.get(URL).json()
    an_order(member)
    [last] = member.get(first["next"]).json()["results"]
    assert last["out_order_no"] == numbers[0]


def test_a_list_takes_the_same_number_of_statements_however_long_it_is(member, an_order):
    taken = []
    for count in (2, 58):
        for _ in range(count):
            an_order(member)
        with CaptureQueriesContext(connection) as statements:
            shown = len(listed(member))
        taken.append((shown, len(statements)))
    assert [shown for shown, _ in taken] == [2, 50]
    assert taken[0][1] == taken[1][1] == 1


# What they never see


def test_no_answer_names_an_openid_or_what_only_the_shop_and_wechat_pay_know(shop, member):
    signed = shop.signed_plan(user=member.user, openid="o-nobody-else-knows")
    running = shop.started(signed, attach="row 7", location="Pool 1")
    paid = shop._after(service_orders.complete(running))
    row = ServiceOrder.objects.get(pk=paid.pk)
    payment = paid.orders.get()
    answers = [
        member.get(URL),
        member.get(f"{URL}{row.number}/"),
        member.get(f"{URL}?merchant_sign_plan_no={signed.number}"),
        member_named("bob").get(f"{URL}{row.number}/"),
        APIClient().get(URL),
    ]
    hidden = {
        "openid": "o-nobody-else-knows",
        "order_id": row.order_id,
        "sign_plan_id": signed.sign_plan_id,
        "transaction_id": payment.transaction_id,
        "service_id": row.service_id,
        "mchid": row.mchid,
        "appid": row.appid,
        "attach": "row 7",
        "reference": row.reference,
    }
    assert all(hidden.values())
    for answer in answers:
        text = answer.content.decode()
        assert [name for name, value in hidden.items() if value in text or f'"{name}"' in text] == []


def test_a_refused_one_tells_the_customer_no_code_of_wechat_pay(shop, member, an_order):
    an_order(member, "REFUSED", error_code="NO_AUTH")
    assert "NO_AUTH" not in json.dumps(listed(member))
