"""Hints to the workers: sent by a thread, after the commit, to the shop's own broker."""

import os
import threading
import time

import pytest
from celery import Celery
from django.db import transaction

from django_wxpay.engine import queue

pytestmark = pytest.mark.django_db(transaction=True)


class Broker(Celery):
    """An app that keeps what it is asked to queue; it may be slow or broken."""

    def __init__(self, name="shop", *, seconds=0, error=None):
        super().__init__(name, broker="memory://", set_as_current=False)
        self.queued, self.seconds, self.error = [], seconds, error

    def send_task(self, name, **options):
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        self.queued.append((name, threading.current_thread().name))


@pytest.fixture
def use(monkeypatch):
    monkeypatch.setattr(queue, "_quiet_until", 0.0)

    def put(app):
        monkeypatch.setattr(queue, "_app", lambda: app)
        return app

    yield put
    assert queue.wait(10)


def test_task_is_queued_by_its_name_after_the_commit(use):
    app = use(Broker())
    with transaction.atomic():
        queue.after_commit("send_operations")
        assert queue.wait(1) and app.queued == []

    assert queue.wait(5)
    assert app.queued == [("django_wxpay.tasks.send_operations", "wxpay-queue")]


def test_nothing_is_queued_when_the_transaction_rolls_back_or_no_worker_is_wanted(use):
    app = use(Broker())
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        queue.after_commit("send_operations")
        raise ZeroDivisionError
    queue.after_commit("send_operations", unless=lambda: True)

    assert queue.wait(5)
    assert app.queued == []


def test_many_hints_while_the_broker_is_slow_are_few_messages_and_hold_up_nobody(use):
    app = use(Broker(seconds=0.2))
    started = time.monotonic()
    for _ in range(100):
        queue.after_commit("send_operations")
        queue.after_commit("deliver_transitions")

    assert time.monotonic() - started < 0.2
    assert queue.wait(5)
    assert len(app.queued) <= 4


@pytest.mark.scenario("S24")
def test_broken_broker_is_left_alone_for_a_while(use, caplog):
    app = use(Broker(error=OSError("out of reach")))
    queue.after_commit("send_operations")
    assert queue.wait(5)
    app.error = None
    queue.after_commit("deliver_transitions")
    assert queue.wait(5)

    assert app.queued == []
    assert caplog.text.count("could not queue") == 1


def test_threads_of_a_server_use_the_app_that_was_current_at_start(monkeypatch):
    found = []
    nameless, shops = Celery("default", set_as_current=False), Celery("shop", set_as_current=False)
    monkeypatch.setattr(queue, "_app_at_start", shops)
    monkeypatch.setattr("celery._state.default_app", nameless)
    monkeypatch.setattr("celery._state._tls.current_app", None)
    thread = threading.Thread(target=lambda: found.append(queue._app()))
    thread.start()
    thread.join()

    assert found == [shops]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_can_enqueue_too(use):
    app = use(Broker(seconds=0.3))
    queue.after_commit("send_operations")  # the parent's thread is at work, and is not in the child
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        app.seconds = 0
        queue._hint("poll_orders", None)
        queue.wait(5)
        os.write(write, repr(app.queued).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert "poll_orders" in answer.read()
