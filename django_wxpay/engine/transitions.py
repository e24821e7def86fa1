"""What became true: recorded with the change, then told to the shop's receivers, in order per object."""

import logging
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from .. import conf, signals
from ..models import SUBJECTS, Contract, Order, Refund, Transition
from . import failures, queue

logger = logging.getLogger(__name__)
PAID, DEAD = Order.PAID, Order.DEAD


def _contract_signal(old, new):
    return {
        Contract.State.SIGNED: signals.contract_signed,
        Contract.State.TERMINATED: signals.contract_terminated,
    }.get(new)


def _order_signal(old, new):
    if new in PAID and old not in PAID:
        return signals.order_paid
    if new in DEAD and old not in DEAD:
        return signals.order_closed
    return None


def _refund_signal(old, new):
    if new == Refund.State.SUCCESS:
        return signals.refund_succeeded
    if new in (Refund.State.CLOSED, Refund.State.ABNORMAL, Refund.State.REFUSED):
        return signals.refund_failed
    return None


SIGNALS = {
    "contract": _contract_signal,
    "order": _order_signal,
    "refund": _refund_signal,
    "discrepancy": lambda old, new: signals.discrepancy_found if not old else None,
}
ALL_SIGNALS = [value for value in vars(signals).values() if isinstance(value, signals.Signal)]


def record(row, old, *, source, evidence="", note="", user=None):
    """Write that `row` came from state `old` to its present one; receivers hear of it after the commit."""
    transition = Transition.objects.create(
        merchant=row.merchant,
        subject=row.subject,
        object_id=row.pk,
        from_state=old,
        to_state=row.state,
        source=source,
        evidence=evidence,
        note=note,
        user=user,
    )
    if any(signal.has_listeners(type(row)) for signal in ALL_SIGNALS):
        queue.after_commit("deliver_transitions")
    return transition


def deliver_due(limit=500):
    """Tell receivers of up to `limit` transitions whose turn has come; returns how many were delivered."""
    delivered = 0
    for _ in range(limit):
        delivered_one = _deliver_next()
        if delivered_one is None:
            break
        delivered += delivered_one
    return delivered


def deliver_again(transition):
    """Take a parked or waiting transition out of turn of its back-off; returns whether it was delivered."""
    Transition.objects.undelivered().filter(pk=transition.pk).update(deliver_after=timezone.now(), delivery_attempts=0)
    return bool(_deliver_next(pk=transition.pk))


def _deliver_next(**only):
    """Deliver one: True, False when a receiver raised, None when none is due.

    The receivers' writes and `delivered_at` commit together or not at all.
    """
    failing = None
    try:
        with transaction.atomic(durable=True):
            turn = Transition.objects.deliverable().filter(**only).order_by("deliver_after", "pk")
            failing = transition = turn.select_for_update(skip_locked=True).first()
            if transition is None:
                return None
            # Another worker may have delivered it between our reading and our lock.
            if transition.delivered_at is not None:
                return False
            _send(transition)
            Transition.objects.filter(pk=transition.pk).update(
                delivered_at=timezone.now(), deliver_after=None, delivery_error=""
            )
            return True
    except Exception as error:
        if failing is None:
            raise
        _put_off(failing, error)
        return False


def _send(transition):
    row = SUBJECTS[transition.subject].objects.get(pk=transition.object_id)
    named = SIGNALS[transition.subject](transition.from_state, transition.to_state)
    for signal in (signals.state_changed, named):
        if signal is not None:
            signal.send(sender=type(row), row=row, transition=transition)


def _put_off(transition, error):
    attempts = transition.delivery_attempts + 1
    parked = attempts >= conf.setting("DELIVERY_ATTEMPTS")
    later = None if parked else timezone.now() + timedelta(seconds=min(2**attempts, 3600))
    Transition.objects.undelivered().filter(pk=transition.pk).update(
        delivery_attempts=attempts,
        deliver_after=later,
        delivery_error=failures.headline(error),
    )
    failures.log(logger, error, "receiver failed transition=%s attempts=%s parked=%s", transition.pk, attempts, parked)
