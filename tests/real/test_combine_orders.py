"""Combined orders with real connections and processes that are really killed."""

import functools
import json

import pytest
from django.db import OperationalError, connection

from django_wxpay.engine import operations
from django_wxpay.models import CombineOrder, Discrepancy, Notification, Operation, Order, Transition
from django_wxpay.services import combine_orders, notifications, refunds
from tests.real.world import COMBINED, Trouble, at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

PLACE = f"{COMBINED}/miniprogram"
COPIES, AT_A_TIME = 20, 6


@pytest.fixture(autouse=True)
def mainland(world):
    world.add_mainland()


def pay(world, order):
    world.sandbox.tell(f"combine-orders/{order.number}/pay", mchid=order.mchid)


def paid_once(world, order):
    """What must be true in the end, here and there: each part paid once, told once, nothing open."""
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert [moved.to_state for moved in Transition.objects.of(order)].count("SUCCESS") == 1
    ours = list(order.orders.order_by("pk"))
    theirs = world.sandbox.parts(order)
    assert [one.transaction_id for one in ours] == [one["transaction_id"] for one in theirs]
    assert {one["trade_state"] for one in theirs} == {"SUCCESS"}
    for one in ours:
        assert [moved.to_state for moved in Transition.objects.of(one)].count("SUCCESS") == 1
    assert not Operation.objects.of(order).open().exists() and not Discrepancy.objects.exists()


def end_what_is_open():
    time_passes(seconds=300)
    operations.send_due()


def kill_while_answering(world, path, happened, action, **arguments):
    """Another process does that; kill it once WeChat Pay did what it was asked and before it answers."""
    world.sandbox.fault("slow", path, method="POST", seconds=60)
    process = world.actor(action, **arguments)
    wait_until(happened, "WeChat Pay to do it")
    process.kill()
    world.sandbox.forget_faults()


@pytest.mark.scenario("S27")
def test_a_placing_killed_while_wechat_pay_answers_is_found_unpaid_and_paid_once(world):
    payees = [world.payee().pk for _ in range(2)]

    def placed():
        row = CombineOrder.objects.first()
        return row and world.sandbox.combine_order(row)

    kill_while_answering(world, PLACE, placed, "place_combined", payees=payees, reference="basket")
    order = CombineOrder.objects.get()
    assert order.state == "CREATED"

    end_what_is_open()
    order.refresh_from_db()
    assert (order.state, order.prepay_id) == ("NOTPAY", "")
    assert world.sandbox.calls("POST", PLACE, order.number) == 1  # it was found out, not asked again
    assert combine_orders.payment_params(order)  # by the identical request, once more
    assert CombineOrder.objects.count() == 1 and len(world.sandbox.parts(order)) == 2
    pay(world, order)
    combine_orders.sync(order)
    paid_once(world, order)


@pytest.mark.scenario("S27")
def test_a_closing_killed_while_wechat_pay_answers_is_found_closed(world):
    order = world.combined()
    path = f"{COMBINED}/out-trade-no/{order.number}/close"
    kill_while_answering(
        world, path, lambda: world.sandbox.parts(order)[0]["trade_state"] == "CLOSED", "close_combined", order=order.pk
    )
    order.refresh_from_db()
    assert order.state == "NOTPAY"
    end_what_is_open()
    order.refresh_from_db()
    assert order.state == "CLOSED" and set(order.orders.values_list("state", flat=True)) == {"CLOSED"}
    assert world.sandbox.calls("POST", path) == 1 and not Operation.objects.open().exists()


POINTS = {
    "operations.send:before": 0,  # written down, not sent
    "operations._claim:after": 0,  # about to be sent
    "operations._answered:before": 1,  # answered
    "outcomes.finish:after": 1,  # recorded, not committed
    "operations._answered:after": 1,  # recorded
}


@pytest.mark.scenario("S26")
@pytest.mark.scenario("S27")
def test_a_placing_killed_at_any_point_ends_as_one_order_that_can_be_paid(world):
    payee = world.payee()
    killed = [world.actor("place_combined", payees=[payee.pk], reference=point, dies=point) for point in POINTS]
    for process in killed:
        process.wait_for_death()
    for point, there in POINTS.items():
        order = CombineOrder.objects.get(reference=point)
        assert bool(world.sandbox.combine_order(order)) == bool(there), point
    for _ in range(2):
        end_what_is_open()
        combine_orders.poll()
    for order in CombineOrder.objects.all():
        assert combine_orders.payment_params(order)
        pay(world, order)
        combine_orders.sync(order)
        paid_once(world, order)


