"""Orders: what a payer owes and whether it was paid. One module per way of asking, one door for facts."""

from .deductions import deduct, plan_deduction, plan_retry, retry_deduction
from .facts import apply_order, look, poll, status, sync
from .reversals import close_expired, plan_reversal, reverse

__all__ = [
    "apply_order",
    "close_expired",
    "deduct",
    "look",
    "plan_deduction",
    "plan_retry",
    "plan_reversal",
    "poll",
    "retry_deduction",
    "reverse",
    "status",
    "sync",
]
