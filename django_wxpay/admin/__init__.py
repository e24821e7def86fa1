"""What staff may see and press: one module per subject, each action on a page of its own that asks first."""

from . import (  # noqa: F401  (each registers its rows with the admin site)
    bills,
    certificates,
    combine_orders,
    contracts,
    discrepancies,
    notifications,
    operations,
    orders,
    payees,
    payscore,
    refunds,
    service_orders,
    settlements,
    sign_plans,
    transitions,
    turns,
)
