from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from django_wxpay.client.errors import InvalidField
from django_wxpay.engine import operations, registry, remote, transactions
from django_wxpay.engine.facts import Fact
from django_wxpay.exceptions import (
    CalledInTransaction,
    OperationPending,
    OrderNotPaid,
    ReferenceReused,
    RefundTooLarge,
)
from django_wxpay.models import Discrepancy, Operation, Order, Transition
from django_wxpay.sandbox.special import CODE_PREFIX
from django_wxpay.services import orders, refunds

pytestmark = pytest.mark.django_db
PAY = "/v3/global/micropay/transactions/pay"
CODE = "130000000000000001"
ASKED = {"amount": 3800, "currency": "HKD", "description": "Coffee", "reference": "till-3/0001"}


def code(number):
    return f"{CODE_PREFIX}{number:04d}"


NOT_ENOUGH, PAID_LATER, PAYING_FOR_EVER, FAILS_LATER, PAYING_202, PAID_AT_44 = map(code, (1, 10, 11, 12, 13, 14))
CHARGED_500, CHARGED_CUT, NEVER_ARRIVED, CODE_INVALID, CODE_EXPIRED = map(code, (20, 22, 23, 30, 31))
REVERSAL_TOO_EARLY, REVERSAL_FAILS, REVERSAL_LOST, PAID_WHEN_REVERSED = map(code, (40, 41, 42, 43))


@pytest.fixture
def clock():
    """Both clocks, ours and WeChat Pay's, standing still until a test moves them."""
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


def calls(wxpay_sandbox):
    return [call for call in wxpay_sandbox.calls if not call[1].endswith("/certificates")]


def seconds_pass(wxpay_sandbox, clock, order, seconds, every=1):
    """The till's page asks each second while the time passes."""
    for _ in range(int(seconds / every)):
        clock.shift(timedelta(seconds=every))
        wxpay_sandbox.deliver()
        before = len(calls(wxpay_sandbox))
        orders.advance_till(order)
        assert len(calls(wxpay_sandbox)) <= before + 1  # never longer than one call
        if order.is_final:
            break
    return order


def theirs(wxpay_sandbox, order):
    return wxpay_sandbox.wechat.orders.get(order.out_trade_no)["trade_state"]


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_scanned_code_is_paid_at_once(wxpay_sandbox, merchant):
    order = orders.pay_by_code(auth_code=CODE, merchant=merchant, **ASKED)
    assert (order.state, order.product, bool(order.transaction_id)) == ("SUCCESS", "MICROPAY", True)


@pytest.mark.parametrize("bad", ["", "13000", "13000000000000000x", "990000000000000001", 130000000000000001])
def test_a_wrong_code_is_refused_before_sending(wxpay_sandbox, bad):
    with pytest.raises(InvalidField) as refused:
        orders.pay_by_code(auth_code=bad, **ASKED)
    assert refused.value.field == "auth_code"
    assert str(bad) not in str(refused.value) or bad == ""
    assert not Order.objects.exists()
    assert wxpay_sandbox.calls == []


@pytest.mark.parametrize(
    ("change", "field"),
    [({"amount": 0}, "amount"), ({"currency": "HK"}, "currency"), ({"description": "☕" + "😀"}, "description")],
)
def test_bad_input_is_refused_before_sending(wxpay_sandbox, change, field):
    with pytest.raises(InvalidField) as refused:
        orders.pay_by_code(auth_code=CODE, **ASKED | change)
    assert refused.value.field == field
    assert wxpay_sandbox.calls == []


def test_the_same_reference_charges_once(wxpay_sandbox):
    first = orders.pay_by_code(auth_code=CODE, **ASKED)
    again = orders.pay_by_code(auth_code=CODE, **ASKED)
    assert first.pk == again.pk
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


def test_a_reused_reference_is_refused(wxpay_sandbox):
    orders.pay_by_code(auth_code=CODE, **ASKED)
    with pytest.raises(ReferenceReused, match="amount_total"):
        orders.pay_by_code(auth_code=CODE, **ASKED | {"amount": 1})


def test_inside_a_transaction_nothing_is_sent(wxpay_sandbox):
    with pytest.raises(CalledInTransaction), transactions.atomic():
        orders.pay_by_code(auth_code=CODE, **ASKED)
    assert wxpay_sandbox.calls == []


