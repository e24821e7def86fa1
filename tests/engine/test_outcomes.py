"""Who comes back late, what a proof is a proof of, what ends an operation."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import APIError, OutcomeUnknown, SetupError
from django_wxpay.engine import operations
from django_wxpay.exceptions import NotAllowedNow, OperationPending, RefundWaits
from django_wxpay.models import Contract, Discrepancy, Operation, Order, Refund, Transition
from django_wxpay.sandbox.special import CODE_PREFIX
from django_wxpay.services import contracts, orders, refunds
from tests.real import weaken

pytestmark = pytest.mark.django_db
DEDUCT, REFUNDS, REVERSE = "/v3/global/papay/transactions", "/v3/global/refunds", "*/reverse"
CONTRACTS, PAY = "/v3/global/papay/contracts", "/v3/global/micropay/transactions/pay"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "m-1"}
PAYING_FOR_EVER = f"{CODE_PREFIX}0011"


class Killed(BaseException):
    """The process is gone: no handler runs."""


@pytest.fixture
def clock():
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract()


def fresh(row):
    row.refresh_from_db()
    return row


def asked(action):
    return Operation.objects.get(action=action)


def tick(clock, seconds, every=5):
    """Workers go on for that long."""
    for _ in range(0, seconds, every):
        clock.shift(timedelta(seconds=every))
        operations.send_due()
        orders.poll()


def posts(wxpay_sandbox, ending):
    return sum(method == "POST" and path.endswith(ending) for method, path in wxpay_sandbox.calls)


# Who comes back late (S53)


def on_its_way(wxpay_sandbox, clock, path):
    """Another worker, later than the first request can take, finds out and sends it again: now that is under way."""
    clock.shift(timedelta(seconds=46))
    wxpay_sandbox.meanwhile(die, path, method="POST", before=True)
    with pytest.raises(Killed):
        operations.send_due()


def die():
    raise Killed


def a_late_sender(wxpay_sandbox, clock, contract, kind, **how):
    """A deduction whose sender hears of its end only after another worker sent the same again."""
    wxpay_sandbox.meanwhile(lambda: on_its_way(wxpay_sandbox, clock, DEDUCT), DEDUCT, method="POST", before=True)
    wxpay_sandbox.fault(kind, DEDUCT, method="POST", **how)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    return Order.objects.get()


def it_arrives(wxpay_sandbox):
    """What the other worker had sent."""
    sent = Operation.objects.filter(action="DEDUCT").earliest("pk")
    return conf.client("default").orders.deduct(**sent.fields)


def charged(wxpay_sandbox):
    return [row["trade_state"] for row in wxpay_sandbox.wechat.store.all("SELECT * FROM orders")].count("SUCCESS")


LATE = [("closed_connection", {}), ("error_500", {}), ("refuse", {"code": "RULE_LIMIT"}), ("error_429", {})]


@pytest.mark.scenario("S53")
@pytest.mark.parametrize(("kind", "how"), LATE, ids=[kind for kind, _ in LATE])
def test_what_a_sender_hears_late_changes_nothing_of_a_later_attempt(wxpay_sandbox, clock, contract, kind, how):
    order = a_late_sender(wxpay_sandbox, clock, contract, kind, **how)
    now, operation = timezone.now(), asked("DEDUCT")
    assert (operation.state, operation.attempts, operation.sent_at) == ("SENT", 2, now)
    assert operation.leased_until == operation.busy_until == now + timedelta(seconds=43)
    assert order.state == "CREATED"
    clock.shift(timedelta(seconds=3))
    with pytest.raises(OperationPending, match="may still be under way"):
        orders.retry_deduction(order)
    it_arrives(wxpay_sandbox)
    tick(clock, 60)
    assert (fresh(order).state, asked("DEDUCT").state, charged(wxpay_sandbox)) == ("SUCCESS", "DONE", 1)


@pytest.mark.scenario("S53")
def test_opposite_without_the_guard_of_the_attempt_the_payer_is_charged_twice(
    wxpay_sandbox, clock, contract, monkeypatch
):
    weaken.take_out("attempt", put=monkeypatch.setattr)
    wxpay_sandbox.meanwhile(lambda: on_its_way(wxpay_sandbox, clock, DEDUCT), DEDUCT, method="POST", before=True)
    wxpay_sandbox.fault("error_429", DEDUCT, method="POST")
    with pytest.raises(APIError):
        orders.deduct(contract, **ASKED)
    order = Order.objects.get()
    clock.shift(timedelta(seconds=3))
    assert orders.retry_deduction(order).state == "SUCCESS"
    it_arrives(wxpay_sandbox)
    assert charged(wxpay_sandbox) == 2


@pytest.mark.scenario("S53")
def test_a_late_yes_is_a_fact_all_the_same(wxpay_sandbox, clock, contract):
    """The first request was slow, but it was taken: the payer paid."""
    wxpay_sandbox.meanwhile(lambda: on_its_way(wxpay_sandbox, clock, DEDUCT), DEDUCT, method="POST", before=True)
    order = orders.deduct(contract, **ASKED)
    assert (order.state, asked("DEDUCT").state, asked("DEDUCT").attempts) == ("SUCCESS", "DONE", 2)
    with pytest.raises(APIError, match="ORDER_PAID"):
        it_arrives(wxpay_sandbox)
    tick(clock, 60)
    assert (fresh(order).state, charged(wxpay_sandbox)) == ("SUCCESS", 1)


def not_enough_for_the_second(wxpay_sandbox, clock, order, outcome):
    """The first request is on its way for longer than it can be; another worker's repeat is told NOT_ENOUGH."""
    clock.shift(timedelta(seconds=46))
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", status=403, code="NOT_ENOUGH")
    operations.send_due()
    clock.shift(timedelta(seconds=61))
    try:
        refunds.give_up(Refund.objects.get())
    except OperationPending as error:
        outcome.append(error)
    refunds.create(order, amount=1000, reference="from the other purse", source="REFUND_SOURCE_RECHARGE_FUNDS")
    clock.shift(timedelta(seconds=61))


