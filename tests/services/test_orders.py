from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited, RequestNotSent
from django_wxpay.conf import merchant
from django_wxpay.engine import operations, registry, remote, transactions
from django_wxpay.engine.facts import Fact
from django_wxpay.exceptions import (
    CalledInTransaction,
    ContractNotSigned,
    OperationPending,
    OrderNotDead,
    OrderPaid,
    ReferenceReused,
)
from django_wxpay.models import Discrepancy, MerchantState, Operation, Order, Source, Transition
from django_wxpay.sandbox.special import PAYMENT_AMOUNTS
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract, make_order

pytestmark = pytest.mark.django_db
DEDUCT, REVERSE = "/v3/global/papay/transactions", "/reverse"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "m-1"}
NOT_ENOUGH, PAYERROR, NOTPAY, PAID_LATER, PAYING_FOR_EVER, CHARGED_500, FAILED_500 = (
    PAYMENT_AMOUNTS + n for n in (1, 5, 6, 10, 11, 20, 21)
)


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract()


def charges(wxpay_sandbox):
    return [row for row in wxpay_sandbox.wechat.store.all("SELECT * FROM orders") if row["trade_state"] == "SUCCESS"]


def deductions_sent(wxpay_sandbox):
    return wxpay_sandbox.calls.count(("POST", DEDUCT))


# Asking


@pytest.mark.scenario("S29")
def test_the_same_reference_charges_once(wxpay_sandbox, contract):
    first = orders.deduct(contract, **ASKED)
    second = orders.deduct(contract, **ASKED)
    assert first.pk == second.pk
    assert len(charges(wxpay_sandbox)) == 1


@pytest.mark.scenario("S29")
@pytest.mark.parametrize("change", [{"amount": 3801}, {"currency": "USD"}, {"description": "April plan"}])
def test_a_reused_reference_is_refused_and_names_what_differs(wxpay_sandbox, contract, change):
    orders.deduct(contract, **ASKED)
    with pytest.raises(ReferenceReused, match="m-1"):
        orders.deduct(contract, **ASKED | change)
    assert len(charges(wxpay_sandbox)) == 1


@pytest.mark.scenario("S29")
def test_a_deduction_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox, contract):
    with pytest.raises(CalledInTransaction, match="plan_deduction"), transactions.atomic():
        orders.deduct(contract, **ASKED)
    assert not Order.objects.exists()
    with transactions.atomic():
        order = orders.plan_deduction(contract, **ASKED)
    assert order.state == "CREATED"
    assert deductions_sent(wxpay_sandbox) == 0
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "SUCCESS"


@pytest.mark.scenario("S29")
def test_without_the_reference_two_calls_would_be_two_charges(wxpay_sandbox, contract):
    orders.deduct(contract, **ASKED)
    orders.deduct(contract, **ASKED | {"reference": "m-2"})
    assert len(charges(wxpay_sandbox)) == 2  # so it is the reference that protected the tests above


def test_what_is_planned_and_rolled_back_is_never_sent(wxpay_sandbox, contract):
    with pytest.raises(ZeroDivisionError), transactions.atomic():
        orders.plan_deduction(contract, **ASKED)
        raise ZeroDivisionError
    operations.send_due()
    assert deductions_sent(wxpay_sandbox) == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"currency": "XXQ"}, "currency"),
        ({"currency": "hkd"}, "currency"),
        ({"description": ""}, "description"),
        ({"description": "x" * 129}, "description"),
        ({"description": "plan 😀"}, "description"),
        ({"attach": "x" * 128}, "attach"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 65}, "reference"),
    ],
)
def test_bad_input_is_refused_with_the_field_named(wxpay_sandbox, contract, change, field):
    with pytest.raises(InvalidField) as refused:
        orders.deduct(contract, **ASKED | change)
    assert refused.value.field == field
    assert not Order.objects.exists()
    assert deductions_sent(wxpay_sandbox) == 0


def test_only_a_signed_contract_is_charged(wxpay_sandbox):
    with pytest.raises(ContractNotSigned):
        orders.deduct(make_contract(state="TERMINATED"), **ASKED)
    assert deductions_sent(wxpay_sandbox) == 0


# Outcomes


