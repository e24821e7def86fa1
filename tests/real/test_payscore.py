"""Sign plans and service orders with real connections and processes that are really killed."""

import functools
import json

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_wxpay.engine import operations
from django_wxpay.models import Discrepancy, Notification, Operation, ServiceOrder, SignPlan, Transition
from django_wxpay.services import notifications, service_orders, sign_plans
from tests.real import weaken
from tests.real.world import SERVICE_ORDERS, SIGN_PLANS, Trouble, at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

START = "/v3/payscore/sign-plan/serviceorder"
NEVER_PAID, PAID_TWICE = 5_550_002, 5_550_005  # special amounts of the sandbox
COPIES = 20
AT_A_TIME = 6
ROUNDS = 20


@pytest.fixture(autouse=True)
def mainland(world):
    world.add_mainland()


def collecting(world, price=NEVER_PAID):
    """A service order that is over and not paid."""
    order = service_orders.complete(world.started(world.signed_plan(price, price)))
    assert order.is_collecting
    return order


def pay(world, order):
    """Its user pays on the phone."""
    world.sandbox.tell(f"service-orders/{order.out_order_no}/pay")


def paid_once(world, order):
    """What must be true in the end, here and there: one payment, told once, nothing open."""
    order.refresh_from_db()
    theirs = world.sandbox.service_order(order)
    [listed] = theirs["collection"]["details"]
    [ours] = order.orders.all()
    assert (order.state, theirs["state"]) == ("DONE", "DONE")
    assert (ours.transaction_id, ours.amount_total) == (listed["transaction_id"], listed["amount"])
    assert [moved.to_state for moved in Transition.objects.of(ours)] == ["SUCCESS"]
    assert [moved.to_state for moved in Transition.objects.of(order)].count("DONE") == 1
    assert not Operation.objects.of(order).open().exists()
    assert not Discrepancy.objects.exists()


def kill_while_answering(world, path, happened, action, **arguments):
    """Another process does that; kill it once WeChat Pay did what it was asked and before it answers."""
    world.sandbox.fault("slow", path, method="POST", seconds=60)
    process = world.actor(action, **arguments)
    wait_until(happened, "WeChat Pay to do it")
    process.kill()
    world.sandbox.forget_faults()


def end_what_is_open():
    time_passes(seconds=300)
    operations.send_due()


# Killed after WeChat Pay did it, before we wrote it


@pytest.mark.scenario("S27")
def test_a_signing_killed_while_wechat_pay_answers_is_found_unsigned_and_renewed(world):
    """Its package was in the lost answer, and no query tells it: another sign plan takes its place."""
    plan = world.plan(10000)

    def opened():
        row = SignPlan.objects.first()
        return row and world.sandbox.sign_plan(row)

    kill_while_answering(world, SIGN_PLANS, opened, "sign_plan", plan=plan.pk, reference="course 42")
    lost = SignPlan.objects.get()
    assert (lost.state, lost.package) == ("PLANNED", "")

    end_what_is_open()
    again = sign_plans.sign(plan, openid="o-killed", reference="course 42")
    assert (again.pk, again.state, again.can_launch) == (lost.pk, "UNSIGNED", False)
    assert world.sandbox.calls("POST", SIGN_PLANS, lost.number) == 1  # it was found out, not asked again
    renewed = sign_plans.renew(again)
    assert renewed.can_launch
    world.confirm(renewed)
    assert sign_plans.sync(renewed).state == "SIGNED"
    end_what_is_open()
    assert sign_plans.sync(lost).state in ("UNSIGNED", "LAPSED")  # WeChat Pay cancels only what is signed
    assert not Operation.objects.open().exists()


@pytest.mark.scenario("S27")
def test_a_start_killed_while_wechat_pay_answers_is_found_in_use_and_asked_once(world):
    sign_plan = world.signed_plan(10000, 5000)

    def begun():
        row = ServiceOrder.objects.first()
        return row and world.sandbox.service_order(row)

    kill_while_answering(world, START, begun, "start_service", sign_plan=sign_plan.pk, reference="lesson 1")
    order = ServiceOrder.objects.get()
    assert order.state == "PLANNED"

    end_what_is_open()
    order.refresh_from_db()
    assert order.is_running
    assert not Operation.objects.of(order).open().exists()
    assert world.sandbox.calls("POST", START, order.out_order_no) == 1
    assert service_orders.start(sign_plan, reference="lesson 1").pk == order.pk


DEEDS = {
    "complete": ("complete", "DONE"),
    "cancel": ("cancel", "REVOKED"),
    "report_paid": ("sync", "DONE"),
}


