"""Time in the sandbox: a business clock that can be shifted, and the clock that signatures are made with.

Orders, refunds, sessions and repeats of notifications live on the business clock, which tests push forward
(``advance``). Signatures and their five-minute window always use real time, so a client that knows nothing of
the shift goes on working; ``skew`` falsifies that clock on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))


class Clock:
    """``speed`` divides every delay: 60 makes a minute a second."""

    def __init__(self, wall: Callable[[], float] | None = None) -> None:
        # Looked up at each call: tests freeze time.time.
        self._wall = wall or (lambda: time.time())
        self.shift = 0.0
        self.skew = 0.0
        self.speed = 1.0

    def now(self) -> float:
        """Return the business time, seconds since the epoch."""
        return self._wall() + self.shift

    def wire_time(self) -> float:
        """Return the time that signatures and the ``Date`` header carry."""
        return self._wall() + self.skew

    def business_time(self, real: float) -> float:
        """Return the business time that a client, who knows nothing of the shift, means by a real one."""
        return real + self.shift

    def delay(self, seconds: float) -> float:
        """Return how long a documented delay lasts at the present speed."""
        return seconds / self.speed


def rfc3339(moment: float) -> str:
    """Write a moment as WeChat Pay does: whole seconds, China's offset."""
    return datetime.fromtimestamp(moment, CHINA).replace(microsecond=0).isoformat()


def china_day(moment: float) -> date:
    return datetime.fromtimestamp(moment, CHINA).date()


def compact_day(moment: float) -> str:
    return china_day(moment).strftime("%Y%m%d")


def day_bounds(day: date) -> tuple[float, float]:
    """Return the first moment of a China day and the first moment after it."""
    start = datetime(day.year, day.month, day.day, tzinfo=CHINA)
    return start.timestamp(), (start + timedelta(days=1)).timestamp()
