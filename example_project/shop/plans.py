"""What the shop sells. Amounts are minor units: 3800 is HKD 38.00."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Plan:
    key: str
    plan_id: int  # the number of the contract template, given by WeChat Pay on approval
    name: str | Promise
    amount: int  # a month
    currency: str
    promises: tuple[str | Promise, ...]


PLANS = {
    plan.key: plan
    for plan in (
        Plan(
            key="leaf-hkd",
            plan_id=10001,
            name=_("Leaf"),
            amount=3800,
            currency="HKD",
            promises=(_("One tin of tea a month"), _("A seat in the reading room"), _("Member's price in the shop")),
        ),
        Plan(
            key="pot-hkd",
            plan_id=10002,
            name=_("Pot"),
            amount=12800,
            currency="HKD",
            promises=(_("Three tins of tea a month"), _("Two seats in the reading room"), _("One new book a month")),
        ),
        Plan(
            key="leaf-cny",
            plan_id=10003,
            name=_("Leaf, by post"),
            amount=3500,
            currency="CNY",
            promises=(_("One tin of tea a month"), _("Sent to the mainland"), _("Member's price in the shop")),
        ),
    )
}


def plan_of(plan_id: int) -> Plan | None:
    """The plan with that contract template."""
    return next((plan for plan in PLANS.values() if plan.plan_id == plan_id), None)