@pytest.mark.scenario("S53")
def test_not_enough_for_a_repeat_does_not_prove_that_the_first_request_was_not_taken(wxpay_sandbox, clock):
    order, outcome = wxpay_sandbox.paid_order(), []
    wxpay_sandbox.meanwhile(
        lambda: not_enough_for_the_second(wxpay_sandbox, clock, order, outcome), REFUNDS, method="POST", before=True
    )
    refund = refunds.create(order, amount=1000, reference="return-7")
    assert isinstance(outcome[0], OperationPending)
    assert (refund.state, fresh(order).refund_reserved) == ("PROCESSING", 2000)
    assert len(wxpay_sandbox.wechat.store.all("SELECT * FROM refunds")) == 1


@pytest.mark.scenario("S53")
def test_opposite_if_a_repeat_s_proof_counted_for_all_it_would_be_refunded_twice(wxpay_sandbox, clock, monkeypatch):
    weaken.take_out("earlier_attempts", put=monkeypatch.setattr)
    order, outcome = wxpay_sandbox.paid_order(), []
    wxpay_sandbox.meanwhile(
        lambda: not_enough_for_the_second(wxpay_sandbox, clock, order, outcome), REFUNDS, method="POST", before=True
    )
    refunds.create(order, amount=1000, reference="return-7")
    assert outcome == []
    assert len(wxpay_sandbox.wechat.store.all("SELECT * FROM refunds")) == 2


@pytest.mark.scenario("S53")
@pytest.mark.parametrize("kind", ["closed_connection", "lost_answer"])
def test_a_reversal_s_late_time_out_does_not_open_again_what_a_later_one_ended(wxpay_sandbox, clock, kind):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    clock.shift(timedelta(seconds=46))

    def another_worker():
        clock.shift(timedelta(seconds=46))
        operations.send_due()

    wxpay_sandbox.meanwhile(another_worker, REVERSE, method="POST", before=True)
    wxpay_sandbox.fault(kind, REVERSE, method="POST", skip=1)
    with pytest.raises(OutcomeUnknown):
        orders.reverse(order)
    reversal = asked("REVERSE")
    assert (fresh(order).state, reversal.state, reversal.attempts, reversal.is_open) == ("REVOKED", "DONE", 2, False)


def test_a_lease_that_was_read_is_not_held(wxpay_sandbox, contract):
    """Whoever reads a row finds the lease of another in it."""
    order = orders.plan_deduction(contract, **ASKED)
    operations.holds.reserve(order.operation)
    read = Operation.objects.get(action="DEDUCT")
    assert not operations.send(read)
    assert operations.send(order.operation)


