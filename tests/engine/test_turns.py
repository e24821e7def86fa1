"""One process at a time does a kind of work; what piled up costs next to nothing, and no hint is lost."""

import time
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_wxpay import tasks
from django_wxpay.engine import queue, turns
from django_wxpay.models import Order, Turn
from django_wxpay.services import orders

pytestmark = pytest.mark.django_db


@pytest.fixture
def queued(monkeypatch):
    """The names of tasks that were queued again."""
    names = []
    monkeypatch.setattr(queue, "after_commit", lambda task, **options: names.append(task))
    return names


def take(work=lambda: "done", **options):
    return turns.run("tea", work, **{"hold_seconds": 60} | options)


def rest():
    """A second and more has passed since the last one ended."""
    Turn.objects.update(ended_at=timezone.now() - timedelta(seconds=2))


@pytest.mark.parametrize("hinted", [False, True])
def test_a_tick_that_comes_while_its_kind_is_at_work_returns_at_once(queued, hinted):
    assert take(lambda: ("outer", take(hinted=hinted))) == ("outer", None)


def test_other_kinds_are_not_held_up(queued):
    assert take(lambda: turns.run("coffee", lambda: "too", hold_seconds=60)) == "too"


def test_a_hint_that_comes_meanwhile_is_queued_again_at_the_end_and_once(queued):
    take(lambda: [take(hinted=True) for _ in range(5)])
    assert queued == ["tea"]
    assert take(hinted=True) == "done"
    assert queued == ["tea"]


def test_a_tick_of_the_clock_that_comes_meanwhile_is_not(queued):
    take(take)
    assert queued == []


def test_right_after_the_end_a_tick_is_a_stale_one_but_a_hint_is_news(queued):
    assert take() == "done"
    assert take() is None
    assert take(hinted=True) == "done"
    rest()
    assert take() == "done"


def test_a_turn_is_given_back_when_the_work_raises(queued):
    with pytest.raises(ZeroDivisionError):
        take(lambda: 1 / 0)
    assert take(hinted=True) == "done"


def test_a_holder_that_was_killed_loses_its_turn_when_its_time_is_over(queued):
    assert turns._take("tea", 60, False)
    assert take() is None
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=False):
        assert take() == "done"


def test_a_holder_that_took_too_long_does_not_give_back_the_turn_of_the_next(queued):
    def slow():
        Turn.objects.update(held_until=timezone.now() - timedelta(seconds=1))
        assert turns._take("tea", 60, True)

    take(slow)
    assert Turn.objects.get().held_until is not None


def test_hundreds_of_stale_ticks_cost_next_to_nothing(wxpay_sandbox, queued):
    contract = wxpay_sandbox.signed_contract()
    order = orders.deduct(contract, amount=6_660_011, currency="HKD", description="x", reference="r")
    Order.objects.filter(pk=order.pk).update(next_poll_at=timezone.now())
    with time_machine.travel(timezone.now(), tick=False):
        assert tasks.poll_orders() == 1
        Order.objects.filter(pk=order.pk).update(next_poll_at=timezone.now())
        before, started = len(wxpay_sandbox.calls), time.process_time()
        with CaptureQueriesContext(connection) as statements:
            assert sum(tasks.poll_orders() for _ in range(500)) == 0
    assert len(wxpay_sandbox.calls) == before
    assert len(statements) <= 1000
    assert time.process_time() - started < 5
