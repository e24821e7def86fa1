from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited
from django_wxpay.engine import operations, transactions
from django_wxpay.exceptions import (
    CalledInTransaction,
    NotAllowedNow,
    OperationPending,
    OrderNotPaid,
    ReferenceReused,
    RefundedMeanwhile,
    RefundNotPossible,
    RefundTooLarge,
    RefundWaits,
)
from django_wxpay.models import Discrepancy, Notification, Operation, Order, Refund, Transition
from django_wxpay.sandbox.special import PAYMENT_AMOUNTS, REFUND_AMOUNTS
from django_wxpay.services import orders, refunds
from django_wxpay.testing import make_order, make_refund

pytestmark = pytest.mark.django_db
REFUNDS = "/v3/global/refunds"
ABNORMAL, CLOSED, NOT_ENOUGH_FIRST, ACCOUNT_CLOSED, ACCEPTED_500, NOT_ACCEPTED_429, NOT_ENOUGH_ALWAYS = (
    REFUND_AMOUNTS + n for n in (1, 2, 3, 5, 6, 10, 11)
)
LARGE = 10_000_000


@pytest.fixture
def order(wxpay_sandbox):
    return wxpay_sandbox.paid_order(amount=LARGE)


def refunds_there(wxpay_sandbox):
    return wxpay_sandbox.wechat.store.all("SELECT * FROM refunds")


def a_minute_passes(wxpay_sandbox):
    """For both: the emulator's pace and our own turns."""
    minute = timedelta(seconds=61)
    Operation.objects.update(sent_at=F("sent_at") - minute, busy_until=F("busy_until") - minute)
    wxpay_sandbox.advance(61)
    Operation.objects.open().update(next_try_at=timezone.now())
    operations.send_due()


# Asking


def test_an_accepted_refund_is_processing_then_notified(wxpay_sandbox, order):
    refund = refunds.create(order, amount=1000, reference="r-1", reason="broken")
    assert (refund.state, bool(refund.refund_id)) == ("PROCESSING", True)
    order.refresh_from_db()
    assert order.refundable_amount == LARGE - 1000
    wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    assert (refund.state, refund.next_poll_at) == ("SUCCESS", None)
    assert refund.success_time


@pytest.mark.scenario("S29")
def test_the_same_reference_refunds_once(wxpay_sandbox, order):
    first = refunds.create(order, amount=1000, reference="r-1")
    second = refunds.create(order, amount=1000, reference="r-1")
    assert first.pk == second.pk
    order.refresh_from_db()
    assert order.refund_reserved == 1000


@pytest.mark.scenario("S29")
@pytest.mark.parametrize(
    ("field", "value"), [("amount", 2000), ("reason", "lost"), ("source", Refund.FundSource.RECHARGE)]
)
def test_a_reused_reference_with_other_words_is_refused(wxpay_sandbox, order, field, value):
    asked = {"amount": 1000, "reason": "broken", "reference": "r-1"}
    refunds.create(order, **asked)
    with pytest.raises(ReferenceReused, match=field):
        refunds.create(order, **asked | {field: value})
    assert len(refunds_there(wxpay_sandbox)) == 1


@pytest.mark.scenario("S29")
def test_a_refund_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox, order):
    with pytest.raises(CalledInTransaction, match="plan_refund"), transactions.atomic():
        refunds.create(order, amount=1000, reference="r-1")
    order.refresh_from_db()
    assert order.refund_reserved == 0
    with transactions.atomic():
        refund = refunds.plan_refund(order, amount=1000, reference="r-1")
    operations.send_due()
    refund.refresh_from_db()
    assert refund.state == "PROCESSING"


