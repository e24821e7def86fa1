"""What we remember: one module per subject. Models know neither the client nor the services."""

from .base import Outcome, Source, WireObject
from .bills import Bill
from .certificates import MerchantState, PlatformCertificate
from .combine_orders import CombineOrder
from .contracts import Contract
from .discrepancies import Discrepancy
from .notifications import Notification
from .operations import Action, Operation
from .orders import Order
from .payees import PayeeAuthorization
from .payscore import PayscorePlan, PayscorePlanDetail
from .refunds import Refund
from .service_orders import ServiceOrder
from .settlements import Settlement
from .sign_plans import SignPlan, SignPlanDetail
from .transitions import Transition
from .turns import Turn

SUBJECTS = {
    model.subject: model
    for model in (
        Contract,
        PayscorePlan,
        SignPlan,
        ServiceOrder,
        PayeeAuthorization,
        CombineOrder,
        Order,
        Refund,
        Discrepancy,
    )
}

__all__ = [
    "SUBJECTS",
    "Action",
    "Bill",
    "CombineOrder",
    "Contract",
    "Discrepancy",
    "MerchantState",
    "Notification",
    "Operation",
    "Order",
    "Outcome",
    "PayeeAuthorization",
    "PayscorePlan",
    "PayscorePlanDetail",
    "PlatformCertificate",
    "Refund",
    "ServiceOrder",
    "Settlement",
    "SignPlan",
    "SignPlanDetail",
    "Source",
    "Transition",
    "Turn",
    "WireObject",
]
