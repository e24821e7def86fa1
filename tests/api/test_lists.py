"""What the customers' lists of sign plans, payees and combined orders have in common: pages, statements, no secrets."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from django_wxpay import conf
from django_wxpay.engine.numbers import new_number
from django_wxpay.models import CombineOrder, Order, SignPlan
from django_wxpay.services import sign_plans
from django_wxpay.testing import make_order, make_payee, make_payscore_plan, make_sign_plan
from tests.api.test_sign_plans import member_named

SIGN_PLANS, PAYEES, COMBINED = "/wxpay/sign-plans/", "/wxpay/payees/", "/wxpay/combine-orders/"
NUMBER = {SIGN_PLANS: "merchant_sign_plan_no", PAYEES: "payee_no", COMBINED: "combine_out_trade_no"}
STATEMENTS = {SIGN_PLANS: 3, PAYEES: 1, COMBINED: 2}  # the rows; their parts; what is being asked


@pytest.fixture
def member(wxpay_sandbox, db):
    cache.clear()  # the throttles' memory
    return member_named("ada")


def make_combined(client, state="NOTPAY", **values):
    """A combined order of two parts."""
    merchant, number = conf.merchant("mainland"), new_number()
    own = {"merchant": merchant.alias, "mchid": merchant.mchid, "appid": merchant.appid}
    known = {"reference": number, "combine_out_trade_no": number, "openid": f"o-{number}"[:28], "amount_total": 1000}
    order = CombineOrder.objects.create(**own | known | {"user": client.user, "state": state} | values)
    for _ in range(2):
        make_order(
            merchant="mainland", product=Order.Product.COMBINE, contract=None, combine_order=order, currency="CNY",
            amount_total=500, state=state, individual_auth_id=new_number(),
        )  # fmt: skip
    return order


@pytest.fixture
def make(member):
    """Makes a row of the customer's for the list at a path."""
    plan = make_payscore_plan()
    return {
        SIGN_PLANS: lambda **values: make_sign_plan(plan=plan, user=member.user, **values),
        PAYEES: lambda **values: make_payee(user=member.user, **values),
        COMBINED: lambda **values: make_combined(member, **values),
    }


@pytest.mark.parametrize("path", NUMBER)
def test_more_than_a_page_is_read_page_by_page_each_once(member, make, path):
    numbers = [make[path]().number for _ in range(51)]
    first = member.get(path).json()
    last = member.get(first["next"]).json()
    assert [len(page["results"]) for page in (first, last)] == [50, 1] and last["next"] is None
    assert [row[NUMBER[path]] for page in (first, last) for row in page["results"]] == numbers[::-1]
    assert member.get(last["previous"]).json()["results"] == first["results"]


@pytest.mark.parametrize("path", NUMBER)
def test_a_list_takes_the_same_number_of_statements_however_long_it_is(member, make, path):
    taken = []
    for count in (2, 20):
        for _ in range(count):
            make[path]()
        with CaptureQueriesContext(connection) as statements:
            shown = len(member.get(path).json()["results"])
        taken.append((shown, len(statements)))
    assert taken == [(2, STATEMENTS[path]), (22, STATEMENTS[path])]


@pytest.mark.parametrize("path", NUMBER)
def test_nobody_sees_a_list_or_a_row_without_signing_in(wxpay_sandbox, make, path):
    row = make[path]()
    for asked in (path, f"{path}{row.number}/"):
        answer = APIClient().get(asked)
        assert (answer.status_code, answer.json()["code"]) == (403, "NOT_AUTHENTICATED")
    assert wxpay_sandbox.calls == []


@pytest.mark.parametrize("path", NUMBER)
def test_a_list_has_nothing_of_anybody_else_and_asks_wechat_pay_nothing(wxpay_sandbox, member, make, path):
    make[path]()
    bob = member_named("bob")
    assert bob.get(path).json() == {"next": None, "previous": None, "results": []}
    assert len(member.get(path).json()["results"]) == 1
    assert wxpay_sandbox.calls == []


# In which state


@pytest.mark.parametrize("state", SignPlan.State.values)
def test_a_sign_plan_is_listed_in_any_state_and_only_an_unsigned_one_can_be_opened(member, make, state):
    make[SIGN_PLANS](state=state)
    [row] = member.get(SIGN_PLANS).json()["results"]
    assert (row["state"], row["pending"], len(row["details"])) == (state, None, 3)
    assert (row["launch"] is not None) == (state == "UNSIGNED")