@pytest.mark.scenario("S27")
@pytest.mark.parametrize("does", DEEDS)
def test_what_was_done_to_a_service_order_is_found_though_its_process_was_killed(world, does):
    path, state = DEEDS[does]
    order = collecting(world) if does == "report_paid" else world.started(world.signed_plan(10000))
    before = (order.state, order.state_description)
    target = f"{SERVICE_ORDERS}/{order.out_order_no}/{path}"
    kill_while_answering(
        world,
        target,
        lambda: world.sandbox.service_order(order)["state"] == state,
        "on_service",
        order=order.pk,
        does=does,
    )
    order.refresh_from_db()
    assert (order.state, order.state_description) == before

    end_what_is_open()
    order.refresh_from_db()
    assert order.state == state
    assert not Operation.objects.of(order).open().exists()
    assert world.sandbox.calls("POST", target) == 1  # it was found out, not asked again
    assert order.orders.count() == (does == "complete")
    if does == "complete":
        paid_once(world, order)


POINTS = {
    "operations.send:before": 0,  # written down, not sent
    "operations._claim:after": 0,  # about to be sent
    "operations._answered:before": 1,  # answered
    "outcomes.finish:after": 1,  # recorded, not committed
    "operations._answered:after": 1,  # recorded
}


@pytest.mark.scenario("S26")
@pytest.mark.scenario("S27")
def test_a_completion_killed_at_any_point_ends_paid_once(world):
    running = {point: world.started(world.signed_plan(10000)) for point in POINTS}
    killed = [
        world.actor("on_service", order=order.pk, does="complete", dies=point) for point, order in running.items()
    ]
    for process in killed:
        process.wait_for_death()
    for point, order in running.items():
        paid = world.sandbox.service_order(order)["state"] == "DONE"
        assert paid == bool(POINTS[point]), point

    for _ in range(2):  # what was sent again is asked about once more
        end_what_is_open()
        service_orders.poll()
    for order in running.values():
        paid_once(world, order)
        assert world.sandbox.calls("POST", f"{SERVICE_ORDERS}/{order.out_order_no}/complete") == 1


# Many at once


@pytest.mark.scenario("S29")
def test_a_task_that_runs_many_times_at_once_starts_and_collects_one_service(world):
    sign_plan = world.signed_plan(10000, 5000)
    start = functools.partial(service_orders.start, sign_plan, reference="lesson 1")
    begun = returned(at_once(*[start] * AT_A_TIME))
    assert {order.pk for order in begun} == {ServiceOrder.objects.get().pk}
    end_what_is_open()
    order = service_orders.sync(begun[0])

    complete = functools.partial(service_orders.complete, order, reference="form 1")
    at_once(*[complete] * AT_A_TIME)
    end_what_is_open()
    service_orders.sync(order)
    paid_once(world, order)
    assert Operation.objects.of(order).filter(action="COMPLETE").count() == 1
    assert world.sandbox.calls("POST", f"{SERVICE_ORDERS}/{order.out_order_no}/complete") == 1


@pytest.mark.scenario("S02")
def test_twenty_copies_of_a_payment_at_once_are_acknowledged_and_booked_once(world):
    shops = [world.shop(merchant="mainland"), world.shop(merchant="mainland")]
    order = collecting(world)
    pay(world, order)
    letter = world.letter("PAYSCORE.USER_PAID")
    answers = returned(at_once(*(functools.partial(letter.post_to, shops[n % 2].url) for n in range(COPIES))))

    assert [status for status, _ in answers] == [200] * COPIES
    assert all(json.loads(text) == {"code": "SUCCESS", "message": "OK"} for _, text in answers)
    kept = Notification.objects.get()
    assert (kept.state, kept.attempts) == ("PROCESSED", COPIES)
    paid_once(world, order)


@pytest.mark.scenario("S46")
def test_a_notification_and_a_poll_at_the_same_moment_book_the_payment_once(world):
    for _ in range(4):
        order = collecting(world)
        pay(world, order)
        letter = world.letter("PAYSCORE.USER_PAID")
        receive = functools.partial(notifications.receive, "mainland", letter.headers, letter.body)
        returned(at_once(receive, functools.partial(service_orders.sync, order)))
        paid_once(world, order)
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}


