"""Sign plans: open, sign, renew, cancel, through the sandbox in both modes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import operations, transactions, transitions
from django_wxpay.exceptions import CalledInTransaction, NotAllowedNow, OperationPending, ReferenceReused
from django_wxpay.models import Discrepancy, Operation, SignPlan, SignPlanDetail
from django_wxpay.services import service_orders, sign_plans
from django_wxpay.services.sign_plans import renewals
from tests.letters import catch, hearing

pytestmark = pytest.mark.django_db
SIGN = "/v3/payscore/sign-plan"
STOP = "/stop"


@pytest.fixture(params=["mainland", "mainland_partner"])
def plan(wxpay_sandbox, request):
    return wxpay_sandbox.plan(merchant=request.param)


@pytest.fixture
def unsigned(wxpay_sandbox):
    return sign_plans.sign(wxpay_sandbox.plan(), openid="o-one", reference="member-42")


def hours_ago(sign_plan, hours=3):
    """Let so much time have passed since it was opened, here and at WeChat Pay."""
    past = timezone.now() - timedelta(hours=hours)
    SignPlan.objects.filter(pk=sign_plan.pk).update(
        created_at=past, package_expires=past + timedelta(hours=2), next_poll_at=timezone.now(), asked_at=None
    )
    sign_plan.refresh_from_db()


def states(sign_plan):
    return list(sign_plan.details.values_list("state", flat=True))


def test_a_user_signs_what_was_opened_for_him(wxpay_sandbox, plan):
    opened = sign_plans.sign(plan, openid="o-one")
    assert opened.state == "UNSIGNED" and opened.sign_plan_id and opened.plan_over_time
    numbers = [detail.merchant_plan_detail_no for detail in opened.details.all()]
    assert len(set(numbers)) == 3
    with hearing("sign_plan_signed", "sign_plan_cancelled") as heard:
        signed = wxpay_sandbox.sign_plan(opened)
    assert signed.state == "SIGNED" and signed.sign_time is not None
    assert heard == [("sign_plan_signed", signed.number, "SIGNED")]
    assert states(signed) == ["NOT_USED"] * 3
    assert signed.launch_params() is None


def test_a_partners_user_may_be_known_under_the_sub_appid(wxpay_sandbox):
    plan = wxpay_sandbox.plan(merchant="mainland_partner")
    signed = wxpay_sandbox.signed_plan(plan, openid="o-sub", openid_appid=plan.sub_appid)
    assert signed.state == "SIGNED"
    assert wxpay_sandbox.wechat.sign_plans.get(signed.number)["sub_openid"] == "o-sub"
    assert sign_plans.sync(signed).state == "SIGNED"


def test_an_openid_of_another_appid_is_refused(wxpay_sandbox):
    with pytest.raises(InvalidField) as refused:
        sign_plans.sign(wxpay_sandbox.plan(), openid="o-one", openid_appid="wxother")
    assert refused.value.field == "openid_appid"


def test_each_client_gets_what_opens_the_page_and_only_query_strings_are_encoded(unsigned):
    package = SignPlan.objects.get(pk=unsigned.pk).package
    assert package.endswith("+/=")
    encoded = package.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    launch = unsigned.launch_params
    assert launch() == {"businessType": "wxpayScorePlan", "extraData": {"package": package}}
    assert launch("h5") == {"businessType": "wxpayScorePlan", "queryString": f"package={encoded}"}
    assert launch("app") == {
        "businessType": "wxpayScorePlan",
        "query": f"package={encoded}",
        "extInfo": '{"miniProgramType":0}',
    }


def test_the_same_reference_opens_one_sign_plan(wxpay_sandbox, unsigned):
    again = sign_plans.sign(unsigned.plan, openid="o-one", reference="member-42")
    assert again.pk == unsigned.pk and again.was_known
    with pytest.raises(ReferenceReused, match="openid"):
        sign_plans.sign(unsigned.plan, openid="o-two", reference="member-42")


def test_signing_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox):
    plan = wxpay_sandbox.plan()
    with pytest.raises(CalledInTransaction, match="plan_signing"), transactions.atomic():
        sign_plans.sign(plan, openid="o-one")
    with transactions.atomic():
        row = sign_plans.plan_signing(plan, openid="o-one")
    assert row.launch_params() is None
    operations.send_due()
    row.refresh_from_db()
    assert row.launch_params()


def test_a_plan_that_was_stopped_elsewhere_is_not_signed(wxpay_sandbox):
    plan = wxpay_sandbox.plan()
    wxpay_sandbox.wechat.payscore.stop_by_hand(plan.plan_id)
    with pytest.raises(InvalidField, match="STOP"):
        sign_plans.sign(plan, openid="o-one")
    assert SignPlan.objects.get().state == "REFUSED"
    assert not [path for method, path in wxpay_sandbox.calls if path.startswith(SIGN)]
    plan.refresh_from_db()
    with pytest.raises(NotAllowedNow, match="STOP"):
        sign_plans.sign(plan, openid="o-one")


def test_a_lost_answer_leaves_one_sign_plan_which_is_renewed_for_want_of_its_package(wxpay_sandbox, later):
    wxpay_sandbox.fault("lost_answer", f"{SIGN}/user-sign-plans")
    with pytest.raises(OutcomeUnknown):
        sign_plans.sign(wxpay_sandbox.plan(), openid="o-one")
    later()
    row = SignPlan.objects.get()
    assert row.state == "UNSIGNED" and not row.can_launch
    renewed = sign_plans.renew(row)
    assert renewed.can_launch and renewed.renews_id == row.pk


# Notices


@pytest.mark.scenario("S68")
def test_a_notice_makes_its_row_due_and_the_query_decides(wxpay_sandbox, unsigned):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.sign_plans.confirm(unsigned.number)
    [letter] = catch(wxpay_sandbox)
    assert letter.receive().state == "PROCESSED"
    unsigned.refresh_from_db()
    assert unsigned.state == "SIGNED" and unsigned.next_poll_at <= timezone.now()
    assert sign_plans.poll() == 1
    unsigned.refresh_from_db()
    assert unsigned.synced_at is not None and unsigned.next_poll_at > timezone.now()


@pytest.mark.scenario("S68")
@pytest.mark.parametrize(
    ("event_type", "told"),
    [
        ("PAYSCORE.USER_SIGN_PLAN", {"sign_state": "SIGN_PLAN_CANCEL", "cancel_sign_type": "REVOKE_SERVICE"}),
        ("PAYSCORE.USER_SIGN_PLAN", {"sign_state": "UNSIGNED", "cancel_sign_type": "NOT_CANCEL"}),
        ("PAYSCORE.USER_SIGN_PLAN", {"sign_state": "SIGNED", "cancel_sign_type": "USER"}),
    ],
)
def test_a_notice_that_contradicts_itself_changes_nothing_by_itself(wxpay_sandbox, unsigned, event_type, told):
    SignPlan.objects.update(next_poll_at=timezone.now() + timedelta(hours=1))
    content = wxpay_sandbox.payload_of(unsigned) | told
    assert wxpay_sandbox.notify(event_type, content, merchant="mainland")["status"] == 200
    unsigned.refresh_from_db()
    assert unsigned.state == "UNSIGNED" and unsigned.next_poll_at <= timezone.now()
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S68")
def test_revoking_the_service_cancels_whatever_the_notice_says_of_the_state(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    with hearing("sign_plan_cancelled") as heard:
        cancelled = wxpay_sandbox.cancel_plan(signed, revoke=True)
    assert (cancelled.state, cancelled.cancel_sign_type) == ("SIGN_PLAN_CANCEL", "REVOKE_SERVICE")
    assert cancelled.cancel_sign_time is not None and cancelled.cancel_reason == ""
    assert len(heard) == 1
    assert sign_plans.sync(cancelled).state == "SIGN_PLAN_CANCEL"


@pytest.mark.scenario("S05")
def test_an_older_signature_does_not_bring_a_cancelled_plan_back(wxpay_sandbox):
    opened = sign_plans.sign(wxpay_sandbox.plan(), openid="o-one")
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.sign_plans.confirm(opened.number)
    wxpay_sandbox.wechat.sign_plans.cancel_by_user(opened.number)
    signed, cancelled = catch(wxpay_sandbox)
    with hearing("sign_plan_signed", "sign_plan_cancelled") as heard:
        cancelled.receive()
        signed.receive()
        transitions.deliver_due()
    opened.refresh_from_db()
    assert opened.state == "SIGN_PLAN_CANCEL" and heard == []
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S68")
def test_empty_texts_and_zeros_are_absent(wxpay_sandbox):
    signed = sign_plans.sync(wxpay_sandbox.signed_plan())
    assert signed.cancel_sign_time is None and signed.cancel_reason == ""
    for detail in signed.details.all():
        assert (detail.use_time, detail.complete_time, detail.cancel_time, detail.actual_pay_price) == (None,) * 4


@pytest.mark.parametrize(
    "told",
    [
        {"total_actual_price": 1},
        {"plan_id": "0100"},
        {"mchid": "1900000999"},
        {"signed_detail_list": [{"plan_detail_no": 4}]},
        {"signed_detail_list": [{"plan_detail_no": 1, "merchant_plan_detail_no": "other"}]},
        {"signed_detail_list": [{"plan_detail_no": 1, "actual_price": 1}]},
    ],
)
def test_an_answer_that_speaks_of_something_else_is_refused(wxpay_sandbox, unsigned, told):
    wxpay_sandbox.wechat.sign_plans.confirm(unsigned.number)
    wxpay_sandbox.fault("altered", SIGN, answer=told)
    sign_plans.sync(unsigned)
    unsigned.refresh_from_db()
    assert unsigned.state == "UNSIGNED"
    assert Discrepancy.objects.get().kind == "MISMATCH"


def test_an_unknown_state_of_a_service_is_told_and_breaks_nothing(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    listed = wxpay_sandbox.payload_of(signed)["signed_detail_list"]
    odd = [listed[0] | {"plan_detail_state": "PAUSED", "actual_pay_price": "100"}, *listed[1:]]
    wxpay_sandbox.fault("altered", SIGN, answer={"signed_detail_list": odd})
    assert sign_plans.sync(signed).state == "SIGNED"
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"
    assert states(signed) == ["NOT_USED"] * 3


# Not in time


def test_what_nobody_signed_in_time_lapses_and_is_renewed_under_other_numbers(wxpay_sandbox, unsigned):
    with pytest.raises(NotAllowedNow, match="can still be signed"):
        sign_plans.renew(unsigned)
    hours_ago(unsigned)
    assert sign_plans.sync(unsigned).state == "LAPSED"
    renewed = sign_plans.renew(unsigned)
    assert renewed.state == "UNSIGNED" and renewed.can_launch
    assert (renewed.renews_id, renewed.attempt, renewed.reference) == (unsigned.pk, 2, "member-42")
    numbers = SignPlanDetail.objects.values_list("merchant_plan_detail_no", flat=True)
    assert len(set(numbers)) == 6 and renewed.number != unsigned.number
    assert sign_plans.sign(unsigned.plan, openid="o-one", reference="member-42").pk == renewed.pk


def test_the_abandoned_one_is_asked_to_be_cancelled_and_a_refusal_is_ignored(wxpay_sandbox, unsigned):
    hours_ago(unsigned)
    renewed = sign_plans.renew(unsigned)
    operations.send_due()
    asked = Operation.objects.get(action="CANCEL_SIGN_PLAN")
    assert (asked.object_id, asked.state) == (unsigned.pk, "REFUSED")
    assert renewed.can_launch


def test_a_renewal_of_a_renewal_belongs_to_the_first(wxpay_sandbox, unsigned):
    hours_ago(unsigned)
    second = sign_plans.renew(unsigned)
    operations.send_due()
    hours_ago(second)
    third = sign_plans.renew(unsigned)
    assert (third.renews_id, third.attempt) == (unsigned.pk, 3)
    assert [row.pk for row in third.chain()] == [unsigned.pk, second.pk, third.pk]


def test_what_is_signed_is_not_renewed(wxpay_sandbox):
    with pytest.raises(NotAllowedNow, match="is signed"):
        sign_plans.renew(wxpay_sandbox.signed_plan())


def renewed_late(unsigned):
    hours_ago(unsigned)
    renewed = sign_plans.renew(unsigned)
    operations.send_due()
    return renewed


def both_signed(sandbox, unsigned):
    """The user opened the first one in time, signs the renewal, then the first one after all."""
    renewed = renewed_late(unsigned)
    sandbox.sign_plan(renewed)
    sandbox.sign_plan(unsigned)
    return renewed


@pytest.mark.scenario("S67")
def test_of_two_that_were_signed_the_first_is_kept_and_the_other_cancelled_and_shown(wxpay_sandbox, unsigned):
    renewed = both_signed(wxpay_sandbox, unsigned)
    discrepancy = Discrepancy.objects.get(kind="SIGNED_TWICE")
    superseded = SignPlan.objects.get(pk=discrepancy.object_id)
    kept = unsigned if superseded.pk == renewed.pk else renewed
    kept.refresh_from_db()
    assert kept.sign_time <= superseded.sign_time
    with pytest.raises(NotAllowedNow, match="signed twice"):
        service_orders.start(superseded, reference="lesson-1")
    assert wxpay_sandbox.started(kept).state == "DOING"
    operations.send_due()
    superseded.refresh_from_db()
    assert (superseded.state, superseded.cancel_sign_type) == ("SIGN_PLAN_CANCEL", "MERCHANT")


@pytest.mark.scenario("S67")
def test_the_one_in_use_is_kept_whenever_the_other_was_signed(wxpay_sandbox, unsigned):
    renewed = renewed_late(unsigned)
    wxpay_sandbox.sign_plan(renewed)
    wxpay_sandbox.started(renewed)
    wxpay_sandbox.wechat.store.update("sign_plans", "merchant_sign_plan_no", unsigned.number, signed_at=1.0)
    wxpay_sandbox.sign_plan(unsigned)
    assert Discrepancy.objects.get(kind="SIGNED_TWICE").object_id == unsigned.pk
    with pytest.raises(NotAllowedNow, match="signed twice"):
        service_orders.start(unsigned, reference="another")


@pytest.mark.scenario("S67")
def test_an_ended_plan_bars_its_renewal_only_while_a_service_of_it_is_open(wxpay_sandbox, unsigned):
    renewed = renewed_late(unsigned)
    wxpay_sandbox.sign_plan(unsigned)
    order = wxpay_sandbox.started(unsigned)
    sign_plans.cancel(unsigned, reason="enough")
    wxpay_sandbox.sign_plan(renewed)
    assert renewals.is_superseded(renewed)
    service_orders.cancel(order, reason="enough")
    assert not renewals.is_superseded(renewed)


# Ends


@pytest.mark.parametrize("by_poll", [True, False])
def test_a_merchant_cancels_what_is_left(wxpay_sandbox, plan, by_poll):
    signed = wxpay_sandbox.signed_plan(plan)
    if by_poll:  # in the merchant platform: nobody is notified of that
        row = wxpay_sandbox.wechat.sign_plans.get(signed.number)
        wxpay_sandbox.wechat.sign_plans._end(row, "MERCHANT", "elsewhere")
        SignPlan.objects.update(next_poll_at=timezone.now())
        assert sign_plans.poll() == 1
        signed.refresh_from_db()
    else:
        signed = sign_plans.cancel(signed, reason="moved away")
    assert (signed.state, signed.cancel_sign_type) == ("SIGN_PLAN_CANCEL", "MERCHANT")
    assert signed.next_detail() is None
    with pytest.raises(NotAllowedNow):
        service_orders.start(signed, reference="lesson")


def test_the_same_form_cancels_once_and_a_reason_is_wanted(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    with pytest.raises(InvalidField) as refused:
        sign_plans.cancel(signed, reason="")
    assert refused.value.field == "stop_reason"
    first = sign_plans.cancel(signed, reason="moved", reference="token")
    again = sign_plans.cancel(signed, reason="moved", reference="token")
    assert first.state == again.state == "SIGN_PLAN_CANCEL" and again.was_known
    with pytest.raises(NotAllowedNow):
        sign_plans.cancel(signed, reason="moved")


def test_a_lost_answer_to_a_cancellation_is_found_out(wxpay_sandbox, later):
    signed = wxpay_sandbox.signed_plan()
    wxpay_sandbox.fault("lost_answer", f"*{STOP}")
    with pytest.raises(OutcomeUnknown):
        sign_plans.cancel(signed, reason="moved")
    later()
    signed.refresh_from_db()
    assert signed.state == "SIGN_PLAN_CANCEL"
    assert Operation.objects.get(action="CANCEL_SIGN_PLAN").state == "DONE"


def test_a_plan_is_not_cancelled_while_one_of_its_services_is_being_started(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    with transactions.atomic():
        service_orders.plan_start(signed, reference="lesson")
    with pytest.raises(OperationPending, match="being started"):
        sign_plans.cancel(signed, reason="moved")
    operations.send_due()
    cancelled = sign_plans.cancel(signed, reason="moved")
    assert cancelled.state == "SIGN_PLAN_CANCEL"


def test_the_end_of_a_plan_is_found_by_polling(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    wxpay_sandbox.advance(91 * 86400)
    SignPlan.objects.update(next_poll_at=timezone.now())
    sign_plans.poll()
    signed.refresh_from_db()
    assert signed.state == "EXPIRE" and signed.next_poll_at is None


def test_an_unsigned_plan_is_asked_about_at_growing_distances_and_a_signed_one_daily(wxpay_sandbox, unsigned):
    def pause_after(minutes):
        SignPlan.objects.update(created_at=timezone.now() - timedelta(minutes=minutes))
        unsigned.refresh_from_db()
        sign_plans.sync(unsigned)
        return (unsigned.next_poll_at - timezone.now()) / timedelta(minutes=1)

    assert [round(pause_after(minutes)) for minutes in (0, 1.2, 4, 11, 31)] == [1, 2, 6, 19, 89]
    signed = sign_plans.sync(wxpay_sandbox.sign_plan(unsigned))
    assert round((signed.next_poll_at - timezone.now()) / timedelta(hours=1)) == 24


def test_a_refusal_ends_the_row_with_its_code(wxpay_sandbox):
    wxpay_sandbox.fault("refuse", f"{SIGN}/user-sign-plans", method="POST", status=400, code="INVALID_REQUEST")
    with pytest.raises(APIError):
        sign_plans.sign(wxpay_sandbox.plan(), openid="o-one")
    row = SignPlan.objects.get()
    assert (row.state, row.error_code) == ("REFUSED", "INVALID_REQUEST")
