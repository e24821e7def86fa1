"""Everything that can be done, and from the engine what a shop may use. Only these two floors open transactions
and call the client.

    from django_wxpay.services import contracts, orders, refunds

Each service that asks WeChat Pay for something has two halves: `plan_…` writes it down and joins the caller's
transaction; the plain verb does that and sends it, and refuses to run inside a transaction.
"""

from ..engine import discrepancies, operations, timeline, transitions
from . import (
    bills,
    certificates,
    checkout,
    combine_orders,
    contracts,
    notifications,
    orders,
    payees,
    payscore,
    refunds,
    service_orders,
    settlements,
    sign_plans,
)

__all__ = [
    "bills",
    "certificates",
    "checkout",
    "combine_orders",
    "contracts",
    "discrepancies",
    "notifications",
    "operations",
    "orders",
    "payees",
    "payscore",
    "refunds",
    "service_orders",
    "settlements",
    "sign_plans",
    "timeline",
    "transitions",
]
