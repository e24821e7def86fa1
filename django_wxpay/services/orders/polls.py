"""Asking about orders that are due: by the poller for all, by a status page for one."""

from ...engine import polling, registry
from ...models import Order
from .. import refunds
from .facts import sync


def status(order):
    """The order, confirmed with WeChat Pay unless final or asked in the last seconds; never raises for the network."""
    return registry.product_of(order).status(order)


def confirmed(order):
    """The usual status: one query per row and STATUS_QUERY_SECONDS, none once it is final."""
    if order.is_final or not polling.may_ask(order):
        order.refresh_from_db()
        return order
    return polling.quietly(sync, order)


def poll(limit=100):
    """Advance orders that are due; returns how many."""
    return polling.poll(Order.objects.all(), _advance, limit)


def _advance(order: Order) -> None:
    refunds.sync_missing(registry.product_of(order).advance(order))
