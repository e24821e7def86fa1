"""One object's story: what we asked, what we were told, what became true, what does not fit."""

from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from ..models import Discrepancy, Notification, Operation, Transition


class Entry(NamedTuple):
    """One line of the story. kind: asked, told, became, differs. `row` is the row behind it."""

    at: datetime
    kind: str
    row: Any


def of(row):
    """The entries of a contract, order or refund, oldest first."""
    told = Notification.objects.filter(mchid=row.mchid, subject=row.subject, number=row.number or "")
    entries = [
        *(Entry(one.created_at, "asked", one) for one in Operation.objects.of(row).select_related("requested_by")),
        *(Entry(one.received_at, "told", one) for one in told.defer("body", "headers") if row.number),
        *(Entry(one.created_at, "became", one) for one in Transition.objects.of(row).defer("evidence")),
        *(
            Entry(one.created_at, "differs", one)
            for one in Discrepancy.objects.filter(about=row.subject, object_id=row.pk)
        ),
    ]
    return sorted(entries, key=attrgetter("at"))