@pytest.mark.scenario("S37")
def test_two_equal_refunds_that_are_both_meant_both_happen_in_turn(wxpay_sandbox, order):
    first = refunds.create(order, amount=1000, reference="r-1")
    second = refunds.create(order, amount=1000, reference="r-2")
    assert (first.state, second.state) == ("PROCESSING", "CREATED")  # one at a time, a minute apart
    assert len(refunds_there(wxpay_sandbox)) == 1
    a_minute_passes(wxpay_sandbox)
    second.refresh_from_db()
    assert second.state == "PROCESSING"
    assert len(refunds_there(wxpay_sandbox)) == 2
    order.refresh_from_db()
    assert order.refund_reserved == 2000


def test_refunds_are_sent_in_the_order_they_were_asked_for(wxpay_sandbox, order):
    planned = [refunds.plan_refund(order, amount=100, reference=f"r-{n}") for n in range(3)]
    operations.send_due()
    for _ in range(2):
        a_minute_passes(wxpay_sandbox)
    sent = [row["out_refund_no"] for row in refunds_there(wxpay_sandbox)]
    assert sent == [refund.out_refund_no for refund in planned]


@pytest.mark.scenario("S36")
def test_more_than_remains_is_refused(wxpay_sandbox, order):
    refunds.create(order, amount=LARGE - 10, reference="r-1")
    with pytest.raises(RefundTooLarge, match="10 HKD"):
        refunds.create(order, amount=11, reference="r-2")
    assert Refund.objects.count() == 1


@pytest.mark.scenario("S62")
def test_a_refund_is_not_made_when_what_remains_is_not_what_was_seen(wxpay_sandbox, order):
    asked = {"amount": 1000, "seen_refundable": LARGE}
    first = refunds.create(order, **asked, reference="r-1")
    with pytest.raises(RefundedMeanwhile, match=f"{LARGE - 1000} remain refundable"):
        refunds.create(order, **asked, reference="r-2")
    assert refunds.create(order, **asked, reference="r-1").pk == first.pk  # the same again is the same
    order.refresh_from_db()
    assert (Refund.objects.count(), order.refund_reserved) == (1, 1000)


@pytest.mark.scenario("S39")
def test_the_51st_refund_is_refused_with_the_reason(wxpay_sandbox):
    order = make_order()
    for _ in range(50):
        make_refund(order=order, amount=1, state="SUCCESS")
    with pytest.raises(RefundNotPossible, match="50"):
        refunds.create(order, amount=1, reference="one more")
    assert wxpay_sandbox.calls == []


@pytest.mark.scenario("S39")
def test_refunds_that_gave_back_do_not_count_among_the_fifty(wxpay_sandbox):
    order = make_order()
    for _ in range(50):
        make_refund(order=order, amount=1, state="CLOSED")
    assert refunds.plan_refund(order, amount=1, reference="one more").state == "CREATED"


@pytest.mark.scenario("S39")
def test_a_refund_after_a_year_is_refused_with_the_reason(wxpay_sandbox):
    order = make_order(success_time=timezone.now() - timedelta(days=366))
    with pytest.raises(RefundNotPossible, match="365 days"):
        refunds.create(order, amount=1, reference="late")


def test_an_unpaid_order_has_nothing_to_refund(wxpay_sandbox):
    with pytest.raises(OrderNotPaid):
        refunds.create(make_order(state="USERPAYING"), amount=1, reference="r")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "10"}, "amount"),
        ({"reason": "x" * 81}, "reason"),
        ({"reason": "sorry 😀"}, "reason"),
        ({"source": "PETTY_CASH"}, "source"),
        ({"reference": ""}, "reference"),
    ],
)
def test_bad_input_is_refused_with_the_field_named(wxpay_sandbox, order, change, field):
    with pytest.raises(InvalidField) as refused:
        refunds.create(order, **{"amount": 1, "reference": "r"} | change)
    assert refused.value.field == field
    assert refunds_there(wxpay_sandbox) == []


# Outcomes


