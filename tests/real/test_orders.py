"""Deductions with real connections and processes that are really killed."""

import functools
import threading

import pytest
from django.db import OperationalError, connection, transaction

from django_wxpay.engine import operations
from django_wxpay.models import Action, Operation, Order, Transition
from django_wxpay.services import orders
from tests.real import weaken
from tests.real.world import DEDUCT, PATIENCE_SECONDS, Trouble, at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

AT_A_TIME = 8
ROUNDS = 20  # an opposite shows itself in one of the first; so many are tried before it counts as not shown


def charge(contract, reference, **asked):
    asked = {"amount": 3800, "currency": "HKD", "description": "March"} | asked
    return functools.partial(orders.deduct, contract, reference=reference, **asked)


def charged_once(world, contract):
    """What must be true in the end, here and there: one number, one charge, nothing open."""
    [ours] = Order.objects.filter(contract=contract)
    [theirs] = world.sandbox.orders(contract)
    assert (ours.state, theirs["trade_state"]) == ("SUCCESS", "SUCCESS")
    assert (ours.out_trade_no, ours.transaction_id) == (theirs["out_trade_no"], theirs["transaction_id"])
    [operation] = Operation.objects.of(ours)
    assert (operation.state, operation.open_key) == ("DONE", None)
    assert [moved.to_state for moved in Transition.objects.of(ours)] == ["SUCCESS"]
    return ours


# The shop's task runs twice


@pytest.mark.scenario("S29")
def test_a_task_that_runs_many_times_at_once_charges_once(world):
    contract = world.signed_contract()
    made = returned(at_once(*[charge(contract, "membership 42, March")] * AT_A_TIME))
    assert len({order.out_trade_no for order in made}) == 1
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S29")
def test_two_processes_with_one_reference_charge_once(world):
    contract = world.signed_contract()
    tasks = [world.actor("deduct", contract=contract.pk, reference="March") for _ in range(2)]
    numbers = {task.result()["out_trade_no"] for task in tasks}
    assert numbers == {charged_once(world, contract).out_trade_no}


@pytest.mark.scenario("S29")
def test_without_the_lock_the_unique_reference_alone_still_charges_once(world, row_locks, monkeypatch):
    weaken.take_out("row_locks", put=monkeypatch.setattr)
    contract = world.signed_contract()
    returned(at_once(*[charge(contract, "March")] * AT_A_TIME))
    charged_once(world, contract)


@pytest.mark.scenario("S29")
def test_without_the_unique_reference_the_lock_alone_still_charges_once(world, row_locks):
    contract = world.signed_contract()
    with weaken.without_constraint(Order, "wxpay_order_sub_reference_attempt"):
        returned(at_once(*[charge(contract, "March")] * AT_A_TIME))
        charged_once(world, contract)
        Transition.objects.all().delete()


@pytest.mark.scenario("S29")
def test_opposite_without_the_lock_and_the_unique_reference_it_charges_twice(world, row_locks, monkeypatch):
    weaken.take_out("row_locks", put=monkeypatch.setattr)
    contract = world.signed_contract()
    with weaken.without_constraint(Order, "wxpay_order_sub_reference_attempt"):
        for attempt in range(ROUNDS):
            at_once(*[charge(contract, f"March {attempt}")] * AT_A_TIME)
            if len(world.sandbox.orders(contract)) > attempt + 1:
                return
        pytest.fail("it was never charged twice")


# Killed


@pytest.mark.scenario("S27")
def test_a_process_killed_while_wechat_pay_answers_leaves_an_order_that_polling_finds_paid(world):
    contract = world.signed_contract()
    world.sandbox.fault("slow", DEDUCT, seconds=60)
    shop = world.actor("deduct", contract=contract.pk, reference="March")
    wait_until(lambda: world.sandbox.orders(contract), "the charge")
    shop.kill()
    assert Order.objects.get().state == "CREATED"

    assert orders.deduct(contract, **charge(contract, "March").keywords).state == "CREATED"
    assert operations.send_due() == 0  # for all that we know the request may still be under way
    time_passes(seconds=10)
    assert orders.poll() == 1
    assert Order.objects.get().state == "SUCCESS"

    time_passes(seconds=60)
    assert operations.send_due() == 1
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S27")
def test_a_worker_killed_while_wechat_pay_answers_leaves_an_operation_that_the_next_worker_ends(world):
    contract = world.signed_contract()
    orders.plan_deduction(contract, **charge(contract, "March").keywords)
    world.sandbox.fault("slow", DEDUCT, seconds=60)
    worker = world.actor("send_due")
    wait_until(lambda: world.sandbox.orders(contract), "the charge")
    worker.kill()

    time_passes(seconds=60)
    assert operations.send_due() == 1
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S53")
def test_a_process_that_was_suspended_changes_nothing_of_what_another_sent_meanwhile(world):
    """It sends what it claimed long ago, and is told that the number is paid: a refusal of its own attempt only."""
    contract = world.signed_contract()
    sleeper = world.actor("deduct", contract=contract.pk, reference="March", dies="stop operations._claim:after")
    wait_until(lambda: Operation.objects.filter(action="DEDUCT", state="SENT").exists(), "the claim")
    time_passes(seconds=60)
    assert operations.send_due() == 1
    ours = charged_once(world, contract)
    recorded = Operation.objects.filter(action="DEDUCT").values().get()
    assert sleeper.go_on() != 0  # OutcomeUnknown: somebody else was at it
    assert charged_once(world, contract).pk == ours.pk
    assert Operation.objects.filter(action="DEDUCT").values().get() == recorded


