"""What a test takes out to show that the bad thing then happens: each defence by its name."""

import contextlib
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import QuerySet

from django_wxpay.client import keyring
from django_wxpay.engine import holds, operations, polling, remote, transactions, turns
from django_wxpay.models import Operation, Order
from django_wxpay.models.base import WireObjectQuerySet
from django_wxpay.services import certificates
from django_wxpay.services.service_orders import payments


def _row_locks(put):
    put(QuerySet, "select_for_update", lambda rows, **options: rows.all())


def _old_state(put):
    """State changes carry their old state in the WHERE: not any more."""
    original = WireObjectQuerySet.filter

    def without_state(rows, *conditions, **wanted):
        if set(wanted) == {"pk", "state"}:
            del wanted["state"]
        return original(rows, *conditions, **wanted)

    put(WireObjectQuerySet, "filter", without_state)


def _refresh_window(put):
    """At most one refresh of certificates a minute: not any more."""
    put(certificates, "_win_refresh", lambda merchant: True)
    put(keyring, "PAUSE_SECONDS", 0.0)


def _refund_cap(put):
    """The cap is one conditional UPDATE: now it is read, looked at and written."""

    def reserve(order, amount):
        reserved = Order.objects.values_list("refund_reserved", flat=True).get(pk=order.pk)
        if reserved + amount > order.amount_total:
            return False
        Order.objects.filter(pk=order.pk).update(refund_reserved=reserved + amount)
        order.refund_reserved = reserved + amount
        return True

    put(Order, "reserve_refund", reserve)


def _till_lease(put):
    """Whoever advances an order holds it meanwhile: not any more."""
    put(polling, "LEASE", timedelta(0))


def _writing_first(put):
    """What is asked is committed before it is sent: now one transaction holds it all."""
    carry_out = operations.carry_out

    def in_one_transaction(*args, **asked):
        with transaction.atomic():
            return carry_out(*args, **asked)

    def joined(work, use):
        with transaction.atomic():
            return work()

    put(operations, "carry_out", in_one_transaction)
    put(transactions, "_run_once", joined)
    put(transactions, "refuse_inside", lambda use: None)


def _attempt(put):
    """What a sender writes back counts for its own attempt: now for whichever is there."""
    put(holds, "held", lambda operation: Operation.objects.open().filter(pk=operation.pk))


def _earlier_attempts(put):
    """The proof of one attempt leaves open what became of earlier ones: now it is a proof about all."""
    begin = holds.begin

    def forgetful(operation, claimed):
        begin(operation, claimed)
        operation.busy_before = None

    put(holds, "begin", forgetful)


def _turns(put):
    """One process at a time does a kind of background work: not any more."""
    put(turns, "run", lambda kind, work, **options: work())


def _patience(put):
    """Polls and sending end after seconds and leave a silent merchant alone: not any more."""
    put(remote.Batch, "is_over", False)
    put(remote.Batch, "may_call", lambda batch, mchid: True)
    put(remote.Batch, "note", lambda batch, mchid, error: None)
    put(remote, "slow_down", lambda *known: None)


def _paid_twice(put):
    """Who paid twice is told to a person: not any more."""
    put(payments, "tell_if_paid_twice", lambda row: None)


DEFENCES = {
    "paid_twice": _paid_twice,
    "attempt": _attempt,
    "earlier_attempts": _earlier_attempts,
    "turns": _turns,
    "patience": _patience,
    "row_locks": _row_locks,
    "old_state": _old_state,
    "refresh_window": _refresh_window,
    "refund_cap": _refund_cap,
    "till_lease": _till_lease,
    "writing_first": _writing_first,
}


def take_out(*names, put=setattr):
    """Take out these defences of this process; `put` may be a monkeypatch's."""
    for name in names:
        DEFENCES[name](put)


@contextlib.contextmanager
def without_constraint(model, name):
    """The database without one of its constraints, and without the model's rows afterwards."""
    constraint = next(one for one in model._meta.constraints if one.name == name)
    with connection.schema_editor() as editor:
        editor.remove_constraint(model, constraint)
    try:
        yield
    finally:
        model.objects.all().delete()
        with connection.schema_editor() as editor:
            editor.add_constraint(model, constraint)