@pytest.mark.scenario("S53")
def test_a_request_does_not_leave_after_the_time_it_was_given(wxpay_sandbox, clock, contract, monkeypatch):
    """The database needs a minute for the claim: by then others count on it that nothing comes any more."""
    order = orders.plan_deduction(contract, **ASKED)
    claim = operations.holds.claim

    def stalled(operation):
        claimed = claim(operation)
        clock.shift(timedelta(minutes=1))
        return claimed

    monkeypatch.setattr(operations.holds, "claim", stalled)
    operations.send_due()
    assert posts(wxpay_sandbox, DEDUCT) == 0
    assert (asked("DEDUCT").state, asked("DEDUCT").busy_until) == ("PLANNED", None)
    monkeypatch.undo()
    tick(clock, 120)
    assert (fresh(order).state, charged(wxpay_sandbox)) == ("SUCCESS", 1)


@pytest.mark.scenario("S53")
def test_a_query_begun_while_the_request_was_under_way_proves_nothing(wxpay_sandbox, clock, contract):
    """It is answered when nothing can be under way any more; but the request arrived in between."""
    wxpay_sandbox.fault("closed_connection", DEDUCT, method="POST")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    clock.shift(timedelta(seconds=42))
    wxpay_sandbox.meanwhile(lambda: clock.shift(timedelta(seconds=5)), DEDUCT, method="GET")
    operations.send_due()
    assert (posts(wxpay_sandbox, DEDUCT), asked("DEDUCT").state) == (1, "UNKNOWN")


# Under way, though closed


@pytest.mark.parametrize("ended", ["REFUSED"])
def test_a_reversal_waits_for_requests_of_operations_that_are_closed(wxpay_sandbox, clock, contract, ended):
    wxpay_sandbox.fault("closed_connection", DEDUCT, method="POST")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    order = Order.objects.get()
    Order.objects.update(state=ended)
    clock.shift(timedelta(seconds=6))
    operations.send_due()
    assert not asked("DEDUCT").is_open
    with pytest.raises(OperationPending, match="may still be under way"):
        orders.reverse(order)
    clock.shift(timedelta(seconds=43))
    orders.reverse(order)
    assert asked("REVERSE").state == "DONE"


def test_what_was_answered_is_not_waited_for(wxpay_sandbox, contract):
    wxpay_sandbox.fault("refuse", DEDUCT, method="POST", code="RULE_LIMIT")
    with pytest.raises(APIError):
        orders.deduct(contract, **ASKED)
    assert orders.retry_deduction(Order.objects.get()).state == "SUCCESS"


# What breaks


def test_an_answer_that_breaks_our_code_is_asked_for_at_growing_distances(wxpay_sandbox, clock, monkeypatch):
    def broken(self, row, fact, operation):
        raise ValueError("cannot be stored")

    monkeypatch.setattr(type(operations.COMMANDS["SIGN"]), "answered", broken)
    with pytest.raises(ValueError, match="cannot be stored"):
        contracts.sign(plan_id=12345, user_display_name="Li M.", openid="o-1")
    before = len(wxpay_sandbox.calls)
    tick(clock, 3600, every=15)
    assert posts(wxpay_sandbox, "-pre-entrust-sign") < 15
    assert len(wxpay_sandbox.calls) - before < 30
    assert asked("SIGN").error_code == "ValueError"


def test_an_operation_whose_row_is_gone_is_told_and_gives_way_to_the_others(wxpay_sandbox, clock, contract):
    gone = orders.plan_deduction(contract, **ASKED)
    others = [orders.plan_deduction(contract, **ASKED | {"reference": f"m-{number}"}) for number in (2, 3)]
    operation = gone.operation
    gone.delete()
    operations.send_due()
    assert [fresh(other).state for other in others] == ["SUCCESS", "SUCCESS"]
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about, discrepancy.object_id) == ("STUCK", "operation", operation.pk)
    assert fresh(operation).next_try_at > timezone.now()
    operations.end(operation, by=None, reason="its order was deleted by hand")
    assert (operation.state, operation.is_open) == ("REFUSED", False)


# Not now


