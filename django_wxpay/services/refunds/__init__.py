"""Refunds: money back to the payer, never more than was paid, one at a time per order."""

from .facts import apply_refund
from .polls import poll, sync, sync_all, sync_missing
from .requests import LATER, can_be_given_up, create, give_up, plan_refund

__all__ = [
    "LATER",
    "apply_refund",
    "can_be_given_up",
    "create",
    "give_up",
    "plan_refund",
    "poll",
    "sync",
    "sync_all",
    "sync_missing",
]
