"""Combined orders: one payment of a customer for up to ten individual payees. Place it, let him pay, close it."""

from .closing import close, close_expired, plan_closing
from .facts import apply_combine_order, sync
from .placing import Part, payment_params, place, place_again, plan_another, plan_order, plan_prepay
from .polls import poll, status

__all__ = [
    "Part",
    "apply_combine_order",
    "close",
    "close_expired",
    "payment_params",
    "place",
    "place_again",
    "plan_another",
    "plan_closing",
    "plan_order",
    "plan_prepay",
    "poll",
    "status",
    "sync",
]
