"""Several workers and overlapping ticks: nothing is sent, queried or recorded twice."""

import functools

import pytest

from django_wxpay.engine import operations, transactions
from django_wxpay.models import Operation, Order, Transition
from django_wxpay.services import orders
from tests.real.world import DEDUCT, at_once, returned, time_passes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

WORKERS = 4
ROUNDS = 10
WAITS_FOR_THE_PAYER = 6_660_011  # a special amount of the sandbox


def planned(contract, number, amount=3800):
    asked = {"amount": amount, "currency": "HKD", "description": "March"}
    return [orders.plan_deduction(contract, **asked, reference=str(n)) for n in range(number)]


@pytest.mark.scenario("S45")
def test_workers_that_send_at_once_send_each_operation_once(world):
    contract = world.signed_contract()
    planned(contract, 12)
    returned(at_once(*[operations.send_due] * WORKERS))

    assert set(Order.objects.values_list("state", flat=True)) == {"SUCCESS"}
    assert set(Operation.objects.values_list("state", "attempts")) == {("DONE", 1)}
    assert len(world.sandbox.orders(contract)) == 12
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 12


@pytest.mark.scenario("S45")
def test_opposite_without_the_claim_workers_send_some_operations_twice(world, monkeypatch):
    contract = world.signed_contract()

    def claim(operation):
        now = operations.timezone.now()
        Operation.objects.filter(pk=operation.pk).update(state="SENT", sent_at=now, leased_until=now)
        operation.refresh_from_db()
        return True

    monkeypatch.setattr(operations, "_claim", claim)
    for _ in range(ROUNDS):
        before = world.sandbox.calls("POST", DEDUCT, contract.contract_id)
        asked = planned(contract, 12)
        returned(at_once(*[operations.send_due] * WORKERS))
        if world.sandbox.calls("POST", DEDUCT, contract.contract_id) > before + len(asked):
            return
        Operation.objects.filter(action="DEDUCT").delete()
        Order.objects.all().delete()
    pytest.fail("nothing was sent twice")


@pytest.mark.scenario("S45")
def test_processes_that_send_at_once_send_each_operation_once(world):
    contract = world.signed_contract()
    planned(contract, 8)
    workers = [world.actor("send_due") for _ in range(2)]
    assert sum(worker.result() for worker in workers) >= 8
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 8
    assert set(Operation.objects.of(Order.objects.first()).values_list("state", "attempts")) == {("DONE", 1)}


@pytest.mark.scenario("S45")
def test_workers_that_poll_at_once_query_each_order_once(world):
    contract = world.signed_contract()
    waiting = planned(contract, 12, WAITS_FOR_THE_PAYER)
    operations.send_due()
    for order in waiting:
        world.sandbox.tell(f"orders/{order.out_trade_no}/pay")
    time_passes(seconds=60)
    counts = returned(at_once(*[orders.poll] * WORKERS))

    assert sum(counts) == 12
    assert set(Order.objects.values_list("state", flat=True)) == {"SUCCESS"}
    for order in waiting:
        assert world.sandbox.calls("GET", f"{DEDUCT}/", order.out_trade_no) == 1
        assert [moved.to_state for moved in Transition.objects.of(order)] == ["SUCCESS", "USERPAYING"]


@pytest.mark.scenario("S45")
def test_workers_that_find_out_at_once_send_again_once(world):
    contract = world.signed_contract()
    planned(contract, 6)
    world.sandbox.fault("closed_connection", DEDUCT, method="POST", times=6)
    for _ in range(6):
        operations.send_due()  # after a call without an answer a batch leaves its merchant alone
    assert set(Order.objects.values_list("state", flat=True)) == {"CREATED"}
    time_passes(seconds=60)
    returned(at_once(*[operations.send_due] * WORKERS))

    assert set(Order.objects.values_list("state", flat=True)) == {"SUCCESS"}
    assert len(world.sandbox.orders(contract)) == 6
    assert set(Operation.objects.exclude(action="SIGN").values_list("state", "attempts")) == {("DONE", 2)}


@pytest.mark.scenario("S45")
def test_a_late_deduction_is_sent_or_given_up_for_a_reversal_but_never_both(world):
    contract = world.signed_contract()
    for number in range(8):
        order = orders.plan_deduction(
            contract, amount=3800, currency="HKD", description="March", reference=f"late {number}"
        )
        time_passes(seconds=2 * 3600)
        reverse = functools.partial(transactions.run, functools.partial(orders.plan_reversal, order))
        at_once(operations.send_due, reverse)
        order.refresh_from_db()
        deduction = Operation.objects.of(order).get(action="DEDUCT")
        given_up = deduction.state == "REFUSED"
        assert given_up == Operation.objects.of(order).filter(action="REVERSE").exists()
        assert given_up != bool(world.sandbox.calls("POST", DEDUCT, order.out_trade_no))
        assert given_up == (order.state != "SUCCESS")
