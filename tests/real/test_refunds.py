"""Refunds with real connections and processes that are really killed."""

import functools
import time

import pytest
from django.db import connection, transaction

from django_wxpay.engine import operations
from django_wxpay.exceptions import RefundTooLarge
from django_wxpay.models import Operation, Order, Refund, Transition
from django_wxpay.services import notifications, orders, refunds
from tests.real import weaken
from tests.real.world import REFUND, at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

ROUNDS = 20


def paid_order(world):
    contract = world.signed_contract()
    asked = {"amount": 3800, "currency": "HKD", "description": "March"}
    return orders.deduct(contract, **asked, reference=world.name("charge"))


def planned(order, amount, reference):
    return functools.partial(refunds.plan_refund, order, amount=amount, reference=reference)


# More than was paid


@pytest.mark.scenario("S36")
def test_of_two_refunds_at_once_that_are_too_much_together_one_is_accepted_and_one_refused(world):
    order = paid_order(world)
    create = functools.partial(refunds.create, order, amount=2000)
    results = at_once(functools.partial(create, reference="shirt"), functools.partial(create, reference="shoes"))

    [accepted] = [result for result in results if isinstance(result, Refund)]
    [refused] = [result for result in results if isinstance(result, Exception)]
    assert isinstance(refused, RefundTooLarge)
    assert (accepted.state, accepted.amount) == ("PROCESSING", 2000)
    order.refresh_from_db()
    assert (order.refund_reserved, order.refundable_amount) == (2000, 1800)
    assert [theirs["refund"] for theirs in world.sandbox.refunds(order)] == [2000]


@pytest.mark.scenario("S36")
def test_of_ten_refunds_at_once_exactly_those_that_fit_are_accepted(world):
    order = paid_order(world)
    results = at_once(*(planned(order, 1000, str(number)) for number in range(10)))
    assert sum(isinstance(result, Refund) for result in results) == 3
    assert sum(isinstance(result, RefundTooLarge) for result in results) == 7
    order.refresh_from_db()
    assert order.refund_reserved == 3000


@pytest.mark.scenario("S36")
def test_without_the_orders_lock_the_conditional_update_alone_still_holds_the_cap(world, row_locks, monkeypatch):
    weaken.take_out("row_locks", put=monkeypatch.setattr)
    order = paid_order(world)
    results = at_once(*(planned(order, 1000, str(number)) for number in range(10)))
    assert sum(isinstance(result, Refund) for result in results) == 3


@pytest.mark.scenario("S36")
def test_opposite_without_lock_and_conditional_update_more_is_refunded_than_was_paid(world, row_locks, monkeypatch):
    weaken.take_out("row_locks", "refund_cap", put=monkeypatch.setattr)
    for _ in range(ROUNDS):
        order = paid_order(world)
        results = at_once(*(planned(order, 1000, str(number)) for number in range(10)))
        if sum(isinstance(result, Refund) for result in results) > 3:
            return
    pytest.fail("it was never too much")


@pytest.mark.scenario("S29")
def test_a_refund_asked_for_many_times_at_once_with_one_reference_is_one_refund(world):
    order = paid_order(world)
    create = functools.partial(refunds.create, order, amount=1000, reference="return 7")
    made = returned(at_once(*[create] * 6))
    assert len({refund.pk for refund in made}) == 1
    order.refresh_from_db()
    assert order.refund_reserved == 1000
    assert len(world.sandbox.refunds(order)) == 1
    assert world.sandbox.calls("POST", REFUND, order.transaction_id) == 1


# Killed


@pytest.mark.scenario("S27")
def test_a_process_killed_while_wechat_pay_answers_leaves_a_refund_that_is_found_out(world):
    order = paid_order(world)
    world.sandbox.fault("slow", REFUND, method="POST", seconds=60)
    shop = world.actor("refund", order=order.pk, reference="return 7", amount=1000)
    [theirs] = wait_until(lambda: world.sandbox.refunds(order), "the refund")
    shop.kill()

    refund = Refund.objects.get()
    assert (refund.state, refund.out_refund_no) == ("CREATED", theirs["out_refund_no"])
    assert refunds.create(order, amount=1000, reference="return 7").pk == refund.pk

    time_passes(seconds=60)
    assert operations.send_due() == 1
    refund.refresh_from_db()
    assert refund.refund_id == theirs["refund_id"]
    assert refund.state in ("PROCESSING", "SUCCESS")
    assert [operation.state for operation in Operation.objects.of(refund)] == ["DONE"]
    order.refresh_from_db()
    assert order.refund_reserved == 1000
    assert len(world.sandbox.refunds(order)) == 1
    assert world.sandbox.calls("POST", REFUND, order.transaction_id) == 1


# The answer and the notification of one refund


@pytest.mark.scenario("S40")
def test_a_refunds_answer_and_its_notification_at_the_same_moment_end_in_one_story(world):
    for _ in range(3):
        order = paid_order(world)
        world.sandbox.fault("slow", REFUND, method="POST", seconds=0.3)

        def shop(order=order):
            return refunds.create(order, amount=1000, reference="return 7")

        def wechat_pay(order=order):
            letter = world.letter("REFUND.SUCCESS")
            return notifications.receive("default", letter.headers, letter.body)

        refund, notification = returned(at_once(shop, wechat_pay))
        assert notification.state == "PROCESSED"
        refund.refresh_from_db()
        order.refresh_from_db()
        assert (refund.state, order.state, order.refund_reserved) == ("SUCCESS", "REFUND", 1000)
        moves = [moved.to_state for moved in Transition.objects.of(refund)]
        assert moves in (["SUCCESS", "PROCESSING"], ["SUCCESS"])


@pytest.mark.scenario("S40")
@pytest.mark.parametrize("amount", [1000, 7_770_005], ids=["accepted", "refused"])
def test_a_refunds_answer_waits_for_its_order_without_holding_the_refund(world, row_locks, amount):
    """The order's lock comes before the refund's, for answers as for notifications: no circle, no deadlock."""
    asked = {"amount": 9_000_000, "currency": "HKD", "description": "March"}
    order = orders.deduct(world.signed_contract(), **asked, reference="March")
    world.sandbox.fault("slow", REFUND, method="POST", seconds=1)
    locks = []

    def watch(execute, sql, params, many, context):
        if "FOR UPDATE" in sql:
            locks.append(sql)
        return execute(sql, params, many, context)

    def shop():
        with connection.execute_wrapper(watch):
            return refunds.create(order, amount=amount, reference="return 7")

    def notification():
        wait_until(Operation.objects.filter(state="SENT", subject="refund").exists, "the call")
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=order.pk)
            before = len(locks)
            wait_until(lambda: len(locks) > before, "the answer to want its first lock")
            time.sleep(0.1)  # had it got that lock, it would hold it now
            return list(Refund.objects.filter(order=order).select_for_update(skip_locked=True))

    _, refunds_free_to_lock = at_once(shop, notification)
    assert len(refunds_free_to_lock) == 1