@pytest.mark.scenario("S02")
def test_twenty_copies_of_a_payment_at_once_are_acknowledged_and_applied_once(world):
    shops = [world.shop(merchant="mainland"), world.shop(merchant="mainland")]
    order = world.combined(parts=5)
    pay(world, order)
    letter = world.letter("TRANSACTION.SUCCESS")
    answers = returned(at_once(*(functools.partial(letter.post_to, shops[n % 2].url) for n in range(COPIES))))
    assert [status for status, _ in answers] == [200] * COPIES
    assert all(json.loads(text) == {"code": "SUCCESS", "message": "OK"} for _, text in answers)
    kept = Notification.objects.get()
    assert (kept.state, kept.attempts) == ("PROCESSED", COPIES)
    paid_once(world, order)


@pytest.mark.scenario("S46")
def test_a_notification_and_polls_of_the_whole_and_a_part_at_the_same_moment_move_each_once(world):
    for _ in range(3):
        order = world.combined(parts=3)
        pay(world, order)
        letter = world.letter("TRANSACTION.SUCCESS")
        part = order.orders.last()
        returned(
            at_once(
                functools.partial(notifications.receive, "mainland", letter.headers, letter.body),
                functools.partial(combine_orders.sync, CombineOrder.objects.get(pk=order.pk)),
                functools.partial(combine_orders.sync, Order.objects.get(pk=part.pk).combine_order),
            )
        )
        paid_once(world, order)


@pytest.mark.scenario("S70")
def test_closed_and_paid_at_the_same_moment_it_is_one_of_both_here_and_there(world):
    for _ in range(4):
        order = world.combined()
        at_once(functools.partial(combine_orders.close, order), functools.partial(pay, world, order))
        for _ in range(2):
            end_what_is_open()
        combine_orders.sync(order)
        order.refresh_from_db()
        there = {part["trade_state"] for part in world.sandbox.parts(order)}
        assert order.state in ("SUCCESS", "CLOSED") and there == {order.state}
        assert not Operation.objects.of(order).open().exists()


@pytest.mark.scenario("S29")
def test_a_task_that_runs_many_times_at_once_places_one_order(world):
    parts = [combine_orders.Part(world.payee(), 500, "Book")]
    place = functools.partial(
        combine_orders.place, parts=parts, openid="o-payer", reference="basket", merchant="mainland"
    )
    made = returned(at_once(*[place] * AT_A_TIME))
    assert {order.pk for order in made} == {CombineOrder.objects.get().pk}
    end_what_is_open()
    order = CombineOrder.objects.get()
    assert order.state == "NOTPAY" and world.sandbox.calls("POST", PLACE, order.number) == 1


@pytest.mark.scenario("S36")
def test_two_refunds_of_one_part_at_once_whose_sum_is_too_much(world):
    order = world.combined()
    pay(world, order)
    part = combine_orders.sync(order).orders.first()
    results = at_once(
        functools.partial(refunds.plan_refund, part, amount=300, reference="one"),
        functools.partial(refunds.plan_refund, part, amount=300, reference="two"),
    )
    assert sorted(type(result).__name__ for result in results) == ["Refund", "RefundTooLarge"]


@pytest.mark.scenario("S34")
def test_a_deadlock_after_the_call_records_again_and_calls_once(world):
    payee = world.payee()
    parts = [combine_orders.Part(payee, 500, "Book")]
    with connection.execute_wrapper(Trouble(CombineOrder, 1)):
        order = combine_orders.place(parts=parts, openid="o-payer", reference="basket", merchant="mainland")
    assert order.state == "NOTPAY" and world.sandbox.calls("POST", PLACE, order.number) == 1


@pytest.mark.scenario("S34")
def test_deadlocks_without_end_after_the_call_leave_it_to_a_query(world):
    parts = [combine_orders.Part(world.payee(), 500, "Book")]
    asked = {"parts": parts, "openid": "o-payer", "reference": "basket", "merchant": "mainland"}
    with connection.execute_wrapper(Trouble(CombineOrder, 1000)), pytest.raises(OperationalError):
        combine_orders.place(**asked)
    order = combine_orders.plan_order(**asked)
    assert order.state == "CREATED"
    end_what_is_open()
    order.refresh_from_db()
    assert order.state == "NOTPAY" and world.sandbox.calls("POST", PLACE, order.number) == 1
