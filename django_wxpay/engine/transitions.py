"""What became true: recorded with the change, then told to the shop's receivers, in order per object."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.dispatch import Signal
from django.utils import timezone

from .. import conf, signals
from ..client.texts import clean
from ..models import SUBJECTS, Discrepancy, Transition
from . import failures, queue, registry, transactions

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

logger = logging.getLogger(__name__)
SOON = timedelta(seconds=1)
TURNS = ("delivered_at", "deliver_after", "pk")  # as their index: PostgreSQL does not see that the first is the same
ALL_SIGNALS = [value for value in vars(signals).values() if isinstance(value, signals.RowSignal)]


def record(
    row: Any, old: str, *, source: str, evidence: str = "", note: str = "", user: User | None = None
) -> Transition:
    """Write that `row` came from state `old` to its present one; receivers hear of it after the commit."""
    transition = Transition.objects.create(
        merchant=row.merchant,
        subject=row.subject,
        object_id=row.pk,
        from_state=old,
        to_state=row.state,
        source=source,
        evidence=clean(evidence),
        note=clean(note, 256),
        user=cast(Any, user),  # of the shop's own class
    )
    if any(signal.has_listeners(type(row)) for signal in ALL_SIGNALS):
        queue.after_commit("deliver_transitions")
    return transition


def deliver_due(limit: int = 500, seconds: float = 5) -> int:
    """Tell receivers of up to `limit` transitions whose turn has come; returns how many were delivered.

    seconds: after that nothing new is begun; a slow receiver is heard out.
    """
    delivered, ends = 0, time.monotonic() + seconds
    for _ in range(limit):
        if time.monotonic() >= ends:
            break
        delivered_one = _deliver_next()
        if delivered_one is None:
            break
        delivered += delivered_one
    return delivered


def deliver_again(transition: Transition) -> bool:
    """Take a parked or waiting transition out of turn of its back-off; returns whether it was delivered."""
    Transition.objects.undelivered().filter(pk=transition.pk).update(deliver_after=timezone.now(), delivery_attempts=0)
    return bool(_deliver_next(pk=transition.pk))


def _deliver_next(**only: Any) -> bool | None:
    """Deliver one: True, False when a receiver raised or an earlier one comes first, None when none is due.

    The receivers' writes and `delivered_at` commit together or not at all.
    """
    failing = None
    try:
        with transactions.atomic(durable=True):
            turn = Transition.objects.due().filter(**only).order_by(*TURNS)
            failing = transition = turn.select_for_update(skip_locked=True).first()
            if transition is None:
                return None
            # Another worker may have delivered it between our reading and our lock.
            if transition.delivered_at is not None or _wait_for_earlier(transition):
                return False
            _send(transition)
            Transition.objects.filter(pk=transition.pk).update(
                delivered_at=timezone.now(), deliver_after=None, delivery_error=""
            )
            _let_next_come(transition)
            return True
    except Exception as error:
        if failing is None:
            raise
        _put_off(failing, error)
        return False


def _wait_for_earlier(transition: Transition) -> bool:
    """Whether an earlier one of the object comes first. Then this one and those after it are out of the way until that.

    Who waits is written under the earlier one's lock, so its delivery, which needs that lock, finds them all.
    """
    earlier = Transition.objects.beside(transition).filter(pk__lt=transition.pk).order_by("pk")
    if not earlier.exists():
        return False
    mine = Transition.objects.beside(transition).filter(pk__gte=transition.pk)
    if earlier.select_for_update(skip_locked=True).first() is not None:
        mine.update(deliver_after=None, delivery_attempts=0)
    else:  # it is being delivered at this moment
        mine.filter(pk=transition.pk).update(deliver_after=timezone.now() + SOON)
    return True


def _let_next_come(transition: Transition) -> None:
    """The next one of the object is due now, if it waited."""
    following = Transition.objects.beside(transition).filter(pk__gt=transition.pk).order_by("pk")
    after = following.only("deliver_after", "delivery_attempts").first()
    now = timezone.now()
    if after is not None and not after.delivery_attempts and (after.deliver_after is None or after.deliver_after > now):
        Transition.objects.undelivered().filter(pk=after.pk).update(deliver_after=now)


def _send(transition: Transition) -> None:
    row = SUBJECTS[transition.subject].objects.get(pk=transition.object_id)
    for signal in (signals.state_changed, _named_signal(transition)):
        if signal is not None:
            signal.send(sender=type(row), row=row, transition=transition)


def _named_signal(transition: Transition) -> Signal | None:
    if transition.subject == Discrepancy.subject:
        return None if transition.from_state else signals.discrepancy_found
    return registry.SUBJECT[transition.subject].signal(transition.from_state, transition.to_state)


def _put_off(transition: Transition, error: Exception) -> None:
    attempts = transition.delivery_attempts + 1
    parked = attempts >= conf.setting("DELIVERY_ATTEMPTS")
    later = None if parked else timezone.now() + timedelta(seconds=min(2**attempts, 3600))
    values = {"delivery_attempts": attempts, "deliver_after": later, "delivery_error": failures.headline(error)}
    transactions.run(lambda: Transition.objects.undelivered().filter(pk=transition.pk).update(**values))
    failures.log(logger, error, "receiver failed transition=%s attempts=%s parked=%s", transition.pk, attempts, parked)
