"""What Celery does: one line per service call; `django_wxpay.beat` says when.

Every task may run twice, late, or in several workers at once: rows and leases decide. A message that is lost costs
one tick, so tasks are acknowledged early. Of each kind one runs at a time, over all workers: `engine.turns`.
"""

import functools
from collections.abc import Callable
from typing import Any

from celery import shared_task

from .beat import BEAT_SCHEDULE
from .engine import operations, transitions, turns, watch
from .services import (
    bills,
    certificates,
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
    "BEAT_SCHEDULE",
    "close_expired_orders",
    "deliver_transitions",
    "download_due_bills",
    "fetch_settlements",
    "poll_combine_orders",
    "poll_contracts",
    "poll_orders",
    "poll_payees",
    "poll_payscore_plans",
    "poll_refunds",
    "poll_service_orders",
    "poll_sign_plans",
    "prune_notifications",
    "refresh_certificates",
    "retry_notifications",
    "send_operations",
    "watch_open_rows",
]

MINUTE = 60


def _one_at_a_time(hold_seconds: float = MINUTE) -> Callable[[Callable[[], int]], Any]:
    """A task for each turn; hinted: it was queued because there is work since just now, not by the clock."""

    def decorate(work: Callable[[], int]) -> Any:
        @functools.wraps(work)
        def task(hinted: bool = False) -> int:
            return turns.run(work.__name__, work, hold_seconds=hold_seconds, hinted=hinted) or 0

        return shared_task(ignore_result=True, acks_late=False)(task)

    return decorate


@_one_at_a_time()
def send_operations() -> int:
    """Send what is planned, and find out what became of what is unknown."""
    return operations.send_due()


@_one_at_a_time()
def deliver_transitions() -> int:
    """Tell the shop's receivers what became true."""
    return transitions.deliver_due()


@_one_at_a_time()
def poll_contracts() -> int:
    """Query contracts that are due."""
    return contracts.poll()


@_one_at_a_time()
def poll_combine_orders() -> int:
    """Query combined orders that are due."""
    return combine_orders.poll()


@_one_at_a_time()
def poll_orders() -> int:
    """Query orders that are due."""
    return orders.poll()


@_one_at_a_time()
def poll_payees() -> int:
    """Query individual payees that are due."""
    return payees.poll()


@_one_at_a_time()
def poll_refunds() -> int:
    """Query refunds that are due."""
    return refunds.poll()


@_one_at_a_time()
def poll_payscore_plans() -> int:
    """Query PayScore plans that are due."""
    return payscore.poll()


@_one_at_a_time()
def poll_sign_plans() -> int:
    """Query sign plans that are due."""
    return sign_plans.poll()


@_one_at_a_time()
def poll_service_orders() -> int:
    """Query service orders that are due."""
    return service_orders.poll()


@_one_at_a_time()
def close_expired_orders() -> int:
    """Reverse deductions that have had no outcome for too long, and close combined orders whose time is over."""
    return orders.close_expired() + combine_orders.close_expired()


@_one_at_a_time()
def retry_notifications() -> int:
    """Process again what failed, or waits for its object."""
    return notifications.retry_due()


@_one_at_a_time(10 * MINUTE)
def refresh_certificates() -> int:
    """Fetch platform certificates that were not looked at for hours."""
    return certificates.refresh_due()


@_one_at_a_time(10 * MINUTE)
def prune_notifications() -> int:
    """Delete notifications that were processed long ago."""
    return notifications.prune()


@_one_at_a_time(20 * MINUTE)
def download_due_bills() -> int:
    """Fetch the statements of the last days that are ready and missing; the hour in China is looked at inside."""
    return bills.download_due()


@_one_at_a_time(20 * MINUTE)
def fetch_settlements() -> int:
    """Fetch what was credited to the merchants, and what waits for it."""
    return settlements.fetch_due()


@_one_at_a_time(20 * MINUTE)
def watch_open_rows() -> int:
    """Make due what is open and due at no time, and tell a person of what takes too long."""
    return watch.watch()
