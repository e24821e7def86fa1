"""When a row wants the next query, and who gets to ask it.

Each product declares its rhythm. `growing` is the usual one: the distance is half of the row's age, so a lost
notification costs seconds for a new row and little for an old one. A final row wants no query, but for the one that
confirms an end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from .. import conf
from ..client.errors import WxPayError
from ..models import Discrepancy, Source, WireObject
from ..models.base import WireObjectQuerySet
from . import discrepancies, failures, queue, registry, remote, transactions

logger = logging.getLogger(__name__)
LONGEST = timedelta(hours=6)
CONFIRM_AFTER = timedelta(seconds=15)
DAILY = timedelta(days=1)
DOUBTED_FOR = timedelta(days=7)  # then a doubt about a final state is a person's
LEASE = timedelta(minutes=2)
AT_ONCE = 20  # rows are claimed so many at a time: what a batch does not get to is soon another's
Rows: TypeAlias = WireObjectQuerySet[Any]
Row = TypeVar("Row", bound=WireObject)


def next_poll_at(row: WireObject, state: str, source: str) -> datetime | None:
    """When a row of that state, learned from that source, is asked about again; None for never."""
    now = timezone.now()
    if state not in row.FINAL:
        pause: timedelta = registry.product_of(row).pause(row, state)
        return now + (max(pause, DAILY) if state == row.state and is_overdue(row) else pause)
    needs_proof = source not in (Source.QUERY, Source.CLOCK) and state in registry.subject_of(row).confirmed
    return now + CONFIRM_AFTER if needs_proof else None


def is_overdue(row: WireObject) -> bool:
    """Whether a row is in an open state for longer than its subject has patience for: a person was told."""
    patience = registry.subject_of(row).patience.get(row.state)
    return patience is not None and timezone.now() - row.state_at > patience


def growing(setting: str) -> Callable[[Any, str], timedelta]:
    """A rhythm for `Product.pause`: half of the row's age, from that setting's seconds up to six hours."""

    def pause(row: Any, state: str) -> timedelta:
        first = timedelta(seconds=conf.setting(setting))
        age: timedelta = timezone.now() - row.created_at
        return min(max(age / 2, first), LONGEST)

    return pause


def claim(queryset: Rows, limit: int, since: datetime | None = None, leave_alone: Collection[str] = ()) -> list[Any]:
    """Take up to `limit` rows that are due since then (now): nobody else is given them for two minutes."""
    now = timezone.now()

    def work() -> list[int]:
        due = queryset.due(since or now).exclude(mchid__in=leave_alone).order_by("next_poll_at")
        pks = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
        queryset.model.objects.filter(pk__in=pks).update(next_poll_at=now + LEASE)
        return pks

    return list(queryset.model.objects.filter(pk__in=transactions.run(work)).order_by("pk"))


def poll(queryset: Rows, sync: Callable[[Any], Any], limit: int) -> int:
    """Sync up to `limit` due rows, one after the other, for some seconds; returns how many were asked about.

    A failing one does not stop the rest; a merchant that wants fewer calls or gives no answer stops its own.
    """
    batch, since, asked = remote.Batch(), timezone.now(), 0
    while asked < limit and not batch.is_over:
        rows = claim(queryset, min(limit - asked, AT_ONCE), since, batch.left_alone)
        if not rows:
            break
        for row in rows:
            if batch.is_over or not batch.may_call(row.mchid):
                _give_back(row)
                continue
            asked += 1
            try:
                sync(row)
            except Exception as error:
                batch.note(row.mchid, error)
                if isinstance(error, WxPayError):
                    logger.warning("poll failed %s=%s error=%s", row.subject, row.number, error)
                else:
                    failures.log(logger, error, "poll broke %s=%s", row.subject, row.number)
                put_off(row, error)
    return asked


def _give_back(row: Any) -> None:
    """It was claimed, but it is not its turn now."""
    type(row).objects.filter(pk=row.pk, next_poll_at=row.next_poll_at).update(next_poll_at=timezone.now())


def settles(row: WireObject, begun_at: datetime) -> bool:
    """Whether a query begun at that time may end the doubts about a row: one that was under way already may not."""
    doubt = row.recheck_after or (row.state_at if row.is_final else None)
    return doubt is None or begun_at > doubt


def schedule(row: WireObject, state: str, source: str, begun_at: datetime | None = None) -> dict[str, Any]:
    """When a row that is in `state` now is queried next, as values to write with it under its lock.

    A query begun before the row came into doubt leaves its plan alone. An end that a message brought stays in doubt
    until a later query bears it out.
    """
    now = timezone.now()
    if begun_at is not None and source == Source.QUERY and not settles(row, begun_at):
        return {}
    at = next_poll_at(row, state, source)
    unproved = state in row.FINAL and at is not None
    values = {"next_poll_at": at, "recheck_after": max(row.recheck_after or now, now) if unproved else None}
    return values | {"contradicted_at": None} if source == Source.QUERY else values


def recheck(row: WireObject, after: datetime | None = None, *, contradicted: bool = False) -> None:
    """Have the row queried: only a query begun later than `after` (now) is the last one.

    contradicted: a genuine message says otherwise than our final state; until it is settled no money moves on that.
    Joins the caller's transaction. An earlier query and a later doubt that are planned already stay so.
    """
    after = after or timezone.now()
    fields: dict[str, Any] = {
        "recheck_after": Case(When(recheck_after__gt=after, then=F("recheck_after")), default=Value(after)),
        "next_poll_at": Case(When(next_poll_at__lt=after, then=F("next_poll_at")), default=Value(after)),
    }
    if contradicted:
        fields["contradicted_at"] = Value(after)
    type(row).objects.filter(pk=row.pk).update(**fields)


def plan_query(row: WireObject) -> None:
    """Have the poller query this row as soon as it can, even a final one. Joins the caller's transaction."""
    recheck(row)
    queue.after_commit(f"poll_{row.subject}s")


