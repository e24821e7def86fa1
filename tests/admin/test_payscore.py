"""What staff see and press of plans, sign plans and service orders."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.engine import discrepancies, operations
from django_wxpay.models import Discrepancy, Operation, Order, PayscorePlan, ServiceOrder, SignPlan
from django_wxpay.sandbox.special import COLLECTION_AMOUNTS
from django_wxpay.services import payscore, service_orders
from django_wxpay.testing import make_service_order, make_sign_plan
from tests.admin.conftest import VIEW_ALL, Page

pytestmark = pytest.mark.django_db(transaction=True)
NEVER, KEPT = COLLECTION_AMOUNTS + 2, COLLECTION_AMOUNTS + 6
MAY = [
    "create_plan", "stop_plan", "query_payscoreplan", "cancel_sign_plan", "query_signplan", "start_serviceorder",
    "complete_serviceorder", "cancel_serviceorder", "report_serviceorder_paid", "query_serviceorder", "refund_order",
]  # fmt: skip


@pytest.fixture
def agent(staff):
    return staff(*VIEW_ALL, *MAY, name="ann")


@pytest.fixture
def collecting(wxpay_sandbox):
    """A completed service that costs so much and is not paid by itself."""

    def make(price=NEVER):
        details = [payscore.Detail("Lesson", price, price)]
        started = wxpay_sandbox.started(wxpay_sandbox.signed_plan(wxpay_sandbox.plan(details=details)))
        return service_orders.complete(started)

    return make


# Plans


def test_a_plan_leads_to_all_its_sign_plans_when_they_are_many(wxpay_sandbox, agent, monkeypatch):
    monkeypatch.setattr("django_wxpay.admin.payscore.SHOWN", 1)
    plan = make_sign_plan().plan
    link = f"?plan__id__exact={plan.pk}"
    assert link not in agent.get("payscoreplan_change", plan.pk).html
    make_sign_plan(plan=plan)
    assert link in agent.get("payscoreplan_change", plan.pk).html
    assert agent.get("signplan_changelist", plan__id__exact=plan.pk).html.count("field-number_shown") == 2


def test_a_plan_is_stopped_after_a_page_that_says_who_goes_on(wxpay_sandbox, agent):
    signed = wxpay_sandbox.signed_plan()
    page = agent.get("payscoreplan_stop", signed.plan_id)
    assert "Signed and running 1" in page.text and "Nobody can sign this plan any more." in page.text
    assert "The plan is stopped." in agent.confirm("payscoreplan_stop", signed.plan_id).text
    assert PayscorePlan.objects.get().state == "STOP"


# Sign plans


def test_the_next_service_is_started_once_per_form(wxpay_sandbox, agent):
    signed = wxpay_sandbox.signed_plan()
    page = agent.get("signplan_start", signed.pk)
    assert "Next service 1. Lesson 1" in page.text and "CN¥100.00" in page.text
    first = agent.post("signplan_start", signed.pk, token=page.token, introduction="Swim", location="Pool 1")
    assert "The service has begun." in first.text
    again = agent.post("signplan_start", signed.pk, token=page.token, introduction="Swim", location="Pool 1")
    assert "This was asked for before" in again.text
    order = ServiceOrder.objects.get()
    assert (order.state, order.service_introduction, order.start_location) == ("DOING", "Swim", "Pool 1")
    assert "comes first" in agent.get("signplan_start", signed.pk).text


def test_a_sign_plan_shows_each_of_its_services_and_hides_its_package(wxpay_sandbox, agent):
    signed = wxpay_sandbox.completed().sign_plan
    page = agent.get("signplan_change", signed.pk)
    assert "1. Lesson 1 paid CN¥100.00" in page.text and "2. Lesson 2 not used CN¥50.00" in page.text
    package = SignPlan.objects.get(pk=signed.pk).package
    assert package and package not in page.html
    listed = agent.get("signplan_changelist")
    assert "1/3" in listed.text and signed.openid not in listed.html


def test_a_sign_plan_is_cancelled_with_a_reason(wxpay_sandbox, agent):
    signed = wxpay_sandbox.signed_plan()
    page = agent.get("signplan_cancel", signed.pk)
    assert "Not used yet 1. Lesson 1, 2. Lesson 2, 3. Lesson 3 In use, goes on –" in page.text
    assert "This field is required" in agent.confirm("signplan_cancel", signed.pk, reason="").text
    assert "The sign plan is cancelled." in agent.confirm("signplan_cancel", signed.pk, reason="moved").text
    signed.refresh_from_db()
    assert (signed.state, signed.cancel_reason) == ("SIGN_PLAN_CANCEL", "moved")


def test_of_two_words_on_a_page_only_one_cancels(wxpay_sandbox, agent):
    order = wxpay_sandbox.started()
    for name, row in (("signplan_cancel", order.sign_plan), ("serviceorder_cancel", order)):
        asked = agent.get(name, row.pk).html.partition('class="submit-row"')[2]
        assert asked.count(">Cancel") == 1 and ">Back<" in asked


def test_who_cancels_a_sign_plan_sees_what_is_lost_and_what_goes_on(wxpay_sandbox, agent):
    page = agent.get("signplan_cancel", wxpay_sandbox.started().sign_plan_id)
    assert "Not used yet 2. Lesson 2, 3. Lesson 3 In use, goes on 1. Lesson 1" in page.text


@pytest.mark.scenario("S42")
def test_a_list_of_sign_plans_gives_a_result_for_each(wxpay_sandbox, agent):
    first, busy, last = (wxpay_sandbox.signed_plan() for _ in range(3))
    make_service_order(sign_plan=busy, state="PLANNED")
    page = agent.choose("signplan", "cancel_selected", [first, busy, last])
    results = agent.post("signplan_cancel_selected", token=page.token, reason="course ended")
    assert results.text.count("written down and will be sent") == 2
    assert "Something else is being asked" in results.text
    operations.send_due()
    states = SignPlan.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["SIGN_PLAN_CANCEL", "SIGNED", "SIGN_PLAN_CANCEL"]


# Service orders


def test_a_service_is_completed_at_its_own_price_after_it_was_shown(wxpay_sandbox, agent):
    order = wxpay_sandbox.started()
    page = agent.get("serviceorder_complete", order.pk)
    assert "Lesson 1 100.00" in page.html
    shown = agent.fill("serviceorder_complete", order.pk, payments="Lesson 1 100.00\nTowel 5", discounts="Member 15")
    assert shown.button == "Collect CN¥90.00" and "CN¥5.00" in shown.text
    assert not Operation.objects.filter(action="COMPLETE").exists()
    page = agent.confirm("serviceorder_complete", order.pk, payments="Lesson 1 100.00\nTowel 5", discounts="Member 15")
    assert "It is completed." in page.text
    wxpay_sandbox.deliver()
    order.refresh_from_db()
    assert order.is_paid and order.total_amount == 9000
    assert "CN¥90.00" in agent.get("serviceorder_change", order.pk).text


def test_a_free_service_is_prefilled_as_free(wxpay_sandbox, agent):
    signed = wxpay_sandbox.signed_plan()
    for _ in range(2):
        wxpay_sandbox.completed(signed)
    order = wxpay_sandbox.started(signed)
    page = agent.get("serviceorder_complete", order.pk)
    assert page.html.count("Lesson 3 100.00") == 2 or "free 100.00" in page.html
    costs = {"payments": "Lesson 3 100.00", "discounts": "free 100.00"}
    assert agent.fill("serviceorder_complete", order.pk, **costs).button == "Collect CN¥0.00"
    agent.confirm("serviceorder_complete", order.pk, **costs)
    order = service_orders.sync(order)
    assert order.is_paid and "finished, free" in agent.get("serviceorder_change", order.pk).text


@pytest.mark.parametrize(
    ("costs", "field", "words"),
    [
        ({"payments": "Lesson"}, "payments", "is no item"),
        ({"payments": "Lesson 1.234"}, "payments", "is no item"),
        ({"payments": "Lesson -1"}, "payments", "is no item"),
        ({"payments": f"{'x' * 21} 1"}, "payments", "too long a name: at most 20 characters"),
        ({"payments": "Lesson 100.01"}, "payments", "It comes to CN¥100.01: only CN¥100.00 were signed"),
        ({"payments": "Lesson 1", "discounts": "Off 2"}, "discounts", "more than the items"),
        ({"payments": "Lesson 9", "discounts": "Off 2\nOff 3"}, "discounts", "needs a name of its own"),
    ],
)
def test_a_bill_that_cannot_be_says_at_the_field_why(wxpay_sandbox, agent, costs, field, words):
    order = wxpay_sandbox.started()
    page = agent.confirm("serviceorder_complete", order.pk, **{"discounts": ""} | costs)
    assert list(page.errors) == [field] and words in page.errors[field]
    order.refresh_from_db()
    assert order.is_running


def test_a_wide_blank_parts_a_name_and_its_amount_too(wxpay_sandbox, agent):
    shown = agent.fill("serviceorder_complete", wxpay_sandbox.started().pk, payments="第一课\u3000100", discounts="")
    assert shown.button == "Collect CN¥100.00" and "第一课" in shown.text


@pytest.mark.parametrize(("minutes", "words"), [(9, "in the future"), (-900, "before the start")])
def test_the_end_of_a_service_is_neither_to_come_nor_before_its_start(wxpay_sandbox, agent, minutes, words):
    order = wxpay_sandbox.started()
    ended = timezone.localtime() + timedelta(minutes=minutes)
    costs = {"payments": "Lesson 1 100", "discounts": "", "end_time": f"{ended:%Y-%m-%dT%H:%M}"}
    page = agent.confirm("serviceorder_complete", order.pk, **costs)
    assert words in page.errors["end_time"]
    assert "Times are in UTC." in page.text


def test_the_amount_is_lowered_with_a_reason(wxpay_sandbox, agent, collecting):
    order = collecting()
    page = agent.get("serviceorder_modify", order.pk)
    assert "Lesson 55500.02" in page.html
    costs = {"payments": "Lesson 80", "discounts": "", "reason": "half of it"}
    assert agent.fill("serviceorder_modify", order.pk, **costs).button == "Lower the amount to CN¥80.00"
    page = agent.confirm("serviceorder_modify", order.pk, **costs)
    assert "The amount is lowered." in page.text
    again = agent.fill("serviceorder_modify", order.pk, **costs)
    assert again.errors == {"payments": "It comes to CN¥80.00: it must be less than the CN¥80.00 now."}
    order.refresh_from_db()
    assert order.total_amount == 8000


def test_what_was_paid_elsewhere_is_reported_and_shown_as_such(wxpay_sandbox, agent, collecting):
    order = collecting()
    paid = timezone.localtime() - timedelta(minutes=5)
    page = agent.confirm("serviceorder_report_paid", order.pk, paid_time=f"{paid:%Y-%m-%dT%H:%M}")
    assert "collects no more" in page.text
    service_orders.sync(order)
    shown = agent.get("serviceorder_change", order.pk)
    assert "elsewhere" in shown.text and "nothing was collected through WeChat Pay" in shown.text


def test_a_cancellation_warns_while_it_is_collected_and_tells_a_refusal(wxpay_sandbox, agent, collecting):
    order = collecting(KEPT)
    assert "WeChat Pay may refuse" in agent.get("serviceorder_cancel", order.pk).text
    page = agent.confirm("serviceorder_cancel", order.pk, reason="a mistake")
    assert "Refused:" in page.text and "Nothing happened." in page.text
    order.refresh_from_db()
    assert order.is_collecting


def test_a_collection_is_asked_for(wxpay_sandbox, agent, collecting):
    page = agent.confirm("serviceorder_collect", collecting().pk)
    assert "tries to collect it now" in page.text


def test_an_unknown_outcome_is_told_in_words(wxpay_sandbox, agent):
    order = wxpay_sandbox.started()
    wxpay_sandbox.fault("lost_answer", "*/cancel")
    page = agent.confirm("serviceorder_cancel", order.pk, reason="a mistake")
    assert "The outcome is unknown" in page.text


def test_what_was_collected_is_refunded_on_its_order_s_page(wxpay_sandbox, agent):
    payment = wxpay_sandbox.completed().orders.get()
    page = agent.get("order_refund", payment.pk)
    assert "available balance (mainland)" in page.text and "recharged balance" not in page.text
    done = agent.confirm("order_refund", payment.pk, amount="50", reason="class cancelled", source="")
    assert "CN¥50.00" in done.text
    assert payment.refunds.get().state == "PROCESSING"
    assert agent.get("order_changelist").status_code == 200
    assert payment.transaction_id in agent.get("order_change", payment.pk).text


def test_a_service_that_is_not_paid_for_days_needs_a_person(wxpay_sandbox, agent, collecting):
    fresh, old = collecting(), collecting()
    before = timezone.now() - timedelta(days=4)
    ServiceOrder.objects.filter(pk=old.pk).update(created_at=before, completed_at=before)
    in_use_for_days = make_service_order(created_at=before)
    assert "1 Services not paid for days" in agent.get("dashboard").text
    listed = agent.get("serviceorder_changelist", attention="unpaid").html
    assert old.out_order_no in listed
    assert fresh.out_order_no not in listed and in_use_for_days.out_order_no not in listed


@pytest.mark.parametrize(
    ("kind", "advice"), [("PAID_TWICE", "Refund one of the payments"), ("SIGNED_TWICE", "One of the two is kept")]
)
def test_a_discrepancy_leads_to_its_row_and_says_what_to_do(wxpay_sandbox, boss, kind, advice):
    order = make_service_order()
    row = {"PAID_TWICE": order, "SIGNED_TWICE": order.sign_plan}[kind]
    discrepancies.record(kind, row, ours="1", theirs="2")
    found = Discrepancy.objects.get()
    model = row._meta.model_name
    assert boss.url(f"{model}_change", row.pk) in boss.get("discrepancy_changelist").html
    for page in (boss.get("discrepancy_change", found.pk), boss.get("discrepancy_resolve", found.pk)):
        assert advice in page.text
    assert found.get_kind_display().capitalize() in boss.get(f"{model}_change", row.pk).text  # in its timeline


def test_what_was_just_reported_as_paid_is_not_collected_before_it_was_queried(wxpay_sandbox, agent, collecting):
    order = collecting()
    ServiceOrder.objects.filter(pk=order.pk).update(synced_at=timezone.now())
    Operation.objects.create(
        merchant=order.merchant, mchid=order.mchid, subject=order.subject, object_id=order.pk, action="REPORT_PAID",
        state="DONE", finished_at=timezone.now(),
    )  # fmt: skip
    for name in ("cancel", "collect", "modify", "report_paid"):
        page = agent.get(f"serviceorder_{name}", order.pk)
        assert "Query it first." in page.text and not page.token
    service_orders.sync(order)
    assert agent.get("serviceorder_collect", order.pk).token


def test_lists_take_the_same_number_of_statements_however_long_they_are(wxpay_sandbox, agent):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def statements(name):
        with CaptureQueriesContext(connection) as context:
            assert agent.get(name).status_code == 200
        return len(context)

    names = ["payscoreplan_changelist", "signplan_changelist", "serviceorder_changelist"]
    make_service_order(sign_plan=make_sign_plan(user=agent.user))
    before = [statements(name) for name in names]
    for _ in range(3):
        make_service_order(sign_plan=make_sign_plan(user=agent.user))
    assert [statements(name) for name in names] == before


def test_every_page_can_be_read_in_chinese(wxpay_sandbox, agent):
    order = wxpay_sandbox.completed()
    agent.browser.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-hans"
    for name, row in (
        ("payscoreplan", order.sign_plan.plan),
        ("signplan", order.sign_plan),
        ("serviceorder", order),
        ("order", Order.objects.get()),
    ):
        assert agent.get(f"{name}_changelist").status_code == 200
        assert isinstance(agent.get(f"{name}_change", row.pk), Page)