def test_a_reversal_while_the_payer_is_at_it_is_asked_again_after_5_10_and_20_seconds(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    clock.shift(timedelta(seconds=46))
    wxpay_sandbox.fault("refuse", REVERSE, status=400, code="USERPAYING", times=3)
    pauses = []
    with pytest.raises(APIError, match="USERPAYING"):
        orders.reverse(order)
    for _ in range(3):
        operation = asked("REVERSE")
        pauses.append((operation.next_try_at - timezone.now()).total_seconds())
        clock.move_to(operation.next_try_at)
        operations.send_due()
    assert pauses == [5, 10, 20]
    assert fresh(order).state == "REVOKED"


def test_a_quick_payment_that_never_arrived_ends_though_no_worker_saw_it_for_minutes(wxpay_sandbox, clock):
    wxpay_sandbox.fault("closed_connection", PAY)
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    assert order.state == "CREATED"
    clock.shift(timedelta(minutes=6))
    tick(clock, 900, every=15)
    assert (fresh(order).state, posts(wxpay_sandbox, "/pay")) == ("REFUSED", 1)


def test_a_termination_of_what_wechat_pay_does_not_know_is_over_within_seconds(wxpay_sandbox, clock, contract):
    for method in ("GET", "POST"):
        wxpay_sandbox.fault("refuse", CONTRACTS, method=method, status=403, code="CONTRACT_NOT_EXIST", times=-1)
    with pytest.raises(OutcomeUnknown):
        contracts.terminate(contract)
    tick(clock, 60)
    termination = asked("TERMINATE")
    assert (termination.state, termination.error_code) == ("REFUSED", "CONTRACT_NOT_EXIST")
    assert fresh(contract).state == "SIGNED"
    assert (Discrepancy.objects.get().kind, Discrepancy.objects.get().object_id) == ("MISMATCH", contract.pk)


# A set-up that WeChat Pay refuses


@pytest.mark.parametrize("signed", [True, False])
def test_a_set_up_error_ends_nothing_and_tells_a_person_once(wxpay_sandbox, clock, contract, signed):
    wxpay_sandbox.fault("refuse", "/v3/global/", status=401, code="SIGN_ERROR", signed=signed, times=-1)
    with pytest.raises(SetupError):
        orders.deduct(contract, **ASKED)
    tick(clock, 900, every=15)
    assert Order.objects.get().state == "CREATED"
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about, discrepancy.merchant) == ("SETUP", "merchant", "default")
    assert posts(wxpay_sandbox, DEDUCT) < 5
    wxpay_sandbox.wechat.faults.remove()
    tick(clock, 900, every=15)
    assert (Order.objects.get().state, charged(wxpay_sandbox)) == ("SUCCESS", 1)


# Ended by hand


def unsent(contract, **more):
    return orders.plan_deduction(contract, **ASKED | more)


def lost(wxpay_sandbox, path, call, **how):
    wxpay_sandbox.fault("closed_connection", path, method="POST", **how)
    with pytest.raises(OutcomeUnknown):
        call()


def end(action, clock=None):
    if clock:
        clock.shift(timedelta(seconds=44))
    return operations.end(asked(action), by=None, reason="the shop closed")


def test_what_was_never_sent_ends_refused_with_its_order(wxpay_sandbox, contract, django_user_model):
    order, sam = unsent(contract), django_user_model.objects.create_user("sam")
    operation = operations.end(asked("DEDUCT"), by=sam, reason="asked for twice")
    assert (operation.state, operation.error_code) == ("REFUSED", "ENDED_BY_HAND")
    assert operation.error_message == "asked for twice"
    moved = Transition.objects.of(order).get()
    assert (moved.to_state, moved.source, moved.user, moved.note) == ("REFUSED", "STAFF", sam, "asked for twice")
    operations.send_due()
    assert posts(wxpay_sandbox, DEDUCT) == 0


def test_nothing_is_ended_while_a_request_may_be_under_way(wxpay_sandbox, clock, contract):
    lost(wxpay_sandbox, DEDUCT, lambda: orders.deduct(contract, **ASKED))
    with pytest.raises(OperationPending, match="may still be under way"):
        end("DEDUCT")
    order = unsent(contract, reference="m-2")
    operations.holds.reserve(order.operation)
    with pytest.raises(OperationPending, match="may still be under way"):
        operations.end(order.operation, by=None, reason="a caller is about to send it")


def test_a_deduction_that_may_have_been_taken_stays_unknown_and_can_only_be_tried_again_once_proved_dead(
    wxpay_sandbox, clock, contract
):
    lost(wxpay_sandbox, DEDUCT, lambda: orders.deduct(contract, **ASKED))
    assert (end("DEDUCT", clock).state, Order.objects.get().state) == ("UNKNOWN", "CREATED")
    order = Order.objects.get()
    assert order.next_poll_at <= timezone.now()
    it_arrives(wxpay_sandbox)
    orders.poll()
    assert fresh(order).state == "SUCCESS"


