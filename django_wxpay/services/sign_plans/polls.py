"""Asking about sign plans that are due: by the poller for all, by a status page for one."""

from __future__ import annotations

from ...engine import polling
from ...models import SignPlan
from .facts import sync


def status(sign_plan: SignPlan) -> SignPlan:
    """The sign plan, confirmed with WeChat Pay unless that was done in the last seconds (STATUS_QUERY_SECONDS).

    For a customer's page: never raises because WeChat Pay is out of reach, the row is then as it was.
    """
    if sign_plan.is_final or not polling.may_ask(sign_plan):
        sign_plan.refresh_from_db()
        return sign_plan
    return polling.quietly(sync, sign_plan)


def poll(limit: int = 100) -> int:
    """Query sign plans that are due; returns how many."""
    return polling.poll(SignPlan.objects.all(), sync, limit)
