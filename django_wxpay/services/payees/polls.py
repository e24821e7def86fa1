"""Asking about payees that are due: by the poller for all, by a status page for one."""

from __future__ import annotations

from ...engine import polling
from ...models import PayeeAuthorization
from .facts import advance, sync


def status(payee: PayeeAuthorization) -> PayeeAuthorization:
    """The payee, confirmed with WeChat Pay unless that was done in the last seconds (STATUS_QUERY_SECONDS).

    For a person's own page: never raises because WeChat Pay is out of reach, the row is then as it was.
    """
    if not polling.may_ask(payee):
        payee.refresh_from_db()
        return payee
    return polling.quietly(sync, payee)


def poll(limit: int = 100) -> int:
    """Query payees that are due; returns how many."""
    return polling.poll(PayeeAuthorization.objects.all(), advance, limit)
