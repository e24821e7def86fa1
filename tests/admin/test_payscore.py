"""What staff see and press of plans, sign plans and service orders."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_wxpay.engine import operations
from django_wxpay.models import Operation, Order, PayscorePlan, ServiceOrder, SignPlan
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
PLAN = {
    "name": "Swim 3x",
    "duration_days": "90",
    "merchant": "mainland",
    "details-TOTAL_FORMS": "3",
    "details-INITIAL_FORMS": "0",
    "details-0-name": "Lesson 1",
    "details-0-original_price": "100.00",
    "details-0-actual_price": "100",
    "details-1-name": "Lesson 2",
    "details-1-original_price": "100.00",
    "details-1-actual_price": "0",
    "details-1-discount_description": "free",
}


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


def create(agent, **changed):
    """Fill in the page of a new plan and confirm what it shows."""
    page = agent.get("payscoreplan_create")
    shown = agent.post("payscoreplan_create", token=page.token, **PLAN | changed)
    return shown, lambda: agent.post("payscoreplan_create", token=shown.token, **PLAN | changed)


# Plans


def test_a_plan_is_shown_with_its_sums_before_it_is_created(wxpay_sandbox, agent):
    assert "Create a plan" in agent.get("payscoreplan_changelist").text
    shown, confirm = create(agent)
    assert shown.asks_to_confirm and "CN¥200.00" in shown.text and not PayscorePlan.objects.exists()
    page = confirm()
    assert "The plan is created: customers can sign it." in page.text
    plan = PayscorePlan.objects.get()
    assert (plan.state, plan.total_original_price, plan.total_actual_price) == ("NORMAL", 20000, 10000)
    assert list(plan.details.values_list("actual_price", flat=True)) == [10000, 0]
    assert LogEntry.objects.get().object_id == str(plan.pk)
    confirm()
    assert PayscorePlan.objects.count() == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"details-1-actual_price": "101"}, "actual_price"),
        ({"details-0-original_price": "1.234"}, "Write an amount"),
        ({"details-0-name": ""}, "This field is required"),
        ({"duration_days": "0"}, "greater than or equal to 1"),
        ({"name": "x" * 21}, "at most 20 characters"),
    ],
)
def test_a_plan_that_cannot_be_says_why_and_is_not_created(wxpay_sandbox, agent, changed, words):
    shown, confirm = create(agent, **changed)
    page = confirm() if shown.asks_to_confirm else shown
    assert words in page.text
    assert not PayscorePlan.objects.exists()


def test_more_services_keep_what_was_filled_in(wxpay_sandbox, agent):
    page = agent.get("payscoreplan_create")
    more = agent.post("payscoreplan_create", token=page.token, more="1", **PLAN | {"details-1-name": ""})
    assert 'name="details-5-name"' in more.html and 'value="Swim 3x"' in more.html
    assert "This field is required" not in more.text


def test_without_permission_nothing_is_created(wxpay_sandbox, viewer):
    assert viewer.get("payscoreplan_create").status_code == 403
    assert viewer.post("payscoreplan_create", **PLAN).status_code == 403
    assert "Create a plan" not in viewer.get("payscoreplan_changelist").text


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
    assert "Not used yet 1. Lesson 1, 2. Lesson 2, 3. Lesson 3" in page.text
    assert "This field is required" in agent.confirm("signplan_cancel", signed.pk, reason="").text
    assert "The sign plan is cancelled." in agent.confirm("signplan_cancel", signed.pk, reason="moved").text
    signed.refresh_from_db()
    assert (signed.state, signed.cancel_reason) == ("SIGN_PLAN_CANCEL", "moved")


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
    ("costs", "words"),
    [
        ({"payments": "Lesson"}, "is no item"),
        ({"payments": "Lesson 1.234"}, "is no item"),
        ({"payments": "Lesson 100.01"}, "more than the 10000"),
        ({"payments": "Lesson 1", "discounts": "Off 2"}, "more than post_payments"),
    ],
)
def test_a_bill_that_cannot_be_says_why(wxpay_sandbox, agent, costs, words):
    order = wxpay_sandbox.started()
    page = agent.confirm("serviceorder_complete", order.pk, **{"discounts": ""} | costs)
    assert words in page.text
    order.refresh_from_db()
    assert order.is_running


def test_the_amount_is_lowered_with_a_reason(wxpay_sandbox, agent, collecting):
    order = collecting()
    page = agent.get("serviceorder_modify", order.pk)
    assert "Lesson 55500.02" in page.html
    page = agent.confirm("serviceorder_modify", order.pk, payments="Lesson 80", discounts="", reason="half of it")
    assert "The amount is lowered." in page.text
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
