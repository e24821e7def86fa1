"""One object's story: what we asked, what we were told, what became true, what does not fit."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from ..models import Discrepancy, Notification, Operation, Transition, WireObject


class Entry(NamedTuple):
    """One line of the story. kind: operation, notification, transition or discrepancy; `row` is that row."""

    at: datetime
    kind: str
    row: Any


def of(row: WireObject) -> list[Entry]:
    """The entries of a contract, order or refund, oldest first."""
    asked = Operation.objects.of(row).select_related("requested_by")
    notifications = Notification.objects.filter(mchid=row.mchid, subject=row.subject, number=row.number or "")
    became = Transition.objects.of(row).defer("evidence").select_related("user")
    differs = Discrepancy.objects.filter(about=row.subject, object_id=row.pk).select_related("resolved_by")
    entries = [
        *(Entry(one.created_at, "operation", one) for one in asked),
        *(Entry(one.received_at, "notification", one) for one in notifications.defer("body", "headers") if row.number),
        *(Entry(one.created_at, "transition", one) for one in became),
        *(Entry(one.created_at, "discrepancy", one) for one in differs),
    ]
    return sorted(entries, key=attrgetter("at"))
