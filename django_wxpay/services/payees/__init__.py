"""Individual payees: persons whom a platform's customers pay. Let one sign, know whether he may be paid."""

from .enrolment import enrol
from .facts import apply_payee, sync
from .polls import poll, status
from .signing import pre_sign, sign_params

__all__ = [
    "apply_payee",
    "enrol",
    "poll",
    "pre_sign",
    "sign_params",
    "status",
    "sync",
]
