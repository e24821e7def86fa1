"""Asking about contracts that are due: by the poller for all, by a status page for one."""

from __future__ import annotations

from ...engine import polling
from ...models import Contract
from .facts import sync


def status(contract: Contract) -> Contract:
    """The contract, confirmed with WeChat Pay unless that was done in the last seconds (STATUS_QUERY_SECONDS).

    For a customer's page: never raises because WeChat Pay is out of reach, the row is then as it was.
    """
    if contract.is_final or not polling.may_ask(contract):
        contract.refresh_from_db()
        return contract
    return polling.quietly(sync, contract)


def poll(limit: int = 100) -> int:
    """Query contracts that are due; returns how many."""
    return polling.poll(Contract.objects.all(), sync, limit)