def test_a_refund_that_may_have_been_taken_keeps_what_it_reserved_until_a_query_tells(wxpay_sandbox, clock):
    order = wxpay_sandbox.paid_order()
    lost(wxpay_sandbox, REFUNDS, lambda: refunds.create(order, amount=1000, reference="r"))
    clock.shift(timedelta(seconds=44))
    operation = operations.end(asked("REFUND"), by=None, reason="never fits")
    refund = Refund.objects.get()
    assert (operation.state, refund.state, fresh(order).refund_reserved) == ("UNKNOWN", "CREATED", 1000)
    wxpay_sandbox.fault("refuse", REFUNDS, method="GET", status=404, code="", signed=False)
    refunds.poll()
    assert (fresh(refund).state, fresh(order).refund_reserved) == ("CREATED", 1000)
    clock.shift(timedelta(hours=6))
    refunds.poll()
    assert (fresh(refund).state, fresh(order).refund_reserved) == ("REFUSED", 0)


def test_a_refund_that_was_surely_not_taken_gives_back_what_it_reserved(wxpay_sandbox, clock):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", status=403, code="NOT_ENOUGH")
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=1000, reference="r")
    assert end("REFUND").state == "REFUSED"
    assert (Refund.objects.get().state, fresh(order).refund_reserved) == ("REFUSED", 0)


def test_a_termination_ended_by_hand_leaves_the_contract_as_it_is_and_lets_another_follow(
    wxpay_sandbox, clock, contract
):
    lost(wxpay_sandbox, CONTRACTS, lambda: contracts.terminate(contract))
    assert (end("TERMINATE", clock).state, fresh(contract).state) == ("UNKNOWN", "SIGNED")
    assert contracts.terminate(contract).state == "TERMINATED"


def test_a_session_that_was_never_opened_ends_its_contract(wxpay_sandbox):
    contracts.plan_signing(plan_id=12345, user_display_name="Li M.")
    assert (end("SIGN").state, Contract.objects.get().state) == ("REFUSED", "EXPIRED")


def test_a_reversal_ended_by_hand_is_no_proof_that_the_order_is_dead(wxpay_sandbox, clock):
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    clock.shift(timedelta(seconds=46))
    lost(wxpay_sandbox, REVERSE, lambda: orders.reverse(order))
    assert (end("REVERSE", clock).state, fresh(order).state) == ("UNKNOWN", "USERPAYING")
    tick(clock, 30)  # the till's own clock reverses it again
    assert fresh(order).state == "REVOKED"


def test_a_payment_ended_by_hand_is_still_reversed(wxpay_sandbox, clock):
    wxpay_sandbox.fault("closed_connection", PAY)
    order = orders.pay_by_code(auth_code=PAYING_FOR_EVER, **ASKED)
    assert end("PAY", clock).state == "UNKNOWN"
    tick(clock, 60)
    assert (fresh(order).state, asked("REVERSE").state) == ("REFUSED", "DONE")


def test_what_the_row_tells_counts_more_than_the_hand(wxpay_sandbox, clock, contract):
    wxpay_sandbox.fault("lost_answer", DEDUCT, method="POST")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    wxpay_sandbox.deliver()
    assert end("DEDUCT").state == "DONE"
    with pytest.raises(NotAllowedNow, match="over already"):
        end("DEDUCT")


def test_a_reason_is_needed(wxpay_sandbox, contract):
    unsent(contract)
    with pytest.raises(ValueError, match="reason"):
        operations.end(asked("DEDUCT"), by=None, reason=" ")


@pytest.mark.parametrize("left", ["alias", "mchid", "region"])
def test_what_was_never_sent_is_ended_by_hand_though_its_merchant_left_the_settings(
    wxpay_sandbox, contract, settings, left
):
    order = orders.plan_deduction(contract, **ASKED)
    merchants = settings.WXPAY["MERCHANTS"]
    kept = {name: value for name, value in merchants.items() if name != "default"}
    changed = {"mchid": {"MCHID": "1999999999"}, "region": {"REGION": "mainland"}}.get(left)
    settings.WXPAY = settings.WXPAY | {
        "MERCHANTS": kept | ({"default": merchants["default"] | changed} if changed else {})
    }
    operation = operations.end(asked("DEDUCT"), by=None, reason="this merchant is no more")
    assert (operation.state, fresh(order).state) == ("REFUSED", "REFUSED")


def test_an_action_that_this_version_does_not_know_holds_up_nobody_and_is_ended_by_hand(wxpay_sandbox, contract):
    unknown = Operation.objects.create(
        merchant="default", mchid=contract.mchid, subject="contract", object_id=contract.pk, action="UPGRADE",
        fields={}, open_key=f"contract:{contract.pk}", next_try_at=timezone.now(),
    )  # fmt: skip
    operations.send_due()
    assert Discrepancy.objects.get().kind == "STUCK"
    assert operations.end(unknown, by=None, reason="of a later version").state == "REFUSED"
    assert fresh(contract).state == "SIGNED"
