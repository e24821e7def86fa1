"""Service orders: start a service of a sign plan, complete it with what it costs, see it paid; or cancel it."""

from .cancellations import cancel, plan_cancellation
from .collections import collect, plan_collection
from .completions import complete, plan_completion
from .facts import apply_service_order, sync
from .items import Item
from .modifications import modify, plan_modification
from .paid_reports import plan_paid_report, report_paid, was_just_reported
from .polls import poll, status
from .starting import plan_start, start

__all__ = [
    "Item",
    "apply_service_order",
    "cancel",
    "collect",
    "complete",
    "modify",
    "plan_cancellation",
    "plan_collection",
    "plan_completion",
    "plan_modification",
    "plan_paid_report",
    "plan_start",
    "poll",
    "report_paid",
    "start",
    "status",
    "sync",
    "was_just_reported",
]
