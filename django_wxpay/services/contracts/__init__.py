"""Auto-debit contracts: sign, adopt, confirm, terminate."""

from .adoption import adopt
from .facts import apply_contract, sync
from .polls import poll, status
from .signing import plan_signing, sign
from .terminations import plan_termination, terminate

__all__ = [
    "adopt",
    "apply_contract",
    "plan_signing",
    "plan_termination",
    "poll",
    "sign",
    "status",
    "sync",
    "terminate",
]