@pytest.mark.parametrize("how", ["answer", "notification", "query", "listing"])
def test_a_refund_keeps_where_its_money_came_from_its_rate_and_its_promotions(wxpay_sandbox, how):
    order = wxpay_sandbox.paid_order(amount=PAYMENT_AMOUNTS + 50)
    wxpay_sandbox.notification_fault("lost", "REFUND", times=-1 if how != "notification" else 1)
    refund = refunds.create(order, amount=1000, reference="r-1", source=Refund.FundSource.RECHARGE)
    Refund.objects.update(exchange_rate=None if how != "answer" else refund.exchange_rate)
    if how != "answer":
        Refund.objects.update(exchange_rate_type="", promotion_detail=None, fund_source="")
        wxpay_sandbox.advance(10)
    if how == "notification":
        payload = wxpay_sandbox.payload_of(refund) | {"fund_source": "REFUND_SOURCE_REchARGE_FUNDS"}
        wxpay_sandbox.notify("REFUND.SUCCESS", payload)
    if how == "query":
        refunds.sync(refund)
    if how == "listing":
        refunds.sync_all(order)
    refund.refresh_from_db()
    assert (bool(refund.exchange_rate), refund.exchange_rate_type) == (True, "SETTLEMENT_RATE")
    assert refund.fund_source == ("" if how == "answer" else Refund.FundSource.RECHARGE)
    if how != "notification":  # which tells nothing of promotions
        [promotion] = refund.promotion_detail
        assert promotion["refund_amount"] == 100


@pytest.mark.scenario("S39")
def test_an_abnormal_refund_waits_for_staff_and_stays_reserved(wxpay_sandbox, order):
    refund = refunds.create(order, amount=ABNORMAL, reference="r-1")
    wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    order.refresh_from_db()
    assert refund.state == "ABNORMAL"
    assert order.refundable_amount == LARGE - ABNORMAL
    assert Discrepancy.objects.get().kind == "ABNORMAL"


@pytest.mark.scenario("S39")
def test_a_closed_refund_gives_back_and_allows_a_new_number(wxpay_sandbox, order):
    refund = refunds.create(order, amount=CLOSED, reference="r-1")
    wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    order.refresh_from_db()
    assert (refund.state, order.refundable_amount) == ("CLOSED", LARGE)
    again = refunds.create(order, amount=1000, reference="r-2")
    assert again.out_refund_no != refund.out_refund_no


@pytest.mark.scenario("S39")
def test_too_little_of_the_merchants_money_is_asked_again_later_under_the_same_number(wxpay_sandbox, order):
    with pytest.raises(RefundWaits, match="same number") as waits:
        refunds.create(order, amount=NOT_ENOUGH_FIRST, reference="r-1")
    refund, operation = Refund.objects.get(), Operation.objects.get(action="REFUND")
    assert (waits.value.refund, waits.value.means("NOT_ENOUGH")) == (refund, True)
    assert not isinstance(waits.value, APIError)  # which says: refused, over
    order.refresh_from_db()
    assert (refund.state, order.refundable_amount) == ("CREATED", LARGE - NOT_ENOUGH_FIRST)
    assert operation.next_try_at > timezone.now() + timedelta(minutes=55)
    a_minute_passes(wxpay_sandbox)
    refund.refresh_from_db()
    assert refund.state == "PROCESSING"
    assert [row["out_refund_no"] for row in refunds_there(wxpay_sandbox)] == [refund.out_refund_no]


def test_an_unsigned_not_enough_does_not_say_that_the_refund_was_surely_not_taken(wxpay_sandbox, order):
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", status=403, code="NOT_ENOUGH", signed=False)
    with pytest.raises(APIError):
        refunds.create(order, amount=1000, reference="r-1")
    assert Operation.objects.get(action="REFUND").state == "UNKNOWN"


