"""Asking about refunds: about one, about all of an order, about those that are due."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial

from django.utils import timezone

from ...client.errors import NotFound
from ...engine import discrepancies, holds, polling, queries, registry, remote, transactions
from ...engine.facts import Fact
from ...models import Discrepancy, Order, Refund, Source
from .facts import apply_refund, end, lock

State = Refund.State


def sync(refund: Refund) -> Refund:
    """Query WeChat Pay and record what it says; returns the refreshed row.

    Raises APIError, OutcomeUnknown. That WeChat Pay does not know the refund (yet) is no error.

    Source: APIv3 manual, "Query a single refund", GET /v3/global/refunds/out-refund-no/{out_refund_no}.
    """
    row: Refund = queries.sync(refund)
    return row


def sync_all(order: Order) -> list[Refund]:
    """Query every refund of an order, adopt those made elsewhere; returns the order's `Refund`s.

    The mainland has no call that lists them: there each one that we know, and that has not ended, is queried. Raises
    APIError, OutcomeUnknown; what was read before stays recorded.

    Source: APIv3 manual, "Query all refunds", GET /v3/global/refunds.
    """
    query_all = registry.product_of(order).refunds.query_all
    if query_all is None:
        return [refund if refund.is_final else sync(refund) for refund in order.refunds.all()]
    begun_at = timezone.now()
    with remote.client_of(order) as client:
        try:
            for entry in query_all(client, order):
                payload = entry | {"out_trade_no": order.out_trade_no}
                text = json.dumps(payload, ensure_ascii=False)
                fact = Fact(order.mchid, payload, Source.QUERY, text=text, begun_at=begun_at)
                transactions.run(partial(apply_refund, fact))
        except NotFound:
            pass
    return list(order.refunds.all())


def sync_missing(order: Order) -> None:
    """Look for the refund of an order that WeChat Pay calls refunded while we know of none: one made elsewhere.

    Its notification was lost, then. When WeChat Pay lists none either, a discrepancy is written. Nothing is asked of
    other orders. Raises what `sync_all` raises.
    """
    if not order.lacks_refund:
        return
    sync_all(order)
    order.refresh_from_db()
    if order.lacks_refund:
        theirs = "REFUND, but no refund is listed"
        discrepancies.record(Discrepancy.Kind.MISMATCH, order, ours="no refund", theirs=theirs)


def poll(limit: int = 100) -> int:
    """Query refunds that are due; returns how many."""
    return polling.poll(Refund.objects.all(), sync, limit)


def _not_there(refund: Refund, begun_at: datetime) -> None:
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will be."""

    def work() -> bool:
        row = lock(refund)
        if row.state != State.CREATED or not holds.nothing_comes(row, begun_at):
            return False
        fact = Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at)
        end(row, State.REFUSED, fact, {}, note="never arrived at WeChat Pay")
        return True

    if not transactions.run(work):
        polling.not_there(refund, begun_at)


registry.product(
    registry.Product(
        subject=Refund.subject,
        name="",
        regions=frozenset({"global", "mainland"}),  # its order's product decides when it is planned
        query=lambda client, refund: registry.product_of(refund.order).refunds.query(client, refund),
        not_there=_not_there,
        advance=sync,
        pause=polling.growing("REFUND_POLL_SECONDS"),
    )
)
