"""One process at a time does a kind of background work, so that no kind can occupy all workers.

Ticks that come while it is being done, or that piled up in the queue, return at once. A hint, which says that there is
work since just now, is not lost: whoever is at it has the task queued again at its end. A holder that was killed loses
its turn when the time it held it for is over. All this spares workers; that nothing is done twice, rows and leases see
to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Q
from django.utils import timezone

from ..models import Turn
from . import queue

REST = timedelta(seconds=1)  # a tick so soon after the last one's end is one that piled up
T = TypeVar("T")


def run(kind: str, work: Callable[[], T], *, hold_seconds: float, hinted: bool = False) -> T | None:
    """Do the work if it is nobody's turn now; returns what it returns, None when it was not done.

    kind: the task's name. hold_seconds: longer than the work takes. hinted: there is work since just now.
    """
    lease = _take(kind, hold_seconds, hinted)
    if lease is None:
        return None
    try:
        return work()
    finally:
        if _end(kind, lease):
            queue.after_commit(kind)


def _take(kind: str, seconds: float, hinted: bool) -> datetime | None:
    turn = Turn.objects.filter(kind=kind)
    for _ in range(3):
        now = timezone.now()
        free = Q(held_until__isnull=True) | Q(held_until__lte=now)
        if not hinted:
            free &= Q(ended_at__isnull=True) | Q(ended_at__lte=now - REST)
        lease = now + timedelta(seconds=seconds)
        if turn.filter(free).update(held_until=lease, wanted=False):
            return lease
        if hinted and turn.filter(held_until__gt=now).update(wanted=True):
            return None
        if not hinted and turn.exists():
            return None
        Turn.objects.get_or_create(kind=kind)  # the first time; or its holder ended just now
    return None


def _end(kind: str, lease: datetime) -> bool:
    """Give the turn back; whether somebody wanted it meanwhile."""
    values = {"held_until": None, "ended_at": timezone.now()}
    mine = Turn.objects.filter(kind=kind, held_until=lease)
    if mine.filter(wanted=False).update(**values):
        return False
    return bool(mine.update(**values, wanted=False))