def test_a_refund_that_waits_for_money_lets_later_ones_of_its_order_pass(wxpay_sandbox, order):
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=NOT_ENOUGH_ALWAYS, reference="r-1")
    later = refunds.create(order, amount=1000, reference="r-2", source=Refund.FundSource.RECHARGE)
    assert later.state == "CREATED"  # a minute apart
    waiting = Operation.objects.filter(action="REFUND").earliest("pk")
    Operation.objects.update(sent_at=F("sent_at") - timedelta(seconds=61))
    Operation.objects.filter(object_id=later.pk).update(next_try_at=timezone.now())
    operations.send_due()
    later.refresh_from_db()
    assert later.state == "PROCESSING"
    assert Operation.objects.open().get() == waiting


def test_a_refund_whose_query_never_fits_lets_later_ones_of_its_order_pass(wxpay_sandbox, order, later):
    wxpay_sandbox.fault("lost_answer", REFUNDS, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r-1")
    stuck = Refund.objects.get()
    wxpay_sandbox.notification_fault("lost", "REFUND", times=-1)
    wrong = {"amount": {"refund": 999, "currency": "HKD"}}
    wxpay_sandbox.fault("altered", f"{REFUNDS}/out-refund-no/{stuck.out_refund_no}", times=-1, answer=wrong)
    later(60)
    wxpay_sandbox.wechat.advance(61)
    assert Operation.objects.get(action="REFUND").state == "UNKNOWN"
    assert Discrepancy.objects.get(kind="MISMATCH").object_id == stuck.pk
    second = refunds.create(order, amount=2000, reference="r-2")
    assert second.state == "CREATED"  # the first may have been taken or not
    later(3600)
    second.refresh_from_db()
    order.refresh_from_db()
    assert (second.state, order.refund_reserved) == ("PROCESSING", 3000)


def test_a_refund_that_waits_can_be_given_up_and_asked_for_otherwise(wxpay_sandbox, order, django_user_model):
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=NOT_ENOUGH_FIRST, reference="r-1")
    ann = django_user_model.objects.create_user("ann")
    refund = refunds.give_up(Refund.objects.get(), by=ann, reason="from the other purse")
    order.refresh_from_db()
    assert (refund.state, refund.error_code, order.refundable_amount) == ("REFUSED", "NOT_ENOUGH", LARGE)
    moved = Transition.objects.of(refund).get(to_state="REFUSED")
    assert (moved.source, moved.user, moved.note) == ("STAFF", ann, "from the other purse")
    assert not Operation.objects.open().exists()
    a_minute_passes(wxpay_sandbox)
    assert refunds_there(wxpay_sandbox) == []
    wxpay_sandbox.wechat.recharge.set(5000)
    again = refunds.create(order, amount=1000, reference="r-2", source=Refund.FundSource.RECHARGE)
    assert again.state == "PROCESSING"


