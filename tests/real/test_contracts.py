"""Contracts with real connections and processes that are really killed."""

import functools

import pytest

from django_wxpay.engine import operations
from django_wxpay.exceptions import ContractNotSigned, DeductionPending, OperationPending
from django_wxpay.models import Action, Contract, Operation, Order, Transition
from django_wxpay.services import contracts, orders
from tests.real import weaken
from tests.real.world import at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

CONTRACTS = "/v3/global/papay/contracts/"
ROUNDS = 30


def theirs(world, contract):
    [found] = [one for one in world.sandbox.state()["contracts"] if one["contract_id"] == contract.contract_id]
    return found


# Killed


@pytest.mark.scenario("S27")
def test_a_process_killed_while_wechat_pay_answers_leaves_a_contract_that_is_found_terminated(world):
    contract = world.signed_contract()
    world.sandbox.fault("slow", CONTRACTS, method="POST", seconds=60)
    shop = world.actor("terminate", contract=contract.pk)
    wait_until(lambda: theirs(world, contract)["state"] == "TERMINATED", "the end of the contract")
    shop.kill()
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    with pytest.raises(OperationPending):  # what is being ended is not charged
        orders.deduct(contract, amount=3800, currency="HKD", description="March", reference="March")

    time_passes(seconds=60)
    assert operations.send_due() == 1
    contract.refresh_from_db()
    assert contract.state == "TERMINATED"
    assert [operation.state for operation in Operation.objects.of(contract)] == ["DONE", "DONE"]
    assert [moved.to_state for moved in Transition.objects.of(contract)] == ["TERMINATED", "SIGNED"]
    assert world.sandbox.calls("POST", f"{CONTRACTS}{contract.contract_id}/terminate") == 1


@pytest.mark.scenario("S27")
def test_a_signing_killed_before_its_session_was_kept_opens_another_session_of_the_same_contract(world):
    asked = {"plan_id": 12345, "user_display_name": "Li M.", "reference": "membership 42"}
    world.sandbox.fault("slow", CONTRACTS, method="POST", seconds=60)
    shop = world.actor("sign", **asked)
    code = wait_until(lambda: Contract.objects.values_list("out_contract_code", flat=True).first(), "the contract")
    wait_until(lambda: world.sandbox.calls("POST", CONTRACTS, code), "the session")
    shop.kill()

    time_passes(seconds=60)
    operations.send_due()
    contract = contracts.sign(**asked)
    assert (contract.out_contract_code, contract.state) == (code, "PENDING")
    assert contract.session_id
    world.sandbox.tell(f"contracts/{contract.session_id}/sign")
    assert contracts.sync(contract).state == "SIGNED"


# Terminated and charged at the same moment


def ending_and_charging(contract):
    """Plan both at once; returns what is open for the contract then."""
    asked = {"amount": 3800, "currency": "HKD", "description": "March", "reference": "March"}
    results = at_once(
        functools.partial(contracts.plan_termination, contract),
        functools.partial(orders.plan_deduction, contract, **asked),
    )
    planned = set(Operation.objects.open().values_list("action", flat=True))
    Operation.objects.open().update(open_key=None)
    Order.objects.all().delete()
    return planned, results


@pytest.mark.scenario("S43")
def test_a_contract_is_never_ended_and_charged_at_the_same_moment(world):
    contract = world.signed_contract()
    for _ in range(10):
        planned, results = ending_and_charging(contract)
        assert planned in ({Action.TERMINATE}, {Action.DEDUCT})
        [refused] = [result for result in results if isinstance(result, Exception)]
        assert isinstance(refused, (DeductionPending, OperationPending))


@pytest.mark.scenario("S43")
def test_opposite_without_the_contracts_lock_it_is_ended_and_charged_at_the_same_moment(world, row_locks, monkeypatch):
    weaken.take_out("row_locks", put=monkeypatch.setattr)
    contract = world.signed_contract()
    for _ in range(ROUNDS):
        planned, _ = ending_and_charging(contract)
        if planned == {Action.TERMINATE, Action.DEDUCT}:
            return
    pytest.fail("it was never both")


@pytest.mark.scenario("S43")
def test_of_ending_and_charging_for_real_wechat_pay_hears_of_one_at_a_time(world):
    contract = world.signed_contract()
    asked = {"amount": 3800, "currency": "HKD", "description": "March", "reference": "March"}
    world.sandbox.fault("slow", "/v3/global/papay/", method="POST", seconds=0.3, times=-1)
    ended, charged = at_once(
        functools.partial(contracts.terminate, contract), functools.partial(orders.deduct, contract, **asked)
    )
    if isinstance(ended, DeductionPending):
        assert (charged.state, theirs(world, contract)["state"]) == ("SUCCESS", "SIGNED")
    elif isinstance(charged, (OperationPending, ContractNotSigned)):
        assert (world.sandbox.orders(contract), theirs(world, contract)["state"]) == ([], "TERMINATED")
    else:  # on a busy machine one may be over before the other begins
        charge, end = Operation.objects.get(action="DEDUCT"), Operation.objects.get(action="TERMINATE")
        assert charge.finished_at <= end.created_at


# Taken over from another system


def test_a_contract_adopted_many_times_at_once_is_one_row(world):
    known = world.signed_contract()
    asked = {"out_contract_code": known.out_contract_code, "plan_id": known.plan_id}
    Transition.objects.all().delete()
    Operation.objects.all().delete()
    Contract.objects.all().delete()
    adopted = returned(at_once(*[functools.partial(contracts.adopt, **asked)] * 6))
    assert {contract.pk for contract in adopted} == {Contract.objects.get().pk}
    assert [moved.to_state for moved in Transition.objects.all()] == ["SIGNED"]
