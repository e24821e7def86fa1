"""Asking about orders that are due: by the poller for all, by a status page for one."""

from ...engine import polling
from ...models import Order
from .facts import sync
from .quickpay import advance, advance_till

STEPS = {Order.Product.PAPAY: sync, Order.Product.MICROPAY: advance}


def status(order):
    """The order, confirmed with WeChat Pay unless final or asked in the last seconds; never raises for the network."""
    if order.product == Order.Product.MICROPAY:
        return advance_till(order)
    if order.is_final or not polling.may_ask(order):
        order.refresh_from_db()
        return order
    return polling.quietly(sync, order)


def poll(limit=100):
    """Take orders that are due a step further; returns how many."""
    return polling.poll(Order.objects.all(), lambda order: STEPS[order.product](order), limit)
