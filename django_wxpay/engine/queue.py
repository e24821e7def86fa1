"""Enqueue a Celery task after the commit. Only a hint: beat does the same later, truth lies in rows.

A thread speaks to the broker. One that is out of reach holds its caller for seconds (refused: Redis' client tries ten
times) or minutes (no answer), and WeChat Pay waits five seconds for an acknowledgement.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, current_app

from . import transactions

logger = logging.getLogger(__name__)
QUIET_SECONDS = 30  # after a broker's failure nobody tries it again so soon
EXPIRES_SECONDS = 60  # a hint that waited so long is needless: beat has done it, or does it now
EXIT_SECONDS = 2  # a process that ends waits that long for a hint to leave

# Celery's current app is that of the thread it was made in, unless the shop called `set_default()`. A server's other
# threads would get a nameless one that knows no broker.
_app_at_start = current_app._get_current_object()

_lock = threading.Lock()
_wanted: set[tuple[Celery, str]] = set()  # (app, task): many hints at once are one message
_thread: threading.Thread | None = None
_quiet_until = 0.0


def after_commit(task: str, unless: Callable[[], Any] | None = None) -> None:
    """Queue the task of that name (`django_wxpay.tasks.…`) once the present transaction is committed.

    unless: asked then; when true, nothing is queued.
    """
    transactions.on_commit(lambda: _hint(task, unless))


def _hint(task: str, unless: Callable[[], Any] | None) -> None:
    global _thread
    if (unless is not None and unless()) or time.monotonic() < _quiet_until:
        return
    with _lock:
        _wanted.add((_app(), task))
        if _thread is None:
            _thread = threading.Thread(target=_queue_all, name="wxpay-queue", daemon=True)
            _thread.start()


def _app() -> Celery:
    app = current_app._get_current_object()
    is_nameless = app.main == "default" and not app.set_as_current
    return _app_at_start if is_nameless else app


def _queue_all() -> None:
    """The thread: it ends when nothing is wanted any more."""
    global _thread
    while True:
        with _lock:
            if not _wanted:
                _thread = None
                return
            app, task = _wanted.pop()
        _queue(app, task)


def _queue(app: Celery, task: str) -> None:
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        name, hinted = f"django_wxpay.tasks.{task}", {"hinted": True}
        app.send_task(name, kwargs=hinted, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except Exception as error:  # whatever the broker does, the caller's work is committed and beat will do the rest
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("could not queue task=%s error=%s: beat will do it", task, type(error).__name__)


def wait(seconds: float) -> bool:
    """Wait until the hints are with the broker, at most that long; returns whether they are."""
    thread = _thread
    if thread is not None:
        thread.join(seconds)
    return _thread is None


def _after_fork() -> None:
    global _lock, _thread
    _lock, _thread = threading.Lock(), None
    _wanted.clear()


atexit.register(wait, EXIT_SECONDS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
