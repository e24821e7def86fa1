"""Asking about orders that are due: by the poller for all, by a status page for one."""

from __future__ import annotations

from ...engine import polling, registry
from ...models import Order
from .. import refunds
from .facts import sync


def status(order: Order) -> Order:
    """The order, confirmed with WeChat Pay unless final or asked in the last seconds; never raises for the network."""
    asked: Order = registry.product_of(order).status(order)
    return asked


def confirmed(order: Order) -> Order:
    """The usual status: one query per row and STATUS_QUERY_SECONDS, none once it is final."""
    if order.is_final or not polling.may_ask(order):
        order.refresh_from_db()
        return order
    return polling.quietly(sync, order)


def poll(limit: int = 100) -> int:
    """Advance orders that are due; returns how many."""
    return polling.poll(Order.objects.all(), _advance, limit)


def _advance(order: Order) -> None:
    refunds.sync_missing(registry.product_of(order).advance(order))