def not_there(row: WireObject, begun_at: datetime) -> None:
    """A query begun at that time proved that WeChat Pay does not know the row: asked again later, unless final.

    Of a row that WeChat Pay has spoken of since it ended, such an answer only lags behind.
    """
    known = type(row).objects.get(pk=row.pk)
    if known.contradicted_at is not None and begun_at > known.contradicted_at:
        put_off(known)
        return
    values = {"synced_at": begun_at} | schedule(known, known.state, Source.QUERY, begun_at)
    unchanged = type(row).objects.filter(pk=row.pk, state=known.state, recheck_after=known.recheck_after)
    unchanged.update(**values)


def put_off(row: Any, error: Exception | None = None) -> None:
    """Ask again later, though nothing was learned now; whoever planned the row anew since it was read is heeded.

    A doubt about a final state that lasts for too long is a person's then.
    """
    now = timezone.now()
    doubted_for = now - (row.recheck_after or row.state_at)
    later = next_poll_at(row, row.state, Source.QUERY)
    if row.is_final and doubted_for < DOUBTED_FOR:
        later = now + min(max(doubted_for / 2, CONFIRM_AFTER), LONGEST)
    elif row.is_final:
        theirs = f"{type(error).__name__} {getattr(error, 'code', '')}".strip() if error else "what does not fit"
        discrepancies.record(Discrepancy.Kind.STUCK, row, ours=f"{row.state}, in doubt", theirs=theirs)
    unchanged = type(row).objects.filter(pk=row.pk, state=row.state, next_poll_at=row.next_poll_at)
    unchanged.update(next_poll_at=later)


def may_ask(row: WireObject) -> bool:
    """Whether a customer's page may have this row queried now: one winner per STATUS_QUERY_SECONDS."""
    now = timezone.now()
    before = now - timedelta(seconds=conf.setting("STATUS_QUERY_SECONDS"))
    stale = Q(asked_at__isnull=True) | Q(asked_at__lte=before)
    return bool(type(row).objects.filter(stale, pk=row.pk).update(asked_at=now))


def quietly(sync: Callable[[Row], Row], row: Row) -> Row:
    """Sync a row for somebody who only wants to see it; trouble with WeChat Pay is logged, not raised."""
    try:
        return sync(row)
    except WxPayError as error:
        logger.info("status query failed %s=%s error=%s", row.subject, row.number, error)
        row.refresh_from_db()
        return row