def test_a_refund_that_may_have_been_taken_cannot_be_given_up(wxpay_sandbox, order):
    wxpay_sandbox.fault("lost_answer", REFUNDS, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r-1")
    with pytest.raises(OperationPending):
        refunds.give_up(Refund.objects.get())
    order.refresh_from_db()
    assert order.refund_reserved == 1000


def test_an_unsigned_429_does_not_prove_that_a_refund_may_be_given_up(wxpay_sandbox, order):
    wxpay_sandbox.fault("unsigned", REFUNDS, method="POST")
    with pytest.raises(RateLimited):
        refunds.create(order, amount=NOT_ACCEPTED_429, reference="r-1")
    with pytest.raises(OperationPending):
        refunds.give_up(Refund.objects.get())
    order.refresh_from_db()
    assert order.refund_reserved == NOT_ACCEPTED_429


def test_an_accepted_refund_cannot_be_given_up(wxpay_sandbox, order):
    with pytest.raises(NotAllowedNow):
        refunds.give_up(refunds.create(order, amount=1000, reference="r-1"))


def test_a_refused_refund_gives_back(wxpay_sandbox, order):
    with pytest.raises(APIError, match="USER_ACCOUNT_ABNORMAL"):
        refunds.create(order, amount=ACCOUNT_CLOSED, reference="r-1")
    order.refresh_from_db()
    assert order.refundable_amount == LARGE
    assert Refund.objects.get().state == "REFUSED"


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["lost_answer", "bad_signature", "error_500", "closed_connection"])
def test_a_refund_without_proof_is_found_out_and_never_doubled(wxpay_sandbox, order, later, fault):
    wxpay_sandbox.fault(fault, REFUNDS, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r-1")
    order.refresh_from_db()
    assert order.refund_reserved == 1000  # it may have been accepted
    wxpay_sandbox.wechat.advance(120)
    later()
    refund = Refund.objects.get()
    done = fault in ("lost_answer", "bad_signature")  # in the first place; the others were only now
    assert refund.state == ("SUCCESS" if done else "PROCESSING")
    assert len(refunds_there(wxpay_sandbox)) == 1


def test_an_accepted_refund_answered_500_is_found_by_query(wxpay_sandbox, order, later):
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=ACCEPTED_500, reference="r-1")
    later()
    assert Operation.objects.get(action="REFUND").state == "DONE"
    assert len(refunds_there(wxpay_sandbox)) == 1


@pytest.mark.scenario("S40")
def test_a_notification_before_the_answer_ends_in_one_row_with_the_final_state(wxpay_sandbox, order):
    refund = refunds.plan_refund(order, amount=1000, reference="r-1")
    wxpay_sandbox.fault("slow", REFUNDS, seconds=60)
    operations.send_due()  # carried out there, no answer for us
    wxpay_sandbox.advance(10)  # and the notification is quicker
    refund.refresh_from_db()
    assert refund.state == "SUCCESS"
    Operation.objects.open().update(next_try_at=timezone.now(), leased_until=None)
    operations.send_due()
    assert Operation.objects.get(action="REFUND").state == "DONE"
    assert Refund.objects.count() == 1
    assert Transition.objects.filter(subject="refund", to_state="SUCCESS").count() == 1


@pytest.mark.scenario("S20")
def test_a_refund_made_in_the_merchant_platform_is_adopted(wxpay_sandbox, order):
    wxpay_sandbox.refund_elsewhere(order, 2500)
    wxpay_sandbox.advance(10)
    refund = Refund.objects.get()
    assert (refund.foreign, refund.state, refund.amount) == (True, "SUCCESS", 2500)
    order.refresh_from_db()
    assert order.refund_reserved == 2500
    assert Notification.objects.latest("pk").state == "PROCESSED"
    assert not Discrepancy.objects.exists()


def test_refunds_elsewhere_beyond_what_is_left_are_recorded_and_told(wxpay_sandbox, order):
    Order.objects.update(refund_reserved=LARGE)  # ours, on their way
    wxpay_sandbox.refund_elsewhere(order, 2500)
    wxpay_sandbox.advance(10)
    order.refresh_from_db()
    assert order.refund_reserved == LARGE + 2500
    assert Discrepancy.objects.get().kind == "REFUND_EXCEEDS"
    assert order.refundable_amount == 0


def test_all_refunds_of_an_order_are_synced_and_foreign_ones_adopted(wxpay_sandbox, order):
    wxpay_sandbox.delivers = False
    mine = refunds.create(order, amount=1000, reference="r-1")
    for _ in range(21):
        wxpay_sandbox.wechat.clock.shift += 61
        wxpay_sandbox.refund_elsewhere(order, 10)
    wxpay_sandbox.wechat.settle()
    found = refunds.sync_all(order)
    assert len(found) == 22
    mine.refresh_from_db()
    assert mine.state == "SUCCESS"
    order.refresh_from_db()
    assert order.refund_reserved == 1210


