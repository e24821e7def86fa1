"""What Celery does: one line per service call; `django_wxpay.beat` says when.

Every task may run twice, late, or in several workers at once: rows and leases decide. A message that is lost costs
one tick, so tasks are acknowledged early, and one that waited for longer than its tick expires.
"""

from celery import shared_task

from .beat import BEAT_SCHEDULE
from .engine import operations, transitions
from .services import bills, certificates, contracts, notifications, orders, refunds, settlements

__all__ = [
    "BEAT_SCHEDULE",
    "close_expired_orders",
    "deliver_transitions",
    "download_due_bills",
    "fetch_settlements",
    "poll_contracts",
    "poll_orders",
    "poll_refunds",
    "prune_notifications",
    "refresh_certificates",
    "retry_notifications",
    "send_operations",
]

EASILY_REPEATED = {"ignore_result": True, "acks_late": False}


@shared_task(**EASILY_REPEATED)
def send_operations():
    """Send what is planned, and find out what became of what is unknown."""
    return operations.send_due()


@shared_task(**EASILY_REPEATED)
def deliver_transitions():
    """Tell the shop's receivers what became true."""
    return transitions.deliver_due()


@shared_task(**EASILY_REPEATED)
def poll_contracts():
    """Query contracts that are due."""
    return contracts.poll()


@shared_task(**EASILY_REPEATED)
def poll_orders():
    """Query orders that are due."""
    return orders.poll()


@shared_task(**EASILY_REPEATED)
def poll_refunds():
    """Query refunds that are due."""
    return refunds.poll()


@shared_task(**EASILY_REPEATED)
def close_expired_orders():
    """Reverse deductions that have had no outcome for too long."""
    return orders.close_expired()


@shared_task(**EASILY_REPEATED)
def retry_notifications():
    """Process again what failed, or waits for its object."""
    return notifications.retry_due()


@shared_task(**EASILY_REPEATED)
def refresh_certificates():
    """Fetch platform certificates that were not looked at for hours."""
    return certificates.refresh_due()


@shared_task(**EASILY_REPEATED)
def prune_notifications():
    """Delete notifications that were processed long ago."""
    return notifications.prune()


@shared_task(**EASILY_REPEATED)
def download_due_bills():
    """Fetch the statements of the last days that are ready and missing; the hour in China is looked at inside."""
    return bills.download_due()


@shared_task(**EASILY_REPEATED)
def fetch_settlements():
    """Fetch what was credited to the merchants, and what waits for it."""
    return settlements.fetch_due()