POINTS = {
    "operations.send:before": 0,  # written down, not sent
    "operations._claim:after": 0,  # about to be sent
    "operations._answered:before": 1,  # answered
    "outcomes.finish:after": 1,  # recorded, not committed
    "operations._answered:after": 1,  # recorded
}


@pytest.mark.scenario("S26")
@pytest.mark.scenario("S27")
def test_a_deduction_killed_at_any_point_ends_charged_once(world):
    contracts = {point: world.signed_contract() for point in POINTS}
    killed = [
        world.actor("deduct", contract=contract.pk, reference=point, dies=point)
        for point, contract in contracts.items()
    ]
    for process in killed:
        process.wait_for_death()
    for point, charges in POINTS.items():
        assert len(world.sandbox.orders(contracts[point])) == charges, point

    time_passes(seconds=60)
    operations.send_due()
    for contract in contracts.values():
        charged_once(world, contract)
        assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S27")
def test_opposite_when_nothing_is_written_down_before_a_killed_task_charges_twice(world):
    contract = world.signed_contract()
    world.sandbox.fault("slow", DEDUCT, seconds=60)
    task = world.actor("deduct", contract=contract.pk, reference="March", without=["writing_first"])
    wait_until(lambda: world.sandbox.orders(contract), "the charge")
    task.kill()
    wait_until(lambda: charge(contract, "March")().state == "SUCCESS", "the task to run again")
    assert [order["trade_state"] for order in world.sandbox.orders(contract)] == ["SUCCESS", "SUCCESS"]


# The database gives a transaction up after the call


class GivenUp:
    """Notes the errors with which the database gives up what this connection does."""

    def __init__(self):
        self.errors = []

    def __call__(self, execute, sql, params, many, context):
        try:
            return execute(sql, params, many, context)
        except OperationalError as error:
            self.errors.append(error)
            raise


@pytest.mark.scenario("S34")
@pytest.mark.parametrize("times", [1, 2])
def test_a_deadlock_after_the_call_records_again_and_calls_once(world, times):
    contract = world.signed_contract()
    with connection.execute_wrapper(Trouble(Order, times)):
        assert charge(contract, "March")().state == "SUCCESS"
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S34")
def test_deadlocks_without_end_after_the_call_leave_it_to_a_query(world):
    contract = world.signed_contract()
    with connection.execute_wrapper(Trouble(Order, 1000)), pytest.raises(OperationalError):
        charge(contract, "March")()
    assert charge(contract, "March")().state == "CREATED"

    time_passes(seconds=60)
    operations.send_due()
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


@pytest.mark.scenario("S34")
def test_a_real_deadlock_after_the_call_records_again_and_calls_once(world, row_locks):
    for _ in range(5):  # on a busy machine the database may give up the other one
        contract = world.signed_contract()
        world.sandbox.fault("slow", DEDUCT, seconds=1)
        order, given_up = _deduct_into_a_deadlock(contract)
        assert order.state == "SUCCESS"
        charged_once(world, contract)
        assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1
        if given_up:
            return
    pytest.fail("it was never the deduction that was given up")


@pytest.mark.scenario("S34")
def test_a_lock_timeout_after_the_call_records_again_and_calls_once(world, row_locks):
    impatience = {"postgresql": "SET lock_timeout = '300ms'", "mysql": "SET innodb_lock_wait_timeout = 1"}
    contract = world.signed_contract()
    world.sandbox.fault("slow", DEDUCT, seconds=1)
    given_up = GivenUp()

    def shop():
        with connection.cursor() as cursor:
            cursor.execute(impatience[connection.vendor])
        with connection.execute_wrapper(given_up):
            return charge(contract, "March")()

    def stranger():
        wait_until(Operation.objects.filter(state="SENT", action=Action.DEDUCT).exists, "the call")
        with transaction.atomic():
            Order.objects.select_for_update().get()
            wait_until(lambda: given_up.errors, "the shop to lose its patience")

    order, _ = returned(at_once(shop, stranger))
    assert order.state == "SUCCESS"
    charged_once(world, contract)
    assert world.sandbox.calls("POST", DEDUCT, contract.contract_id) == 1


def _deduct_into_a_deadlock(contract):
    """Deduct into a circle of locks when the answer is recorded; returns the order, and how often it was given up."""
    sent = Operation.objects.filter(state="SENT", action=Action.DEDUCT)
    operation_held, order_held = threading.Event(), threading.Event()
    given_up = GivenUp()

    def shop():
        with connection.execute_wrapper(given_up):
            return charge(contract, f"March of {contract}")()

    def stranger():
        """Hold the operation, wait until the shop holds the order, then want the order: a circle."""
        wait_until(sent.exists, "the call")
        with transaction.atomic():
            operation = sent.select_for_update().get()
            _weigh_more_than_the_shop()
            operation_held.set()
            assert order_held.wait(PATIENCE_SECONDS)
            list(Order.objects.filter(pk=operation.object_id).select_for_update())
            transaction.set_rollback(True)

    def watcher():
        assert operation_held.wait(PATIENCE_SECONDS)
        wait_until(lambda: not _is_free(Order.objects.filter(contract=contract)), "the shop to hold the order")
        order_held.set()

    [order] = returned(at_once(shop, stranger, watcher)[:1])
    return order, len(given_up.errors)


@transaction.atomic
def _is_free(rows):
    """Whether nobody else holds this row's lock."""
    return bool(rows.select_for_update(skip_locked=True))


def _weigh_more_than_the_shop():
    """InnoDB gives up the transaction that has written less."""
    from django.contrib.auth.models import Group

    Group.objects.bulk_create(Group(name=f"group {number}") for number in range(200))
