"""Asking about plans that are due: by the poller for all, by a page for one."""

from __future__ import annotations

from ...engine import polling
from ...models import PayscorePlan
from .facts import sync


def status(plan: PayscorePlan) -> PayscorePlan:
    """The plan, confirmed with WeChat Pay unless that was done in the last seconds; never raises for the network."""
    if plan.is_final or not polling.may_ask(plan):
        plan.refresh_from_db()
        return plan
    return polling.quietly(sync, plan)


def poll(limit: int = 100) -> int:
    """Query plans that are due; returns how many."""
    return polling.poll(PayscorePlan.objects.all(), sync, limit)
