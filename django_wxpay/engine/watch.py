"""Open rows that are due at no time are made due; rows whose story takes too long are told to a person.

Whatever brought them there: a bug, a crash, a hand in the database. No state is an end but a final one.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils import timezone

from ..models import Discrepancy, Notification, Operation, Transition
from . import discrepancies, failures, registry

logger = logging.getLogger(__name__)
AT_ONCE = 1000


def watch() -> int:
    """Do both for up to a thousand rows of each kind; returns how many there were."""
    return mend() + tell()


def mend(limit: int = AT_ONCE) -> int:
    """Make due what is open and nothing would take up again; returns how many rows."""
    mended = 0
    for subject in registry.SUBJECT.values():
        asked = Operation.objects.open().filter(subject=subject.name, object_id=OuterRef("pk"))
        rows = subject.model.objects.open().filter(next_poll_at__isnull=True)
        mended += _make_due(rows.filter(~Exists(asked)), "next_poll_at", limit)
    waiting = (Notification.State.WAITING, Notification.State.FAILED)
    for left in (Operation.objects.open(), Notification.objects.filter(state__in=waiting)):
        mended += _make_due(left.filter(next_try_at__isnull=True), "next_try_at", limit)
    earlier = Transition.objects.undelivered().filter(
        subject=OuterRef("subject"), object_id=OuterRef("object_id"), pk__lt=OuterRef("pk")
    )
    waits = Transition.objects.undelivered().filter(deliver_after__isnull=True, delivery_attempts=0)
    return mended + _make_due(waits.filter(~Exists(earlier)), "deliver_after", limit)


def _make_due(rows: Any, clock: str, limit: int) -> int:
    pks = list(rows.values_list("pk", flat=True)[:limit])
    if not pks:
        return 0
    still = rows.model.objects.filter(pk__in=pks, **{f"{clock}__isnull": True})
    made: int = still.update(**{clock: timezone.now()})
    logger.error("%s rows of %s were due at no time: made due, the first is pk=%s", made, rows.model.__name__, pks[0])
    return made


def tell(limit: int = AT_ONCE) -> int:
    """Write a discrepancy, once, about each row that is in one open state for too long; returns how many."""
    now = timezone.now()
    count = 0
    for subject in registry.SUBJECT.values():
        reported = Discrepancy.objects.filter(
            about=subject.name, object_id=OuterRef("pk"), kind=Discrepancy.Kind.STUCK,
            created_at__gte=OuterRef("state_at"),
        )  # fmt: skip
        rows = subject.model.objects.filter(~Exists(reported))
        for state, patience in subject.patience.items():
            late = now - patience
            stuck = rows.filter(state=state, created_at__lte=late, state_at__lte=late)
            for row in stuck.order_by("created_at")[:limit]:
                ours = f"{state} since {row.state_at:%Y-%m-%d %H:%M} UTC"
                try:
                    discrepancies.record(Discrepancy.Kind.STUCK, row, ours=ours)
                    count += 1
                except Exception as error:
                    failures.log(logger, error, "could not tell of %s pk=%s", subject.name, row.pk)
    return count
