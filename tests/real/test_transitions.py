"""What the shop's receivers hear when processes are killed, and when several workers deliver at once."""

from collections import Counter

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from django_wxpay import signals
from django_wxpay.engine import transitions
from django_wxpay.models import Order, Source, Transition
from django_wxpay.testing import make_contract, make_order
from tests.real import weaken
from tests.real.actor import write_into_database
from tests.real.world import at_once, returned, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

WORKERS = 4


@pytest.fixture
def receiver():
    """The receiver of `actor.deliver_due`, in this process."""

    def receive(sender, transition, **kwargs):
        write_into_database(transition)

    signals.state_changed.connect(receive)
    yield receive
    signals.state_changed.disconnect(receive)


def written():
    """How often the receiver's writes of each transition are in the database."""
    return Counter(int(key.partition("-")[0]) for key in Session.objects.values_list("session_key", flat=True))


def paid_orders(number):
    """Orders with a story of three transitions each; the transitions' numbers by order."""
    contract = make_contract()
    stories = {}
    for _ in range(number):
        order = make_order(contract=contract)
        for old, new in (("CREATED", "USERPAYING"), ("USERPAYING", "SUCCESS"), ("SUCCESS", "REFUND")):
            order.state = new
            transition = transitions.record(order, old, source=Source.QUERY)
            stories.setdefault(order.pk, []).append(transition.pk)
    return stories


@pytest.mark.scenario("S26")
def test_a_process_killed_while_a_receiver_runs_leaves_its_delivery_to_the_next(world, receiver, tmp_path):
    transition = transitions.record(make_order(), "CREATED", source=Source.QUERY)
    diary = tmp_path / "diary"
    worker = world.actor("deliver_due", diary=str(diary), sleeps=60)
    wait_until(diary.exists, "the receiver to have written")
    worker.kill()
    assert written() == {}

    wait_until(transitions.deliver_due, "the killed worker's lock to be gone")
    transition.refresh_from_db()
    assert transition.delivered_at is not None
    assert written() == {transition.pk: 1}
    assert transitions.deliver_due() == 0


@pytest.mark.scenario("S26")
@pytest.mark.parametrize(("point", "commits"), [("transitions._send:after", 0), ("transitions._deliver_next:after", 1)])
def test_a_process_killed_after_a_receiver_delivers_its_writes_exactly_once(world, receiver, tmp_path, point, commits):
    [numbers] = paid_orders(1).values()
    worker = world.actor("deliver_due", diary=str(tmp_path / "diary"), dies=point)
    worker.wait_for_death()
    assert written().total() == commits

    wait_until(lambda: transitions.deliver_due() or not Transition.objects.undelivered().exists())
    transitions.deliver_due()
    assert written() == dict.fromkeys(numbers, 1)


@pytest.mark.scenario("S45")
@pytest.mark.scenario("S25")
def test_workers_that_deliver_at_once_tell_everything_once_and_in_order(world):
    stories = paid_orders(12)
    delivered = []

    def receive(sender, row, transition, **kwargs):
        write_into_database(transition)
        delivered.append((row.pk, transition.pk))

    signals.state_changed.connect(receive, sender=Order)
    try:
        while Transition.objects.undelivered().exists():  # a worker that finds the rest in others' hands goes home
            returned(at_once(*[transitions.deliver_due] * WORKERS))
    finally:
        signals.state_changed.disconnect(receive, sender=Order)
    assert written() == {number: 1 for numbers in stories.values() for number in numbers}
    assert {order: [number for pk, number in delivered if pk == order] for order in stories} == stories
    assert not Transition.objects.undelivered().exists()


@pytest.mark.scenario("S45")
@pytest.mark.scenario("S25")
def test_workers_that_deliver_at_once_to_a_receiver_that_fails_now_and_then_leave_nothing_waiting(world):
    stories = paid_orders(8)
    delivered, failed = [], set()

    def receive(sender, row, transition, **kwargs):
        if transition.pk % 3 == 0 and transition.pk not in failed:
            failed.add(transition.pk)
            raise LookupError
        transaction.on_commit(lambda: delivered.append((row.pk, transition.pk)))  # some databases have it tried again

    signals.state_changed.connect(receive, sender=Order)
    try:
        for _ in range(8):
            returned(at_once(*[transitions.deliver_due] * WORKERS))
            Transition.objects.undelivered().filter(deliver_after__isnull=False).update(deliver_after=timezone.now())
    finally:
        signals.state_changed.disconnect(receive, sender=Order)
    assert {order: [number for pk, number in delivered if pk == order] for order in stories} == stories
    assert not Transition.objects.undelivered().exists()


@pytest.mark.scenario("S45")
def test_opposite_without_the_lock_workers_tell_some_of_it_twice(world, row_locks, receiver, monkeypatch):
    weaken.take_out("row_locks", put=monkeypatch.setattr)
    for _ in range(10):
        paid_orders(12)
        returned(at_once(*[transitions.deliver_due] * WORKERS))
        if max(written().values()) > 1:
            return
    pytest.fail("nothing was told twice")