@pytest.fixture
def refunded_elsewhere(wxpay_sandbox, order):
    """Refunded in the merchant platform; the notification was lost, and the order's query says so."""
    wxpay_sandbox.notification_fault("lost", "REFUND", times=-1)
    wxpay_sandbox.refund_elsewhere(order, 2500)
    wxpay_sandbox.advance(10)
    orders.sync(order)
    assert (order.state, order.refund_reserved) == ("REFUND", 0)
    return order


def listings(wxpay_sandbox):
    return wxpay_sandbox.calls.count(("GET", REFUNDS))


def test_a_refund_elsewhere_whose_notification_was_lost_is_found_once_its_order_is_known_to_be_refunded(
    wxpay_sandbox, refunded_elsewhere
):
    assert orders.poll() == 1
    refund = Refund.objects.get()
    assert (refund.foreign, refund.state, refund.amount) == (True, "SUCCESS", 2500)
    refunded_elsewhere.refresh_from_db()
    assert (refunded_elsewhere.refund_reserved, refunded_elsewhere.next_poll_at) == (2500, None)
    assert (orders.poll(), listings(wxpay_sandbox)) == (0, 1)


def test_a_refund_elsewhere_is_looked_for_again_when_the_listing_fails(wxpay_sandbox, refunded_elsewhere):
    wxpay_sandbox.fault("error_500", REFUNDS, method="GET")
    orders.poll()
    assert not Refund.objects.exists()
    refunded_elsewhere.refresh_from_db()
    assert refunded_elsewhere.next_poll_at > timezone.now()
    Order.objects.update(next_poll_at=timezone.now())
    orders.poll()
    assert Refund.objects.get().amount == 2500


def test_an_order_refunded_of_which_no_refund_is_listed_is_told_once(wxpay_sandbox, refunded_elsewhere):
    wxpay_sandbox.fault("altered", REFUNDS, method="GET", answer={"data": [], "total_num": 0})
    orders.poll()
    assert Discrepancy.objects.get().theirs == "REFUND, but no refund is listed"
    assert orders.poll() == 0


def test_an_order_whose_own_refund_is_on_its_way_needs_no_listing(wxpay_sandbox, order):
    refunds.create(order, amount=1000, reference="r-1")
    orders.sync(order)
    assert (order.state, order.next_poll_at, listings(wxpay_sandbox)) == ("REFUND", None, 0)


def test_a_lost_refund_notification_is_made_good_by_polling(wxpay_sandbox, order):
    refund = refunds.create(order, amount=1000, reference="r-1")
    wxpay_sandbox.notification_fault("lost", "REFUND")
    wxpay_sandbox.advance(10)
    Refund.objects.update(next_poll_at=timezone.now())
    assert refunds.poll() == 1
    refund.refresh_from_db()
    assert refund.state == "SUCCESS"


def test_a_refund_that_succeeded_after_we_thought_it_refused_is_counted_again(wxpay_sandbox, order):
    refund = refunds.create(order, amount=1000, reference="r-1")
    wxpay_sandbox.wechat.advance(10)
    Refund.objects.update(state="REFUSED", state_at=timezone.now())
    Order.objects.update(refund_reserved=0)
    refunds.sync(refund)
    order.refresh_from_db()
    assert (refund.state, order.refund_reserved) == ("SUCCESS", 1000)
    assert Discrepancy.objects.get().kind == "OVERRULED"


@pytest.mark.scenario("S04")
def test_a_refund_known_before_its_payment_ends_right(wxpay_sandbox, order):
    Order.objects.update(state="CREATED", transaction_id=None, success_time=None)
    wxpay_sandbox.refund_elsewhere(order, 2500)
    wxpay_sandbox.advance(10)
    order.refresh_from_db()
    assert order.state == "REFUND"
    assert order.next_poll_at <= timezone.now()  # the payment's particulars are missing
    orders.poll()
    order.refresh_from_db()
    assert (order.state, bool(order.success_time), order.next_poll_at) == ("REFUND", True, None)
