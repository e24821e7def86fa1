"""A person ends a request by hand."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.exceptions import RefundWaits
from django_wxpay.models import Operation, Order, Refund
from django_wxpay.services import orders, refunds, sign_plans

pytestmark = pytest.mark.django_db(transaction=True)
DEDUCT, REFUNDS = "/v3/global/papay/transactions", "/v3/global/refunds"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "m-1"}


@pytest.fixture
def agent(staff):
    return staff("view_operation", "view_order", "view_refund", "end_operation")


def test_what_was_not_sent_yet_is_ended_with_a_reason_and_a_trace(wxpay_sandbox, agent):
    orders.plan_deduction(wxpay_sandbox.signed_contract(), **ASKED)
    operation = Operation.objects.get(action="DEDUCT")
    assert agent.url("operation_end", operation.pk) in agent.get("operation_change", operation.pk).links
    page = agent.get("operation_end", operation.pk)
    assert "surely not taken it" in page.text
    page = agent.confirm("operation_end", operation.pk, reason="asked for twice")
    assert "It is over: refused. asked for twice" in page.text
    assert (Operation.objects.get(action="DEDUCT").state, Order.objects.get().state) == ("REFUSED", "REFUSED")
    assert "asked for twice" in LogEntry.objects.get().change_message
    assert agent.get("operation_change", operation.pk).links[:-1] == []


def test_what_may_be_under_way_is_not_offered_and_not_ended(wxpay_sandbox, agent):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.fault("closed_connection", REFUNDS, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r")
    operation = Operation.objects.get(action="REFUND")
    page = agent.get("operation_end", operation.pk)
    assert ("It may still be under way. Try again after" in page.text, page.token) == (True, None)
    assert Operation.objects.get(action="REFUND").is_open

    Operation.objects.filter(pk=operation.pk).update(busy_until=timezone.now() - timedelta(seconds=1))
    page = agent.get("operation_end", operation.pk)
    assert "may have taken it" in page.text and "What was reserved for it stays so" in page.text
    page = agent.confirm("operation_end", operation.pk, reason="never fits")
    assert "It is over: outcome unknown. never fits" in page.text
    order.refresh_from_db()
    assert (Refund.objects.get().state, order.refund_reserved) == ("CREATED", 1000)


def test_who_ends_a_request_sees_what_it_is_about_how_much_it_is_and_what_is_nought(wxpay_sandbox, agent):
    order = orders.plan_deduction(wxpay_sandbox.signed_contract(), **ASKED)
    page = agent.get("operation_end", Operation.objects.get(action="DEDUCT").pk)
    assert f"About order {order.number}" in page.text and "Amount HK$38.00" in page.text
    assert "Attempts 0 Last sent –" in page.text


def test_who_ends_a_completion_sees_how_much_it_is(wxpay_sandbox, agent):
    order = wxpay_sandbox.completed()
    page = agent.get("operation_end", Operation.objects.get(action="COMPLETE").pk)
    assert f"About service order {order.number}" in page.text and "Amount CN¥100.00" in page.text


def test_no_openid_is_shown_with_what_was_sent_whosever_appid_it_is_under(wxpay_sandbox, agent):
    plan = wxpay_sandbox.plan(merchant="mainland_partner")
    openids = {"openid": "o-synthetic-0001-of-ours", "sub_openid": "o-synthetic-0002-of-theirs"}
    config = conf.merchant("mainland_partner")
    sign_plans.sign(plan, openid=openids["openid"], reference="one")
    sign_plans.sign(plan, openid=openids["sub_openid"], openid_appid=config.sub_appid, reference="two")
    signings = Operation.objects.filter(action="SIGN_PLAN")
    assert {name for one in signings for name in one.fields if one.fields[name] in openids.values()} == set(openids)
    for operation in signings:
        page = agent.get("operation_change", operation.pk)
        assert "o-s…" in page.text and not any(openid in page.html for openid in openids.values())


def test_an_error_that_names_its_code_names_it_once(wxpay_sandbox, agent):
    order = wxpay_sandbox.paid_order(amount=7770011)
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=7770011, reference="r")
    operation = Operation.objects.get(action="REFUND")
    for page in (agent.get("operation_end", operation.pk), agent.get("refund_change", operation.object_id)):
        assert page.text.count("NOT_ENOUGH: special amount") == 1
        assert "NOT_ENOUGH NOT_ENOUGH" not in page.text and "NOT_ENOUGH · NOT_ENOUGH" not in page.text
    Operation.objects.filter(pk=operation.pk).update(error_message="too little money")
    assert "NOT_ENOUGH: too little money" in agent.get("operation_end", operation.pk).text


def test_a_form_that_is_sent_twice_ends_once(wxpay_sandbox, agent):
    orders.plan_deduction(wxpay_sandbox.signed_contract(), **ASKED)
    operation = Operation.objects.get(action="DEDUCT")
    token = agent.get("operation_end", operation.pk).token
    for _ in range(2):
        page = agent.post("operation_end", operation.pk, token=token, reason="asked for twice")
    assert "This was asked for before; nothing more was asked now." in page.text
    assert LogEntry.objects.count() == 1


def test_a_reason_is_required(wxpay_sandbox, agent):
    orders.plan_deduction(wxpay_sandbox.signed_contract(), **ASKED)
    operation = Operation.objects.get(action="DEDUCT")
    assert "This field is required" in agent.confirm("operation_end", operation.pk, reason=" ").text
    assert Operation.objects.get(action="DEDUCT").is_open