@pytest.mark.scenario("S31")
def test_a_business_refusal_reaches_the_caller_and_ends_the_order(wxpay_sandbox, contract):
    with pytest.raises(APIError) as refused:
        orders.deduct(contract, **ASKED | {"amount": NOT_ENOUGH})
    assert refused.value.means("NOT_ENOUGH")
    order = Order.objects.get()
    assert (order.state, order.error_code) == ("REFUSED", "NOT_ENOUGH")
    assert Operation.objects.get(action="DEDUCT").state == "REFUSED"


@pytest.mark.scenario("S31")
def test_an_unsigned_refusal_reaches_the_caller_and_closes_nothing(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("unsigned", DEDUCT)
    with pytest.raises(APIError) as refused:
        orders.deduct(contract, **ASKED | {"amount": NOT_ENOUGH})
    assert refused.value.means("NOT_ENOUGH")
    assert Order.objects.get().state == "CREATED"
    assert Operation.objects.get(action="DEDUCT").state == "UNKNOWN"
    later()  # the signed query says NOTPAY
    assert Order.objects.get().state == "NOTPAY"
    assert Operation.objects.get(action="DEDUCT").state == "DONE"


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["lost_answer", "bad_signature", "garbage", "empty", "probe", "stale", "unsigned"])
def test_a_charge_without_proof_is_unknown_then_found_by_query(wxpay_sandbox, contract, later, fault):
    wxpay_sandbox.fault(fault, DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    order = Order.objects.get()
    assert order.state == "CREATED"
    assert Operation.objects.get(action="DEDUCT").state == "UNKNOWN"
    later()
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert deductions_sent(wxpay_sandbox) == 1
    assert len(charges(wxpay_sandbox)) == 1


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["closed_connection", "error_500"])
def test_what_never_arrived_is_sent_again_under_the_same_number(wxpay_sandbox, contract, later, fault):
    wxpay_sandbox.fault(fault, DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    number = Order.objects.get().out_trade_no
    later()
    order = Order.objects.get()
    assert (order.state, order.out_trade_no) == ("SUCCESS", number)
    assert deductions_sent(wxpay_sandbox) == 2
    assert len(charges(wxpay_sandbox)) == 1


@pytest.mark.scenario("S28")
def test_nothing_is_sent_again_while_the_first_may_be_under_way(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("closed_connection", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    later(seconds=20)  # a request may be under way for 43 seconds
    assert deductions_sent(wxpay_sandbox) == 1
    assert Operation.objects.get(action="DEDUCT").state == "UNKNOWN"


def test_a_charge_answered_500_is_found_by_query(wxpay_sandbox, contract, later):
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED | {"amount": CHARGED_500})
    later()
    assert Order.objects.get().state == "SUCCESS"
    assert len(charges(wxpay_sandbox)) == 1


def test_an_answer_about_another_amount_is_never_marked_paid(wxpay_sandbox, contract):
    order = orders.plan_deduction(contract, **ASKED)
    Operation.objects.filter(action="DEDUCT").update(
        fields=Operation.objects.get(action="DEDUCT").fields | {"amount_total": 1}
    )
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "CREATED"
    found = Discrepancy.objects.get()
    assert (found.kind, "3800" in found.ours, "1" in found.theirs) == ("MISMATCH", True, True)


def test_a_waiting_payment_is_polled_until_it_is_paid(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED | {"amount": PAID_LATER})
    assert order.state == "USERPAYING"
    wxpay_sandbox.notification_fault("lost", "TRANSACTION.SUCCESS")
    wxpay_sandbox.advance(10)
    Order.objects.update(next_poll_at=timezone.now())
    orders.poll()
    order.refresh_from_db()
    assert (order.state, order.next_poll_at) == ("SUCCESS", None)


@pytest.mark.scenario("S30")
def test_too_many_calls_hold_back_this_merchant_and_no_other(wxpay_sandbox, contract):
    other = wxpay_sandbox.signed_contract(merchant="institution")
    wxpay_sandbox.fault("error_429", DEDUCT)
    with pytest.raises(RateLimited):
        orders.deduct(contract, **ASKED)
    held = MerchantState.objects.get(mchid=contract.mchid)
    assert held.slow_until > timezone.now()
    mine = Order.objects.get()
    theirs = orders.plan_deduction(other, **ASKED)
    Operation.objects.update(next_try_at=timezone.now())
    operations.send_due()
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.state, theirs.state) == ("CREATED", "SUCCESS")
    MerchantState.objects.update(slow_until=timezone.now())
    operations.send_due()
    mine.refresh_from_db()
    assert mine.state == "SUCCESS"


@pytest.mark.scenario("S30")
def test_each_429_in_a_row_holds_back_longer(wxpay_sandbox, contract):
    pauses = []
    order = orders.plan_deduction(contract, **ASKED)
    wxpay_sandbox.fault("error_429", DEDUCT, times=6)
    for _ in range(6):
        MerchantState.objects.update(slow_until=timezone.now())
        Operation.objects.update(next_try_at=timezone.now())
        operations.send_due()
        pauses.append((MerchantState.objects.get().slow_until - timezone.now()).total_seconds())
    assert pauses[-1] > 4 * pauses[0]
    assert Order.objects.get(pk=order.pk).state == "CREATED"


@pytest.mark.scenario("S35")
def test_a_host_out_of_reach_sends_nothing_and_a_worker_sends_later(wxpay_sandbox, contract, settings):
    settings.WXPAY = settings.WXPAY | {
        "MERCHANTS": {
            "default": settings.WXPAY["MERCHANTS"]["default"] | {"HOST": "http://127.0.0.1:9", "TRANSPORT": None}
        }
    }
    with pytest.raises(RequestNotSent):
        orders.deduct(contract, **ASKED)
    assert Operation.objects.get(action="DEDUCT").state == "PLANNED"
    assert Order.objects.get().state == "CREATED"


# Reversing and trying again


def test_a_hanging_deduction_is_reversed_and_confirmed(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED | {"amount": PAYING_FOR_EVER})
    Order.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert orders.close_expired() == 1
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "CLOSED"
    assert order.next_poll_at is not None  # one query confirms
    Order.objects.update(next_poll_at=timezone.now())
    orders.poll()
    order.refresh_from_db()
    assert (order.state in ("CLOSED", "REVOKED"), order.next_poll_at) == (True, None)


def test_a_paid_order_is_never_reversed(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED)
    with pytest.raises(OrderPaid, match="refund"):
        orders.reverse(order)
    assert not any(path.endswith(REVERSE) for _, path in wxpay_sandbox.calls)


def test_a_deduction_that_may_be_under_way_is_not_reversed_yet(wxpay_sandbox, contract):
    wxpay_sandbox.fault("lost_answer", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    with pytest.raises(OperationPending, match="under way"):
        orders.reverse(Order.objects.get())


def test_reversing_an_unknown_deduction_that_was_paid_finds_out(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("lost_answer", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    Operation.objects.filter(action="DEDUCT").update(busy_until=timezone.now(), leased_until=None)
    with pytest.raises((OutcomeUnknown, OrderPaid)):
        orders.reverse(Order.objects.get())
    later()
    assert Order.objects.get().state == "SUCCESS"
    assert not Operation.objects.open().exists()


def test_another_attempt_reverses_the_old_one_and_uses_a_new_number(wxpay_sandbox, contract):
    first = orders.deduct(contract, **ASKED | {"amount": PAYING_FOR_EVER})
    second = orders.retry_deduction(first)
    first.refresh_from_db()
    assert first.is_dead
    assert (second.attempt, second.reference) == (2, first.reference)
    assert second.out_trade_no != first.out_trade_no


def test_another_attempt_after_a_refusal(wxpay_sandbox, contract):
    with pytest.raises(APIError):
        orders.deduct(contract, **ASKED | {"amount": NOT_ENOUGH})
    first = Order.objects.get()
    with pytest.raises(APIError):
        orders.retry_deduction(first)
    first.refresh_from_db()
    assert first.state in ("CLOSED", "REVOKED")
    assert Order.objects.get(attempt=2).state == "REFUSED"


def test_no_other_attempt_while_the_old_one_may_be_paid(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED | {"amount": PAYING_FOR_EVER})
    with pytest.raises(OrderNotDead, match="not closed at WeChat Pay"):
        orders.plan_retry(order)


def test_no_other_attempt_of_what_is_paid(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED)
    with pytest.raises(OrderPaid):
        orders.retry_deduction(order)
    assert len(charges(wxpay_sandbox)) == 1


def test_planning_another_attempt_twice_plans_one(wxpay_sandbox):
    dead = make_order(state="CLOSED")
    assert orders.plan_retry(dead).pk == orders.plan_retry(dead).pk


def test_paid_after_it_was_closed_here_is_believed_by_query_and_told(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED)
    wxpay_sandbox.deliver()
    Order.objects.update(state="CLOSED", state_at=timezone.now(), next_poll_at=timezone.now())
    orders.poll()
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert Discrepancy.objects.get().kind == "OVERRULED"
    assert Transition.objects.filter(from_state="CLOSED", to_state="SUCCESS").exists()


def test_a_query_begun_before_the_reversal_changes_nothing(wxpay_sandbox, contract):
    order = orders.deduct(contract, **ASKED)
    with remote.client_of(order) as client:
        answer = registry.product_of(order).query(client, order)
    begun_at = timezone.now()
    Order.objects.update(state="REVOKED", state_at=timezone.now())
    with transactions.atomic():
        applied = orders.apply_order(Fact(merchant("default").mchid, answer.data, Source.QUERY, begun_at=begun_at))
    assert applied.outcome == "STALE"
    order.refresh_from_db()
    assert order.state == "REVOKED"
    assert order.next_poll_at <= timezone.now()  # but it is asked again


def test_a_refused_number_is_reversed_before_another_attempt(wxpay_sandbox, contract):
    with pytest.raises(APIError):
        orders.deduct(contract, **ASKED | {"amount": NOT_ENOUGH, "goods_tag": "spring"})
    first = Order.objects.get()
    with pytest.raises(OrderNotDead, match="not closed"):
        orders.plan_retry(first)
    orders.reverse(first)
    second = orders.plan_retry(first)
    assert second.attempt == 2
    assert Operation.objects.of(second).get().fields["goods_tag"] == "spring"


@pytest.mark.django_db(transaction=True)
def test_a_charge_refused_for_want_of_a_contract_has_the_contract_queried(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.notification_fault("lost", "PAPAY.TERMINATE")
    wxpay_sandbox.terminate(contract)
    with pytest.raises(APIError):
        orders.deduct(contract, **ASKED)
    contracts.poll()
    contract.refresh_from_db()
    assert contract.state == "TERMINATED"


# What is kept of the payer and of promotions


def test_a_payment_keeps_its_payer_its_rate_and_its_promotions(wxpay_sandbox):
    order = wxpay_sandbox.paid_order(amount=PAYMENT_AMOUNTS + 51)
    assert order.payer_openid and order.payer_sub_openid == ""
    [promotion] = order.promotion_detail
    assert promotion["amount"] > 0 and promotion["goods_detail"]
    assert order.exchange_rate and order.exchange_rate_type == "SETTLEMENT_RATE"


def test_an_institutions_payer_is_known_under_both_appids(wxpay_sandbox):
    order = wxpay_sandbox.paid_order(wxpay_sandbox.signed_contract(merchant="institution"))
    assert order.payer_openid and order.payer_sub_openid
    assert order.payer_openid != order.payer_sub_openid


def test_a_later_and_fuller_message_brings_what_the_first_one_lacked(wxpay_sandbox):
    order = wxpay_sandbox.paid_order(amount=PAYMENT_AMOUNTS + 50)
    known = {
        name: getattr(order, name)
        for name in ("payer_openid", "exchange_rate", "exchange_rate_type", "promotion_detail")
    }
    Order.objects.update(payer_openid="", exchange_rate=None, exchange_rate_type="", promotion_detail=None)
    orders.sync(order)
    assert {name: getattr(order, name) for name in known} == known
    assert known["promotion_detail"]


@pytest.mark.parametrize(
    ("detail", "kept"),
    [
        ({"name": "one\u0000off", "amount": 10}, [{"name": "one\ufffdoff", "amount": 10}]),
        ([{"name": "a" * 20_000}], None),
        ("text", None),
        ([], None),
    ],
)
def test_promotions_are_kept_cleaned_or_not_at_all_and_never_stop_a_payment(wxpay_sandbox, detail, kept):
    order = wxpay_sandbox.paid_order()
    Order.objects.update(promotion_detail=None)
    payload = wxpay_sandbox.payload_of(order) | {"promotion_detail": detail}
    fact = Fact(merchant("default").mchid, payload, Source.NOTIFICATION, text="")
    with transactions.atomic():
        orders.apply_order(fact)
    order.refresh_from_db()
    assert order.promotion_detail == kept
