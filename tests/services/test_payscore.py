"""PayScore plans: create, confirm, stop, through the sandbox in both modes."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_wxpay import conf
from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import operations, transactions
from django_wxpay.exceptions import CalledInTransaction, NotAllowedNow, ReferenceReused
from django_wxpay.models import Discrepancy, Operation, PayscorePlan
from django_wxpay.services import payscore
from django_wxpay.testing.sandbox import LESSONS

pytestmark = pytest.mark.django_db
ASKED = {"name": "Swim 3x", "details": LESSONS, "duration_days": 90, "reference": "swim", "merchant": "mainland"}
PLANS = "/v3/payscore/plan"


@pytest.fixture
def configured(wxpay_sandbox, settings):
    """Change options of the mainland merchant for a test."""

    def configure(**options):
        known = settings.WXPAY
        merchants = known["MERCHANTS"] | {"mainland": known["MERCHANTS"]["mainland"] | options}
        settings.WXPAY = known | {"MERCHANTS": merchants}

    return configure


@pytest.mark.parametrize("merchant", ["mainland", "mainland_partner"])
def test_a_plan_is_created_with_its_services_in_their_order(wxpay_sandbox, merchant):
    plan = payscore.create_plan(**ASKED | {"merchant": merchant})
    assert plan.state == "NORMAL" and plan.plan_id and plan.sub_mchid == conf.merchant(merchant).sub_mchid
    assert (plan.deduction_quantity, plan.total_original_price, plan.total_actual_price) == (3, 30000, 15000)
    details = plan.details.values_list("plan_detail_no", "plan_detail_name", "actual_price")
    assert list(details) == [(1, "Lesson 1", 10000), (2, "Lesson 2", 5000), (3, "Lesson 3", 0)]


def test_services_may_be_given_as_dictionaries(wxpay_sandbox):
    plan = payscore.create_plan(**ASKED | {"details": [{"name": "One", "original_price": 500, "actual_price": 500}]})
    assert (plan.state, plan.deduction_quantity) == ("NORMAL", 1)


def test_the_same_reference_creates_one_plan(wxpay_sandbox):
    first, second = payscore.create_plan(**ASKED), payscore.create_plan(**ASKED)
    assert first.pk == second.pk and second.was_known
    assert [path for method, path in wxpay_sandbox.calls if method == "POST"] == [f"{PLANS}/payscore-plans"]


@pytest.mark.parametrize(
    "other",
    [{"name": "Swim"}, {"duration_days": 91}, {"details": LESSONS[:2]}, {"details": (LESSONS[0], *LESSONS[2:])}],
)
def test_a_reference_with_other_parameters_is_refused(wxpay_sandbox, other):
    payscore.create_plan(**ASKED)
    with pytest.raises(ReferenceReused):
        payscore.create_plan(**ASKED | other)
    assert PayscorePlan.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("plan_name", {"name": "x" * 21}),
        ("plan_duration", {"duration_days": 0}),
        ("plan_detail_list", {"details": []}),
        ("plan_detail_list[0].actual_price", {"details": [payscore.Detail("a", 1, 2)]}),
        ("plan_detail_list[1].actual_price", {"details": [payscore.Detail("a", 9, 1), payscore.Detail("b", 9, 2)]}),
        ("plan_detail_list[0].original_price", {"details": [payscore.Detail("a", -1, -1)]}),
        ("plan_detail_list[0].plan_detail_name", {"details": [payscore.Detail("", 1, 1)]}),
        ("reference", {"reference": ""}),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_nothing_is_written(wxpay_sandbox, field, given):
    with pytest.raises(InvalidField) as refused:
        payscore.create_plan(**ASKED | given)
    assert refused.value.field == field
    assert not PayscorePlan.objects.exists() and wxpay_sandbox.calls == []


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("plan_duration", {"PLAN_DURATION_MAX": 89}),
        ("deduction_quantity", {"DEDUCTION_QUANTITY_MAX": 2}),
        ("plan_detail_list[0].actual_price", {"RISK_AMOUNT_MAX": 9999}),
    ],
)
def test_more_than_the_service_allows_is_refused_here(configured, field, options):
    configured(**options)
    with pytest.raises(InvalidField) as refused:
        payscore.create_plan(**ASKED)
    assert refused.value.field == field
    configured(**{name: value + 1 for name, value in options.items()})
    assert payscore.create_plan(**ASKED).state == "NORMAL"


def test_a_merchant_without_a_service_or_of_the_other_region_has_no_plans(configured):
    configured(SERVICE_ID="")
    with pytest.raises(ImproperlyConfigured, match="SERVICE_ID"):
        payscore.create_plan(**ASKED)
    configured(SERVICE_ID="1" * 32, REGION="global")
    with pytest.raises(ImproperlyConfigured, match="global"):
        payscore.create_plan(**ASKED)
    assert not PayscorePlan.objects.exists() and not Operation.objects.exists()


def test_creating_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox):
    with pytest.raises(CalledInTransaction, match="plan_creation"), transactions.atomic():
        payscore.create_plan(**ASKED)
    with transactions.atomic():
        plan = payscore.plan_creation(**ASKED)
    assert plan.state == "PLANNED"
    operations.send_due()
    plan.refresh_from_db()
    assert plan.state == "NORMAL"


def test_a_plan_of_a_service_that_is_not_granted_waits_until_the_setting_is_mended(configured):
    configured(SERVICE_ID="1" * 32)
    with pytest.raises(APIError):
        payscore.create_plan(**ASKED)
    assert PayscorePlan.objects.get().state == "PLANNED"  # the set-up is to be mended, then it is asked again


@pytest.mark.parametrize("fault", ["lost_answer", "error_500"])
def test_what_became_of_a_lost_answer_a_query_finds_out(wxpay_sandbox, later, fault):
    wxpay_sandbox.fault(fault, PLANS)
    with pytest.raises(OutcomeUnknown):
        payscore.create_plan(**ASKED)
    later()
    plan = PayscorePlan.objects.get()
    assert plan.state == "NORMAL"
    assert len(wxpay_sandbox.wechat.describe()["payscore_plans"]) == 1


def test_an_answer_with_another_price_is_not_believed(wxpay_sandbox):
    wxpay_sandbox.fault("altered", PLANS, answer={"total_actual_price": 14999})
    with pytest.raises(OutcomeUnknown):
        payscore.create_plan(**ASKED)
    assert PayscorePlan.objects.get().state == "PLANNED"
    discrepancy = Discrepancy.objects.get(kind="MISMATCH")
    assert "15000" in discrepancy.ours and "14999" in discrepancy.theirs


@pytest.mark.parametrize("merchant", ["mainland", "mainland_partner"])
def test_a_plan_is_stopped_for_good(wxpay_sandbox, merchant):
    plan = payscore.stop_plan(wxpay_sandbox.plan(merchant=merchant))
    assert plan.state == "STOP" and plan.stop_time is not None
    assert payscore.stop_plan(plan).was_known


def test_a_plan_that_was_stopped_elsewhere_counts_as_stopped(wxpay_sandbox):
    plan = wxpay_sandbox.plan()
    wxpay_sandbox.wechat.payscore.stop_by_hand(plan.plan_id)
    assert payscore.stop_plan(plan).state == "STOP"
    assert not [path for method, path in wxpay_sandbox.calls if path.endswith("/stop")]


def test_the_poller_finds_that_a_plan_was_stopped_elsewhere(wxpay_sandbox):
    plan = wxpay_sandbox.plan()
    wxpay_sandbox.wechat.payscore.stop_by_hand(plan.plan_id)
    assert payscore.poll() == 0
    PayscorePlan.objects.update(next_poll_at=plan.created_at)
    assert payscore.poll() == 1
    plan.refresh_from_db()
    assert plan.state == "STOP" and plan.next_poll_at is None


def test_only_a_plan_that_came_about_is_stopped(wxpay_sandbox):
    with transactions.atomic():
        plan = payscore.plan_creation(**ASKED)
    with pytest.raises(NotAllowedNow, match="PLANNED"):
        payscore.stop_plan(plan)
