"""The tea course: three lessons, each paid after it was held, the third one free. A PayScore plan of the mainland."""

from django.utils.translation import gettext_lazy as _

from django_wxpay.models import PayscorePlan, SignPlan
from django_wxpay.services import payscore

KEY = "tea-course"
MERCHANT = "courses"
NAME = _("Tea course, three lessons")
# What WeChat Pay shows to the customer.
LESSONS = (
    payscore.Detail("Leaf and water", 12_000, 12_000),
    payscore.Detail("Gongfu at home", 12_000, 9_000, "a quarter off"),
    payscore.Detail("Tasting with us", 12_000, 0, "free"),
)
DURATION_DAYS = 90


def create() -> PayscorePlan:
    """The plan, created at WeChat Pay the first time that this is called."""
    return payscore.create_plan(
        name="Tea course", details=LESSONS, duration_days=DURATION_DAYS, reference=KEY, merchant=MERCHANT
    )


def plan_of(key: str) -> PayscorePlan | None:
    """The plan that customers sign under this key, None when there is none on offer."""
    return PayscorePlan.objects.filter(merchant=MERCHANT, reference=key, state=PayscorePlan.State.NORMAL).first()


def of(user) -> list[SignPlan]:
    """The courses that somebody has signed, or is asked to sign; the newest first."""
    shown = (SignPlan.State.UNSIGNED, SignPlan.State.SIGNED, SignPlan.State.COMPLETE, SignPlan.State.SIGN_PLAN_CANCEL)
    return list(
        user.wxpay_sign_plans.filter(state__in=shown).prefetch_related("details", "service_orders__orders__refunds")
    )
