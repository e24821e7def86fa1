"""PayScore plans: create, confirm, stop. What users sign is in `sign_plans`, what they use in `service_orders`."""

from .creation import Detail, create_plan, plan_creation
from .facts import apply_payscore_plan, sync
from .polls import poll, status
from .stops import plan_stop, stop_plan

__all__ = [
    "Detail",
    "apply_payscore_plan",
    "create_plan",
    "plan_creation",
    "plan_stop",
    "poll",
    "status",
    "stop_plan",
    "sync",
]