@pytest.mark.scenario("S52")
@pytest.mark.parametrize("given", [CODE, NOT_ENOUGH, CHARGED_500, CHARGED_CUT, PAYING_202])
def test_a_payment_code_is_neither_stored_nor_logged(wxpay_sandbox, caplog, given):
    caplog.set_level("DEBUG")
    order = orders.pay_by_code(auth_code=given, **ASKED)
    rows = [*Operation.objects.values(), *Order.objects.values(), *Transition.objects.values()]
    assert order.pk
    assert given not in repr(rows)
    assert given not in caplog.text


@pytest.mark.parametrize(
    ("given", "error_code"),
    [(NOT_ENOUGH, "NOT_ENOUGH"), (CODE_INVALID, "AUTH_CODE_INVALID"), (CODE_EXPIRED, "AUTH_CODE_EXPIRE")],
)
def test_a_refusal_ends_the_order_with_its_reason(wxpay_sandbox, given, error_code):
    order = orders.pay_by_code(auth_code=given, **ASKED)
    assert (order.state, order.error_code) == ("REFUSED", error_code)


@pytest.mark.parametrize("given", [PAID_LATER, PAYING_202])
def test_a_payer_who_types_a_password_pays(wxpay_sandbox, clock, given):
    order = orders.pay_by_code(auth_code=given, **ASKED)
    assert order.state == "USERPAYING"
    seconds_pass(wxpay_sandbox, clock, order, 20)
    assert order.state == "SUCCESS"


def test_a_payer_who_fails_at_the_password_has_not_paid(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=FAILS_LATER, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 20)
    assert order.state == "PAYERROR"


@pytest.mark.scenario("S33")
@pytest.mark.parametrize("given", [CHARGED_500, CHARGED_CUT])
def test_a_charge_without_an_answer_is_found_by_query_never_sent_again(wxpay_sandbox, clock, given):
    order = orders.pay_by_code(auth_code=given, **ASKED)
    assert order.state == "CREATED"
    seconds_pass(wxpay_sandbox, clock, order, 20)
    assert order.state == "SUCCESS"
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


@pytest.mark.scenario("S33")
def test_a_request_that_never_arrived_is_never_sent_again(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=NEVER_ARRIVED, **ASKED)
    assert order.state == "CREATED"
    seconds_pass(wxpay_sandbox, clock, order, 120)
    assert order.is_dead
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


@pytest.mark.scenario("S33")
def test_a_payer_who_never_decides_is_reversed_when_the_time_is_over_and_confirmed(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 40)
    assert order.state == "USERPAYING"
    seconds_pass(wxpay_sandbox, clock, order, 20)
    assert order.state == "REVOKED"
    assert order.next_poll_at is not None
    clock.shift(timedelta(seconds=20))
    orders.advance_till(order)
    assert (order.state, order.next_poll_at, theirs(wxpay_sandbox, order)) == ("REVOKED", None, "REVOKED")


@pytest.mark.scenario("S33")
def test_paid_at_second_44_is_paid_and_not_reversed(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAID_AT_44, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 120)
    clock.shift(timedelta(seconds=20))
    orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")
    assert not any(path.endswith("/reverse") for _, path in calls(wxpay_sandbox))


@pytest.mark.scenario("S33")
def test_paid_at_44_reversed_at_46_and_a_query_of_44_answered_at_47_ends_revoked(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAID_AT_44, **ASKED)
    clock.shift(timedelta(seconds=44.5))
    wxpay_sandbox.wechat.settle()
    begun_at = timezone.now()
    with remote.client_of(order) as client:
        answer = registry.product_of(order).query(client, order)
    assert answer.data["trade_state"] == "SUCCESS"
    clock.shift(timedelta(seconds=1.5))
    orders.reverse(order)  # nobody knew yet
    clock.shift(timedelta(seconds=1))
    fact = Fact.from_answer(order, answer, source="QUERY", begun_at=begun_at)
    with transactions.atomic():
        assert orders.apply_order(fact).outcome == "STALE"
    order.refresh_from_db()
    assert order.state == "REVOKED"
    orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S33")
def test_a_reversal_refused_as_too_early_is_tried_again_after_five_seconds(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=REVERSAL_TOO_EARLY, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 60)
    assert Operation.objects.get(action="REVERSE").attempts == 2
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")