@pytest.mark.scenario("S46")
def test_a_signature_and_a_poll_at_the_same_moment_sign_once(world):
    for _ in range(4):
        sign_plan = sign_plans.sign(world.plan(10000), openid=world.name("o-user"))
        world.confirm(sign_plan)
        letter = world.letter("PAYSCORE.USER_SIGN_PLAN")
        receive = functools.partial(notifications.receive, "mainland", letter.headers, letter.body)
        returned(at_once(receive, functools.partial(sign_plans.sync, sign_plan)))
        sign_plan.refresh_from_db()
        assert sign_plan.state == "SIGNED"
        assert [moved.to_state for moved in Transition.objects.of(sign_plan)].count("SIGNED") == 1


@pytest.mark.scenario("S45")
def test_pollers_of_several_processes_at_once_ask_about_each_service_order_once(world):
    orders = [collecting(world) for _ in range(4)]
    time_passes(seconds=3600)
    before = {order.pk: world.sandbox.calls("GET", SERVICE_ORDERS, order.out_order_no) for order in orders}
    processes = [world.actor("poll_service_orders") for _ in range(2)]
    returned(at_once(*[service_orders.poll] * 2))
    for process in processes:
        process.result()
    for order in orders:
        assert world.sandbox.calls("GET", SERVICE_ORDERS, order.out_order_no) == before[order.pk] + 1


# Paid elsewhere, or by the deduction, or both


def report(order):
    return service_orders.report_paid(order, paid_time=timezone.now())


def settle(order):
    end_what_is_open()
    return service_orders.sync(order)


@pytest.mark.scenario("S69")
def test_reported_as_paid_while_the_user_pays_on_the_phone_it_ends_once_and_the_books_tell_by_which(world):
    for _ in range(4):
        order = collecting(world)
        at_once(functools.partial(report, order), functools.partial(pay, world, order))
        order = settle(order)
        theirs = world.sandbox.service_order(order)["collection"]["details"]
        assert order.state == "DONE" and order.is_paid
        assert [moved.to_state for moved in Transition.objects.of(order)].count("DONE") == 1
        collected = [one["transaction_id"] for one in theirs if "transaction_id" in one]
        assert list(order.orders.values_list("transaction_id", flat=True)) == collected
        told = Discrepancy.objects.filter(kind="PAID_TWICE", object_id=order.pk).count()
        reported = Operation.objects.of(order).filter(action="REPORT_PAID").exists()
        assert told == bool(collected and reported)


@pytest.mark.scenario("S69")
def test_a_deduction_that_won_beside_a_report_is_told_as_paid_twice_and_can_be_refunded(world):
    order = settle(report(collecting(world, PAID_TWICE)))
    [collected] = order.orders.all()
    assert order.state == "DONE" and collected.refundable_amount == PAID_TWICE
    told = Discrepancy.objects.get()
    assert (told.kind, told.state) == ("PAID_TWICE", "OPEN")


@pytest.mark.scenario("S69")
def test_opposite_without_its_check_a_second_payment_is_told_to_nobody(world, monkeypatch):
    weaken.take_out("paid_twice", put=monkeypatch.setattr)
    order = settle(report(collecting(world, PAID_TWICE)))
    details = world.sandbox.service_order(order)["collection"]["details"]
    assert [one["amount"] for one in details] == [PAID_TWICE, PAID_TWICE]
    assert not Discrepancy.objects.exists()


# The database gives a transaction up after the call


@pytest.mark.scenario("S34")
@pytest.mark.parametrize("does", ["start", "complete"])
def test_a_deadlock_after_the_call_records_again_and_calls_once(world, does):
    sign_plan = world.signed_plan(10000)
    order = world.started(sign_plan) if does == "complete" else None
    with connection.execute_wrapper(Trouble(ServiceOrder, 1, skip=0 if order else 1)):
        if order:
            service_orders.complete(order)
        else:
            order = service_orders.start(sign_plan, reference="lesson 1")
            assert order.is_running
    settle(order)
    path = f"{SERVICE_ORDERS}/{order.out_order_no}/complete" if does == "complete" else START
    assert world.sandbox.calls("POST", path, order.out_order_no) == 1
    assert not Operation.objects.of(order).open().exists()


@pytest.mark.scenario("S34")
def test_deadlocks_without_end_after_the_call_leave_a_completion_to_a_query(world):
    order = world.started(world.signed_plan(10000))
    with connection.execute_wrapper(Trouble(ServiceOrder, 1000)), pytest.raises(OperationalError):
        service_orders.complete(order)
    order.refresh_from_db()
    assert order.is_running

    settle(order)
    paid_once(world, order)
    assert world.sandbox.calls("POST", f"{SERVICE_ORDERS}/{order.out_order_no}/complete") == 1
