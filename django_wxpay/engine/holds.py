"""Who holds an operation: one sender, or one who finds out, at a time.

A holder is known by the number of its attempt and by the very lease it took. One that comes back late, because its
process slept, or its call or its database took long, finds another attempt or another lease in the row: what it writes
back then changes nothing.

`busy_until` says until when a request may still arrive. Whoever begins an attempt raises it; only the proof that this
very attempt has no effect any more (an answer, or nothing left us) takes it back to what it was before: an earlier
attempt may still be on its way. `sent_at` only grows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Q
from django.utils import timezone

from .. import conf
from ..models import Operation
from ..models.operations import OperationQuerySet

State = Operation.State


def window(operation: Operation) -> timedelta:
    """How long a request may be under way, all hosts and timeouts together."""
    return timedelta(seconds=conf.merchant(operation.merchant).request_seconds)


def send_by(operation: Operation) -> datetime:
    """The last moment at which a claimed request may leave: what `busy_until` promises holds only then."""
    assert operation.sent_at is not None
    return operation.sent_at + timedelta(seconds=conf.merchant(operation.merchant).send_seconds)


def reserve(operation: Operation) -> None:
    """Keep a planned operation for the caller that wrote it down. Joins the caller's transaction."""
    until = timezone.now() + window(operation)
    Operation.objects.filter(pk=operation.pk).update(leased_until=until)
    operation.leased_until = operation.lease = until


def sendable(operation: Operation, now: datetime) -> OperationQuerySet:
    """The operation, if it is planned, as we know it, and free and due, or reserved for this very caller."""
    ready = Q(next_try_at__lte=now) & (Q(leased_until__isnull=True) | Q(leased_until__lte=now))
    if operation.lease is not None:
        ready |= Q(leased_until=operation.lease)
    as_known = Operation.objects.open().filter(
        pk=operation.pk, state=State.PLANNED, attempts=operation.attempts, busy_until=operation.busy_until
    )
    return as_known.filter(ready)


def claim(operation: Operation) -> dict[str, Any] | None:
    """Become its sender; returns what was written, for `begin` once that is committed. None when it is not ours."""
    now = timezone.now()
    until = now + window(operation)
    values = {
        "state": State.SENT,
        "attempts": operation.attempts + 1,
        "sent_at": max(now, operation.sent_at or now),
        "busy_until": max(until, operation.busy_until or until),
        "leased_until": until,
        "next_try_at": until,
    }
    return values if sendable(operation, now).update(**values) else None


def begin(operation: Operation, claimed: dict[str, Any]) -> None:
    """Hold what was claimed."""
    operation.busy_before, operation.lease = operation.busy_until, claimed["leased_until"]
    know(operation, claimed)


def take(operation: Operation) -> bool:
    """Hold an operation whose outcome is unknown (or whose sender died) while it is found out, if it still is due."""
    now = timezone.now()
    until = now + window(operation)
    values = {"state": State.UNKNOWN, "leased_until": until, "next_try_at": until}
    due = Operation.objects.due(now).filter(pk=operation.pk, attempts=operation.attempts)
    if not due.exclude(state=State.PLANNED).update(**values):
        return False
    operation.busy_before, operation.lease = operation.busy_until, until
    know(operation, values)
    return True


def held(operation: Operation) -> OperationQuerySet:
    """The operation, for as long as this process holds it."""
    if operation.lease is None:
        return Operation.objects.none()
    return Operation.objects.open().filter(pk=operation.pk, attempts=operation.attempts, leased_until=operation.lease)


def release(operation: Operation, **values: Any) -> bool:
    """Write back what became of it, and let go; False, and nothing is written, when it is somebody else's by now."""
    values |= {"leased_until": None}
    written = held(operation).update(**values)
    if written:
        know(operation, values)
    else:
        operation.refresh_from_db()
    return bool(written)


def held_until(operation: Operation) -> datetime | None:
    """Until when somebody may be at it, or a request of it may arrive; None for neither."""
    return max(filter(None, (operation.busy_until, operation.leased_until)), default=None)


def busy_until(row: Any, *actions: str) -> datetime | None:
    """Until when a request about a row may arrive, whether its operation is open or closed; None for none."""
    asked = Operation.objects.of(row)
    if actions:
        asked = asked.filter(action__in=actions)
    until: datetime | None = asked.aggregate(until=Max("busy_until"))["until"]
    return until


def nothing_comes(row: Any, begun_at: datetime) -> bool:
    """Whether a query begun then could miss nothing: no operation of the row is open, no request can be under way."""
    if Operation.objects.of(row).open().exists():
        return False
    until = busy_until(row)
    return until is None or until <= begun_at


def know(operation: Operation, values: dict[str, Any]) -> None:
    """Remember what was written."""
    for name, value in values.items():
        setattr(operation, name, value)
