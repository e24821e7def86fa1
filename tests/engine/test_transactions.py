"""Transactions of ours: run again only where the database gave one of two up, and only what has sent nothing."""

import pytest
from django.db import DataError, IntegrityError, OperationalError

from django_wxpay.engine import transactions
from django_wxpay.models import Operation

pytestmark = pytest.mark.django_db


def broken(kind, cause=None):
    """Work that fails each time, and how often it was tried."""
    tried = []

    def work():
        tried.append(Operation.objects.count())
        raise kind("the database says no") from cause

    return work, tried


def given_up(state):
    """As psycopg says that the database gave one of two transactions up."""
    error = Exception("deadlock detected")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    "cause", [given_up("40001"), given_up("40P01"), given_up("55P03"), Exception(1213), Exception(1205)]
)
def test_what_the_database_gave_up_is_run_three_times_and_no_more(cause):
    work, tried = broken(OperationalError, cause)
    with pytest.raises(OperationalError):
        transactions.run(work)
    assert len(tried) == transactions.TRIES == 3


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (OperationalError, None),
        (OperationalError, given_up("57014")),  # a statement's time-out
        (OperationalError, given_up("08006")),  # the connection is gone: the commit may have arrived
        (OperationalError, Exception(2013)),
        (IntegrityError, given_up("23505")),
        (DataError, given_up("22001")),
        (ZeroDivisionError, None),
    ],
)
def test_whatever_else_goes_wrong_is_tried_once(kind, cause):
    work, tried = broken(kind, cause)
    with pytest.raises(kind):
        transactions.run(work)
    assert len(tried) == 1


def test_the_second_try_counts():
    tried = []

    def work():
        tried.append(1)
        if len(tried) == 1:
            raise OperationalError from given_up("40001")
        return "done"

    assert transactions.run(work) == "done"
