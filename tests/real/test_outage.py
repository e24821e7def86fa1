"""Somebody is slow: WeChat Pay never answers, or a receiver takes half a minute. Everything else keeps its rhythm.

The worker is Celery's own, with two processes and beat.
"""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.engine import transitions
from django_wxpay.engine.numbers import new_number
from django_wxpay.models import MerchantState, Operation, Order, Source, Transition
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract, make_order
from tests.celery_app import app
from tests.real.world import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

USUAL_SECONDS = 13  # a tick is five; the machine is busy
READ_SECONDS = 4
QUERIES = "/v3/global/papay/transactions/out-trade-no"


@pytest.fixture
def two_merchants(world, settings):
    """`world` with a second merchant, and with less patience for each answer."""
    world.add_institution(READ_TIMEOUT_SECONDS=READ_SECONDS)
    settings.WXPAY = world.settings
    app.control.purge()
    return world


def with_worker(world, story, **options):
    """Run the story beside a worker, which is killed in the middle of whatever it does then."""
    worker = world.worker(**options)
    try:
        return story()
    finally:
        world.kill_at_the_end(worker)
        world.sandbox.tell("release")
        app.control.purge()


def happens(conditions, seconds=USUAL_SECONDS):
    """Which of the conditions come true within those seconds: {name: bool}."""
    found, end = dict.fromkeys(conditions, False), time.monotonic() + seconds
    while not all(found.values()) and time.monotonic() < end:
        time.sleep(0.1)
        found |= {name: True for name, is_true in conditions.items() if not found[name] and is_true()}
    return found


def hundreds_of_due_orders(contract):
    own = {name: getattr(contract, name) for name in ("merchant", "mchid", "sub_mchid", "appid", "sub_appid")}
    known = {"product": "PAPAY", "amount_total": 100, "currency": "HKD", "description": "x", "state": "USERPAYING"}
    past = timezone.now() - timedelta(minutes=1)
    Order.objects.bulk_create(
        Order(**own, **known, contract=contract, reference=str(n), out_trade_no=new_number(), next_poll_at=past)
        for n in range(300)
    )


def delivered(transition):
    return lambda: Transition.objects.filter(pk=transition.pk, delivered_at__isnull=False).exists()


def in_state(row, state):
    return lambda: type(row).objects.filter(pk=row.pk, state=state).exists()


def during_an_outage(world):
    """WeChat Pay is silent about one merchant, and hundreds of its orders are due. What else goes on?"""
    hundreds_of_due_orders(make_contract())
    world.sandbox.fault("silent", QUERIES, times=-1, mchid=make_contract().mchid, seconds=30)
    other = world.signed_contract(merchant="institution")
    for _ in range(500):  # what a scheduler that forgets `expires` leaves behind a worker that stood still
        app.send_task("django_wxpay.tasks.poll_orders", ignore_result=True)

    def story():
        wait_until(lambda: world.sandbox.calls("GET", f"{QUERIES}/"))
        time.sleep(READ_SECONDS)  # the outage is old enough to have taken whom it can
        heard = transitions.record(make_order(), "CREATED", source=Source.NOTIFICATION)
        order = orders.plan_deduction(other, amount=100, currency="HKD", description="x", reference="now")
        asked = {"plan_id": 12345, "openid": "o-other", "user_display_name": "Wu", "merchant": "institution"}
        signing = Operation.objects.of(contracts.plan_signing(**asked))
        return happens(
            {
                "receivers heard": delivered(heard),
                "the other merchant was charged": in_state(order, "SUCCESS"),
                "its contract got a session": signing.filter(state="DONE").exists,
            }
        )

    return story


@pytest.mark.scenario("S60")
def test_while_wechat_pay_never_answers_about_one_merchant_all_else_keeps_its_rhythm(two_merchants):
    found = with_worker(two_merchants, during_an_outage(two_merchants))
    assert all(found.values()), found
    state = MerchantState.objects.get(slow_reason="NO_ANSWER")
    assert state.slow_until < timezone.now() + timedelta(minutes=2)
    assert two_merchants.sandbox.calls("GET", f"{QUERIES}/") < 30


@pytest.mark.scenario("S60")
def test_opposite_without_turns_and_patience_an_outage_of_one_would_be_everybodys(two_merchants):
    found = with_worker(two_merchants, during_an_outage(two_merchants), without=["turns", "patience"])
    assert not found["receivers heard"]


def while_a_receiver_sleeps(world):
    """A receiver takes 30 s for each of many payments. What else goes on?"""
    for _ in range(10):
        transitions.record(make_order(), "CREATED", source=Source.NOTIFICATION)
    contract = world.signed_contract()
    waiting = world.signed_contract()
    type(waiting).objects.filter(pk=waiting.pk).update(next_poll_at=None, synced_at=None)

    def story():
        time.sleep(12)  # two ticks of deliveries and more
        order = orders.plan_deduction(contract, amount=100, currency="HKD", description="x", reference="now")
        type(waiting).objects.filter(pk=waiting.pk).update(next_poll_at=timezone.now())
        polled = type(waiting).objects.filter(pk=waiting.pk, synced_at__isnull=False)
        return happens({"it was charged": in_state(order, "SUCCESS"), "it was polled": polled.exists})

    return story


@pytest.mark.scenario("S61")
def test_while_a_receiver_sleeps_for_each_of_many_payments_all_else_keeps_its_rhythm(two_merchants, row_locks):
    found = with_worker(two_merchants, while_a_receiver_sleeps(two_merchants), sleeps=30)
    assert all(found.values()), found


@pytest.mark.scenario("S61")
def test_opposite_without_turns_a_receiver_that_sleeps_would_be_everybodys(two_merchants, row_locks):
    found = with_worker(two_merchants, while_a_receiver_sleeps(two_merchants), sleeps=30, without=["turns"])
    assert not found["it was polled"]
