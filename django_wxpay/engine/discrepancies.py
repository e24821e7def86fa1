"""What does not fit: written once per object and kind while open, ended by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import F
from django.utils import timezone

from ..client.texts import clean
from ..exceptions import NotAllowedNow
from ..models import Discrepancy, Source
from . import transactions, transitions

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

LONGEST = 2000  # characters of a side: people compare them


def record(kind: str, row: Any, *, ours: str = "", theirs: str = "", about: str | None = None) -> Discrepancy:
    """Note that something does not fit `row`; the same again only counts. Joins the caller's transaction."""
    about = about or row.subject
    key = _key(kind, row, about)
    with transactions.atomic():
        found, created = Discrepancy.objects.get_or_create(
            open_key=key,
            defaults={
                "merchant": row.merchant,
                "kind": kind,
                "about": about,
                "object_id": row.pk,
                "number": clean(str(getattr(row, "number", "") or ""), 64),
                "ours": clean(ours, LONGEST),
                "theirs": clean(theirs, LONGEST),
            },
        )
        if created:
            transitions.record(found, "", source=Source.COMPARISON)
        else:
            Discrepancy.objects.filter(pk=found.pk).update(seen=F("seen") + 1)
    return found


def is_open(kind: str, row: Any, *, about: str | None = None) -> bool:
    """Whether people were told of it already, and nobody has ended it yet."""
    return Discrepancy.objects.filter(open_key=_key(kind, row, about or row.subject)).exists()


def _key(kind: str, row: Any, about: str) -> str:
    return f"{about}:{row.pk}:{kind}"


def resolve(discrepancy: Discrepancy, *, by: User | None, note: str) -> Discrepancy:
    """Say how it was resolved. Raises NotAllowedNow when somebody else ended it already."""
    return _end(discrepancy, Discrepancy.State.RESOLVED, by, note)


def ignore(discrepancy: Discrepancy, *, by: User | None, note: str) -> Discrepancy:
    """Say why it may stay as it is. Raises NotAllowedNow when somebody else ended it already."""
    return _end(discrepancy, Discrepancy.State.IGNORED, by, note)


def _end(discrepancy: Discrepancy, state: str, by: User | None, note: str) -> Discrepancy:
    if not note.strip():
        raise ValueError("A note is required: the next reader wants to know why.")
    with transactions.atomic():
        ended = Discrepancy.objects.filter(pk=discrepancy.pk, state=Discrepancy.State.OPEN).update(
            state=state, open_key=None, resolved_by=by, resolved_at=timezone.now(), resolution=note[:512]
        )
        if not ended:
            raise NotAllowedNow("This discrepancy was ended already; reload to see how.")
    discrepancy.refresh_from_db()
    return discrepancy