@pytest.mark.scenario("S33")
@pytest.mark.parametrize("given", [REVERSAL_FAILS, REVERSAL_LOST, PAID_WHEN_REVERSED])
def test_a_reversal_without_an_answer_ends_as_wechat_pay_has_it(wxpay_sandbox, clock, given):
    order = orders.pay_by_code(auth_code=given, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 300)
    assert order.is_final
    clock.shift(timedelta(seconds=60))
    orders.advance_till(order)
    assert order.state == theirs(wxpay_sandbox, order)


@pytest.mark.scenario("S33")
def test_the_poller_goes_on_where_the_till_was_closed(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    for _ in range(20):
        clock.shift(timedelta(seconds=5))
        orders.poll()
    order.refresh_from_db()
    assert order.state == "REVOKED"


@pytest.mark.scenario("S33")
def test_a_payment_whose_process_died_before_sending_was_not_charged(wxpay_sandbox, clock):
    order = orders.quickpay._plan_payment(
        auth_code=CODE,
        user=None,
        attach="",
        merchant="default",
        sub_mchid=None,
        sub_appid=None,
        by=None,
        merchant_category_code="",
        **ASKED,
    )
    clock.shift(timedelta(minutes=2))
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "REFUSED"
    assert ("POST", PAY) not in wxpay_sandbox.calls


def test_many_tills_at_once_make_one_call(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    clock.shift(timedelta(seconds=6))
    before = len(wxpay_sandbox.calls)
    for _ in range(5):
        orders.advance_till(Order.objects.get(pk=order.pk))
    assert len(wxpay_sandbox.calls) == before + 1


def test_staff_cannot_reverse_while_the_payment_may_be_under_way(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=CHARGED_CUT, **ASKED)
    with pytest.raises(OperationPending):
        orders.reverse(order)


def test_a_quick_payment_is_refunded_like_any_other(wxpay_sandbox):
    order = orders.pay_by_code(auth_code=CODE, **ASKED)
    refund = refunds.create(order, amount=800, reference="r-1")
    wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    order.refresh_from_db()
    assert (refund.state, order.refundable_amount) == ("SUCCESS", 3000)


@pytest.mark.scenario("S33")
def test_a_reversal_answered_with_anything_but_nothing_is_not_done(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    clock.shift(timedelta(seconds=60))
    wxpay_sandbox.fault("refuse", f"/v3/global/micropay/transactions/out-trade-no/{order.out_trade_no}/reverse",
                        status=202, code="USERPAYING")  # fmt: skip
    orders.advance_till(order)
    assert order.state == "USERPAYING"
    seconds_pass(wxpay_sandbox, clock, order, 120)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")


# No proof: unknown, queried, never sent again


UNPROVEN = ["lost_answer", "bad_signature", "garbage", "empty", "probe", "stale", "unsigned", "wrong_serial"]


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", UNPROVEN)
def test_a_charge_without_proof_is_unknown_then_found_by_query(wxpay_sandbox, clock, fault):
    wxpay_sandbox.fault(fault, PAY)
    order = orders.pay_by_code(auth_code=CODE, **ASKED)
    assert (order.state, Operation.objects.get().state) == ("CREATED", "UNKNOWN")
    seconds_pass(wxpay_sandbox, clock, order, 20)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


@pytest.mark.scenario("S28")
@pytest.mark.parametrize(
    "fault", [{"kind": "error_500", "status": 502, "when": "after"}, {"kind": "closed_connection"}]
)
def test_a_gateway_s_error_is_not_an_answer_of_wechat_pay(wxpay_sandbox, clock, fault):
    wxpay_sandbox.fault(**fault, path=PAY)
    order = orders.pay_by_code(auth_code=CODE, **ASKED)
    assert order.state == "CREATED"
    seconds_pass(wxpay_sandbox, clock, order, 120)
    if fault["kind"] == "error_500":
        assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")
    else:
        assert order.state == "REFUSED"  # it never arrived, and the code was never sent again
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


@pytest.mark.scenario("S28")
def test_an_unsigned_refusal_decides_nothing(wxpay_sandbox, clock):
    wxpay_sandbox.fault("unsigned", PAY)
    order = orders.pay_by_code(auth_code=NOT_ENOUGH, **ASKED)
    assert (order.state, Operation.objects.get().state) == ("CREATED", "UNKNOWN")
    seconds_pass(wxpay_sandbox, clock, order, 120)
    assert order.is_dead
    assert wxpay_sandbox.calls.count(("POST", PAY)) == 1


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", [*UNPROVEN, "error_500", "closed_connection", "error_429"])
def test_a_query_without_proof_changes_nothing_and_is_asked_again(wxpay_sandbox, clock, fault):
    order = orders.pay_by_code(auth_code=PAID_LATER, **ASKED)
    wxpay_sandbox.fault(fault, f"/v3/global/transactions/out-trade-no/{order.out_trade_no}", times=2)
    clock.shift(timedelta(seconds=6))
    orders.advance_till(order)
    assert (order.state, bool(order.next_poll_at)) == ("USERPAYING", True)
    for _ in range(30):
        clock.shift(timedelta(seconds=1))
        orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")


@pytest.mark.scenario("S28")
@pytest.mark.parametrize(
    "fault", ["lost_answer", "bad_signature", "probe", "stale", "unsigned", "error_500", "closed_connection"]
)
def test_a_reversal_without_proof_is_queried_and_ends_as_wechat_pay_has_it(wxpay_sandbox, clock, fault):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    wxpay_sandbox.fault(fault, "/v3/global/micropay/transactions/out-trade-no/*/reverse")
    clock.shift(timedelta(seconds=60))
    orders.advance_till(order)
    assert order.state == "USERPAYING"
    for _ in range(30):
        clock.shift(timedelta(seconds=5))
        orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")
    assert order.next_poll_at is None


@pytest.mark.scenario("S39")
@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_quick_payment_is_refunded_up_to_what_remains_and_no_further(wxpay_sandbox, merchant):
    order = orders.pay_by_code(auth_code=CODE, merchant=merchant, **ASKED)
    refunds.create(order, amount=3000, reference="r-1")
    with pytest.raises(RefundTooLarge):
        refunds.create(order, amount=801, reference="r-2")
    wxpay_sandbox.advance(10)
    order.refresh_from_db()
    assert (order.state, order.refundable_amount) == ("REFUND", 800)


@pytest.mark.scenario("S39")
def test_a_reversed_payment_is_not_refunded(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    seconds_pass(wxpay_sandbox, clock, order, 60)
    assert order.state == "REVOKED"
    with pytest.raises(OrderNotPaid):
        refunds.create(order, amount=1, reference="r-1")


@pytest.mark.scenario("S33")
def test_a_query_that_failed_after_the_payers_time_has_not_looked_and_nothing_is_sent_back(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=CHARGED_CUT, **ASKED)
    wxpay_sandbox.fault("lost_answer", "/v3/global/transactions", times=5)
    for _ in range(5):
        clock.shift(timedelta(seconds=60))
        orders.advance_till(order)
    assert not any(path.endswith("/reverse") for _, path in calls(wxpay_sandbox))
    clock.shift(timedelta(minutes=5))
    assert orders.advance_till(order).state == "SUCCESS"


def test_a_query_begun_within_the_payers_time_and_answered_after_it_has_not_looked(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=CHARGED_CUT, **ASKED)
    path = f"/v3/global/transactions/out-trade-no/{order.out_trade_no}"
    wxpay_sandbox.wechat.meanwhile(lambda: clock.shift(timedelta(seconds=10)), path, method="GET")
    clock.shift(timedelta(seconds=40))
    with remote.client_of(order) as client:  # at second 40, answered at 50
        answer = registry.product_of(order).query(client, order)
    begun_at = timezone.now() - timedelta(seconds=10)
    answer.data["trade_state"] = "USERPAYING"
    orders.apply_order(Fact.from_answer(order, answer, source="QUERY", begun_at=begun_at))
    clock.shift(timedelta(seconds=10))
    orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")
    assert not any(path.endswith("/reverse") for _, path in calls(wxpay_sandbox))


def test_a_payment_nobody_asked_about_in_time_is_queried_before_it_is_reversed(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=CHARGED_CUT, **ASKED)
    clock.shift(timedelta(minutes=10))
    orders.advance_till(order)
    assert (order.state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "SUCCESS")
