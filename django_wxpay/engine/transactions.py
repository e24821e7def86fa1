"""How services open transactions: durably, and again when the database asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import DatabaseError, OperationalError, connections, router, transaction

from ..client.privacy import forget
from ..exceptions import CalledInTransaction
from ..models import Operation

TRIES = 3
# PostgreSQL: serialization failure, deadlock, lock wait timeout. MariaDB/MySQL: lock wait timeout, deadlock.
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])
REPEATABLE = {"40001", "40P01", "55P03", 1205, 1213}


def alias() -> str:
    """The database that our rows are written to, and read from: what the shop's routers name for `Operation`."""
    return router.db_for_write(Operation)


def atomic(**options: bool) -> transaction.Atomic:
    """`transaction.atomic` on the database of our rows."""
    return transaction.atomic(using=alias(), **options)


def on_commit(call: Callable[[], object]) -> None:
    """`transaction.on_commit` on the database of our rows; what `call` raises is logged."""
    transaction.on_commit(call, using=alias(), robust=True)


def outside(view: View) -> View:
    """A view that ATOMIC_REQUESTS leaves alone, on every database: services send in no transaction."""
    for name in connections:
        view = transaction.non_atomic_requests(using=name)(view)
    return view


def run(work: Callable[[], T], *, use: str = "the plan_… half of this service") -> T:
    """Run `work()` in a transaction of its own and return what it returns.

    A serialization failure, deadlock or lock timeout runs it again, up to 3 times: `work` must send nothing. Raises
    CalledInTransaction, naming `use`, inside an open transaction. A database's error carries no variables along: its
    driver holds whole statements in them, with all that they say of people.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return _run_once(work, use)
        except DatabaseError as error:
            if attempt == TRIES or not (isinstance(error, OperationalError) and is_repeatable(error)):
                forget(error)
                raise
            time.sleep(random.uniform(0.01, 0.05) * attempt)


def refuse_inside(use: str) -> None:
    """Raise CalledInTransaction, naming `use`, inside an open transaction (a test case's own does not count).

    On any database: what a shop rolls back elsewhere would not undo what WeChat Pay has done.
    """
    for connection in connections.all(initialized_only=True):
        blocks: list[Any] = connection.atomic_blocks
        if blocks and not blocks[-1]._from_testcase:
            raise CalledInTransaction(use)


def _run_once(work: Callable[[], T], use: str) -> T:
    refuse_inside(use)
    with atomic(durable=True):
        return work()


def is_repeatable(error: BaseException) -> bool:
    """Whether the database gave up one of two transactions, so that the same may succeed now."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)  # psycopg 3, psycopg 2
    code = state or (cause.args[0] if cause is not None and cause.args else None)
    return code in REPEATABLE
