from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from .base import Remembered, WireObject

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone, TrueQuerySet, Whole


class PayscorePlan(WireObject):
    """A PayScore plan: n services that a customer signs for once; each is used and charged in turn. Amounts are fen.

    Source: APIv3 manual, PayScore plan, "Create payscore plan", POST /v3/payscore/plan/payscore-plans.
    """

    subject = "payscore_plan"
    currency: ClassVar[str] = "CNY"  # PayScore knows no other

    class State(models.TextChoices):
        PLANNED = "PLANNED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        NORMAL = "NORMAL", _("can be signed")
        STOP = "STOP", _("stopped")

    MOVES = {
        State.PLANNED: frozenset({State.REFUSED, State.NORMAL, State.STOP}),
        State.REFUSED: frozenset({State.NORMAL, State.STOP}),
        State.NORMAL: frozenset({State.STOP}),
        State.STOP: frozenset(),
    }
    FINAL = frozenset({State.REFUSED, State.STOP})
    OURS = frozenset({State.PLANNED, State.REFUSED})
    EARLIER = {State.STOP: frozenset({State.NORMAL})}

    state: Text = models.CharField(_("plan_state"), max_length=32, choices=State.choices, default=State.PLANNED)
    details: TrueQuerySet[PayscorePlanDetail]  # related, in their order
    reference: TextOrNone = models.CharField(_("reference"), max_length=64, null=True, blank=True)
    merchant_plan_no: Text = models.CharField(_("merchant_plan_no"), max_length=32)
    plan_id: TextOrNone = models.CharField(_("plan_id"), max_length=32, null=True, blank=True)
    service_id: Text = models.CharField(_("service_id"), max_length=32)
    plan_name: Text = models.CharField(_("plan_name"), max_length=20)
    plan_duration: Whole = models.PositiveIntegerField(_("valid for (days)"), help_text=_("From the signature on."))
    deduction_quantity: Whole = models.PositiveSmallIntegerField(_("number of services"))
    total_original_price: Whole = models.BigIntegerField(_("original price"), help_text=_("In fen."))
    total_actual_price: Whole = models.BigIntegerField(_("price"), help_text=_("In fen."))
    stop_time: TimeOrNone = models.DateTimeField(_("stopped at"), null=True, blank=True)
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("PayScore plan")
        verbose_name_plural = _("PayScore plans")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "merchant_plan_no"], name="wxpay_payscoreplan_number"),
            models.UniqueConstraint(fields=["mchid", "plan_id"], name="wxpay_payscoreplan_plan_id"),
            models.UniqueConstraint(fields=["mchid", "sub_mchid", "reference"], name="wxpay_payscoreplan_reference"),
            models.CheckConstraint(
                condition=Q(total_actual_price__gte=0, total_original_price__gte=F("total_actual_price")),
                name="wxpay_payscoreplan_prices",
            ),
        ]
        permissions = [
            ("create_plan", _("Can create PayScore plans")),
            ("stop_plan", _("Can stop PayScore plans")),
            ("query_payscoreplan", _("Can query PayScore plans")),
        ]

    def __str__(self) -> str:
        return self.merchant_plan_no

    @property
    def number(self) -> str:
        return self.merchant_plan_no


class PayscorePlanDetail(Remembered):
    """One service of a plan, as WeChat Pay numbers them: 1, 2, … in the order given. Amounts are fen."""

    plan: models.ForeignKey[PayscorePlan, PayscorePlan] = models.ForeignKey(  # found by the unique constraint
        PayscorePlan, verbose_name=_("PayScore plan"), on_delete=models.CASCADE, related_name="details", db_index=False
    )
    plan_detail_no: Whole = models.PositiveSmallIntegerField(_("no."))
    plan_detail_name: Text = models.CharField(_("name"), max_length=20)
    original_price: Whole = models.BigIntegerField(_("original price"), help_text=_("In fen."))
    actual_price: Whole = models.BigIntegerField(_("price"), help_text=_("In fen."))
    plan_discount_description: Text = models.CharField(_("discount"), max_length=20, blank=True, default="")

    class Meta:
        verbose_name = _("service of a plan")
        verbose_name_plural = _("services of plans")
        ordering = ["plan", "plan_detail_no"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "plan_detail_no"], name="wxpay_payscoreplandetail_no"),
            models.CheckConstraint(
                condition=Q(actual_price__gte=0, original_price__gte=F("actual_price")),
                name="wxpay_payscoreplandetail_prices",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_detail_no}. {self.plan_detail_name}"
