"""How services open transactions: durably, and again when the database asks for it."""

import random
import time

from django.db import OperationalError, connection, transaction

from ..exceptions import CalledInTransaction

TRIES = 3
# PostgreSQL: serialization failure, deadlock, lock wait timeout. MariaDB/MySQL: lock wait timeout, deadlock.
REPEATABLE = {"40001", "40P01", "55P03", 1205, 1213}


def run(work, *, use="the plan_… half of this service"):
    """Run `work()` in a transaction of its own and return what it returns.

    A serialization failure, deadlock or lock timeout runs it again, up to 3 times: `work` must send nothing. Raises
    CalledInTransaction, naming `use`, inside an open transaction.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return _run_once(work, use)
        except OperationalError as error:
            if attempt == TRIES or not is_repeatable(error):
                raise
            time.sleep(random.uniform(0.01, 0.05) * attempt)


def refuse_inside(use):
    """Raise CalledInTransaction, naming `use`, inside an open transaction (a test case's own does not count)."""
    blocks = connection.atomic_blocks
    if blocks and not blocks[-1]._from_testcase:
        raise CalledInTransaction(use)


def _run_once(work, use):
    refuse_inside(use)
    with transaction.atomic(durable=True):
        return work()


def is_repeatable(error):
    """Whether the database gave up one of two transactions, so that the same may succeed now."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)  # psycopg 3, psycopg 2
    code = state or (cause.args[0] if cause is not None and cause.args else None)
    return code in REPEATABLE
