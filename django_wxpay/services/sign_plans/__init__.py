"""Plans that users sign: open the signing, renew it, confirm, cancel."""

from .cancellations import cancel, plan_cancellation
from .facts import apply_sign_plan, sync
from .polls import poll, status
from .renewals import is_superseded, kept, plan_renewal, renew
from .signing import plan_signing, sign

__all__ = [
    "apply_sign_plan",
    "cancel",
    "is_superseded",
    "kept",
    "plan_cancellation",
    "plan_renewal",
    "plan_signing",
    "poll",
    "renew",
    "sign",
    "status",
    "sync",
]
