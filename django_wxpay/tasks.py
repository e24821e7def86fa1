"""What Celery does: one line per service call. Merge BEAT_SCHEDULE into your CELERY_BEAT_SCHEDULE.

Every task may run twice, late, or in several workers at once: rows and leases decide. A message that is lost costs
one tick, so tasks are acknowledged early, and one that waited for longer than its tick expires.
"""

from celery import shared_task

from .services import certificates, contracts, notifications, operations, orders, refunds, transitions

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


def _every(seconds, task):
    return {"task": task.name, "schedule": float(seconds), "options": {"expires": float(seconds)}}


BEAT_SCHEDULE = {
    "wxpay: send operations": _every(5, send_operations),
    "wxpay: deliver transitions": _every(5, deliver_transitions),
    "wxpay: poll orders": _every(5, poll_orders),
    "wxpay: poll contracts": _every(10, poll_contracts),
    "wxpay: poll refunds": _every(30, poll_refunds),
    "wxpay: close expired orders": _every(60, close_expired_orders),
    "wxpay: retry notifications": _every(15, retry_notifications),
    "wxpay: refresh certificates": _every(600, refresh_certificates),
    "wxpay: prune notifications": _every(3600, prune_notifications),
}