def test_an_unsigned_plan_whose_two_hours_are_over_opens_nothing(member, make):
    make[SIGN_PLANS](state="UNSIGNED", package_expires=timezone.now() - timedelta(seconds=1))
    [row] = member.get(SIGN_PLANS).json()["results"]
    assert (row["state"], row["launch"]) == ("UNSIGNED", None)


def test_what_is_being_asked_about_a_sign_plan_stands_beside_it_alone(wxpay_sandbox, member):
    plan = wxpay_sandbox.plan()
    signed = wxpay_sandbox.signed_plan(plan, user=member.user)
    sign_plans.plan_cancellation(signed, reason="moved away")
    planned = sign_plans.plan_signing(plan, openid="o-ada-2", user=member.user, reference="another")
    wxpay_sandbox.signed_plan(plan, user=member.user)
    pending = {row["merchant_sign_plan_no"]: row["pending"] for row in member.get(SIGN_PLANS).json()["results"]}
    assert len(pending) == 3
    assert (pending.pop(signed.number), pending.pop(planned.number)) == ("CANCEL_SIGN_PLAN", "SIGN_PLAN")
    assert list(pending.values()) == [None]


@pytest.mark.parametrize("state", CombineOrder.State.values)
def test_a_combined_order_is_listed_in_any_state_with_its_parts_and_nothing_to_pay_with(member, make, state):
    make[COMBINED](state=state, prepay_id="wx-prepay", prepay_expires=timezone.now() + timedelta(hours=1))
    [row] = member.get(COMBINED).json()["results"]
    assert (row["state"], row["payment"], row["currency"]) == (state, None, "CNY")
    assert [part["amount_total"] for part in row["orders"]] == [500, 500]


@pytest.mark.parametrize("state", ["AUTHORIZED", "UNAUTHORIZED"])
def test_a_payee_is_listed_in_either_state_with_nothing_to_sign(member, make, state):
    make[PAYEES](state=state)
    [row] = member.get(PAYEES).json()["results"]
    assert (row["state"], row["sign"]) == (state, None)


# What they never see


def names_in(value):
    """Every name that an answer uses, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


HIDDEN = {
    "openid", "openid_appid", "sub_openid", "mchid", "sub_mchid", "appid", "sub_appid", "merchant", "user", "id",
    "reference", "error_code", "package", "service_id", "plan_id", "sign_plan_id", "order_id", "individual_auth_id",
    "out_contract_code", "prepay_id", "transaction_id", "combine_transaction_id",
}  # fmt: skip


@pytest.mark.parametrize("path", NUMBER)
def test_no_answer_names_an_openid_or_what_only_the_shop_and_wechat_pay_know(member, make, path):
    secret = "o-nobody-else-knows"
    values = {
        SIGN_PLANS: {"package": "what-opens-it", "reference": "member-ada"},
        PAYEES: {"out_contract_code": "code-of-ada", "individual_auth_id": "ia-of-ada"},
        COMBINED: {"combine_transaction_id": "wechat-pays-own", "prepay_id": "what-it-is-paid-by"},
    }
    row = make[path](openid=secret, **values[path])
    parts = list(row.orders.all()) if path == COMBINED else []
    words = [secret, row.mchid, row.appid, *values[path].values()]
    words += [word for part in parts for word in (part.individual_auth_id, part.mchid)]
    words += [row.sign_plan_id, row.service_id] if path == SIGN_PLANS else []
    alone = [f"{path}{row.number}/"] if path != PAYEES else []  # there it is asked first
    for asked in (path, *alone):
        answer = member.get(asked)
        assert answer.status_code == 200 and row.number in answer.content.decode()
        text = answer.content.decode().replace(row.number, "")
        for part in parts:
            text = text.replace(part.out_trade_no, "")
        for detail in row.details.all() if path == SIGN_PLANS else ():
            text = text.replace(detail.merchant_plan_detail_no, "")
        assert [word for word in words if word in text] == []
        assert names_in(answer.json()) & HIDDEN == set()


def test_of_what_opens_a_sign_plan_only_the_package_is_told(member, make):
    make[SIGN_PLANS](state="UNSIGNED", openid="o-nobody-else-knows")
    answer = member.get(SIGN_PLANS)
    [row] = answer.json()["results"]
    assert row["launch"] == {"businessType": "wxpayScorePlan", "extraData": {"package": "synthetic+/="}}
    assert "o-nobody-else-knows" not in answer.content.decode()
