"""Asking about combined orders that are due: by the poller for all, by a status page for one."""

from __future__ import annotations

from ...engine import polling
from ...models import CombineOrder
from .facts import sync


def status(order: CombineOrder) -> CombineOrder:
    """The combined order, confirmed with WeChat Pay unless that was done in the last seconds (STATUS_QUERY_SECONDS).

    For a customer's page: never raises because WeChat Pay is out of reach, the row is then as it was.
    """
    if order.is_final or not polling.may_ask(order):
        order.refresh_from_db()
        return order
    return polling.quietly(sync, order)


def poll(limit: int = 100) -> int:
    """Query combined orders that are due; returns how many."""
    return polling.poll(CombineOrder.objects.all(), sync, limit)
