"""Orders: what a payer owes and whether it was paid. One module per way of charging, one way in for facts."""

from . import combine, payscore  # noqa: F401  (each declares its product)
from .deductions import deduct, plan_deduction, plan_retry, retry_deduction
from .facts import apply_order, sync
from .polls import poll, status
from .quickpay import advance_till, pay_by_code, wait_until_final
from .reversals import close_expired, plan_reversal, reverse

__all__ = [
    "advance_till",
    "apply_order",
    "close_expired",
    "deduct",
    "pay_by_code",
    "plan_deduction",
    "plan_retry",
    "plan_reversal",
    "poll",
    "retry_deduction",
    "reverse",
    "status",
    "sync",
    "wait_until_final",
]
