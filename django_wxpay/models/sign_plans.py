from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias
from urllib.parse import quote

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .base import Remembered, WireObject

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone, TrueQuerySet, Whole, WholeOrNone, WireObjectQuerySet
    from .payscore import PayscorePlan
    from .service_orders import ServiceOrderQuerySet

BUSINESS_TYPE = "wxpayScorePlan"
SignPlanClient: TypeAlias = Literal["mini_program", "h5", "app"]


class SignPlan(WireObject):
    """What one customer signed (or is asked to sign): a PayScore plan, with the numbers of its services.

    Source: APIv3 manual, PayScore plan, "Query user sign plan",
    GET /v3/payscore/sign-plan/user-sign-plans/merchant-sign-plan-no/{merchant_sign_plan_no}; `state` is `sign_state`.
    """

    subject = "sign_plan"
    currency: ClassVar[str] = "CNY"  # PayScore knows no other

    class State(models.TextChoices):
        PLANNED = "PLANNED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        UNSIGNED = "UNSIGNED", _("waiting for the signature")
        LAPSED = "LAPSED", _("not signed in time")
        SIGNED = "SIGNED", _("signed")
        SIGN_PLAN_CANCEL = "SIGN_PLAN_CANCEL", _("cancelled")
        COMPLETE = "COMPLETE", _("every service is finished")
        EXPIRE = "EXPIRE", _("past its end")

    class CancelType(models.TextChoices):
        NOT_CANCEL = "NOT_CANCEL", _("not cancelled")
        USER = "USER", _("by the user")
        MERCHANT = "MERCHANT", _("by the merchant")
        REVOKE_SERVICE = "REVOKE_SERVICE", _("the user revoked the service")

    _END = frozenset({State.SIGN_PLAN_CANCEL, State.COMPLETE, State.EXPIRE})
    MOVES = {
        State.PLANNED: _END | {State.REFUSED, State.UNSIGNED, State.SIGNED, State.LAPSED},
        State.REFUSED: _END | {State.UNSIGNED, State.SIGNED, State.LAPSED},
        State.UNSIGNED: _END | {State.SIGNED, State.LAPSED},
        State.LAPSED: _END | {State.SIGNED},  # signed in the last second
        State.SIGNED: _END,
        State.SIGN_PLAN_CANCEL: frozenset(),
        State.COMPLETE: frozenset(),
        State.EXPIRE: frozenset(),
    }
    FINAL = _END | {State.REFUSED, State.LAPSED}
    OURS = frozenset({State.PLANNED, State.REFUSED, State.LAPSED})
    EARLIER = {
        State.LAPSED: frozenset({State.UNSIGNED}),
        **dict.fromkeys(_END, frozenset({State.UNSIGNED, State.SIGNED})),
    }

    state: Text = models.CharField(_("sign_state"), max_length=32, choices=State.choices, default=State.PLANNED)
    details: TrueQuerySet[SignPlanDetail]  # related, in their order
    service_orders: ServiceOrderQuerySet  # related
    renewals: WireObjectQuerySet[SignPlan]  # related: those that were made in place of this one
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_sign_plans",
    )  # fmt: skip
    plan: models.ForeignKey[PayscorePlan, PayscorePlan] = models.ForeignKey(
        "django_wxpay.PayscorePlan", verbose_name=_("PayScore plan"), on_delete=models.PROTECT,
        related_name="sign_plans",
    )  # fmt: skip
    renews_id: int | None
    renews: models.ForeignKey[SignPlan | None, SignPlan | None] = models.ForeignKey(
        "self", verbose_name=_("made in place of"), on_delete=models.PROTECT, null=True, blank=True,
        related_name="renewals", help_text=_("The first of those that the customer was asked to sign."),
    )  # fmt: skip
    reference: TextOrNone = models.CharField(_("reference"), max_length=64, null=True, blank=True)
    attempt: Whole = models.PositiveSmallIntegerField(_("attempt"), default=1)
    merchant_sign_plan_no: Text = models.CharField(_("merchant_sign_plan_no"), max_length=32)
    sign_plan_id: TextOrNone = models.CharField(_("sign_plan_id"), max_length=32, null=True, blank=True)
    service_id: Text = models.CharField(_("service_id"), max_length=32)
    openid: Text = models.CharField(_("openid"), max_length=128)
    openid_appid: Text = models.CharField(
        _("appid of the openid"), max_length=32, blank=True, default="", help_text=_("Empty: appid.")
    )
    plan_name: Text = models.CharField(_("plan_name"), max_length=20)
    deduction_quantity: Whole = models.PositiveSmallIntegerField(_("number of services"))
    total_original_price: Whole = models.BigIntegerField(_("original price"), help_text=_("In fen."))
    total_actual_price: Whole = models.BigIntegerField(_("price"), help_text=_("In fen."))
    package: Text = models.CharField(_("package"), max_length=2048, blank=True, default="", editable=False)
    package_expires: TimeOrNone = models.DateTimeField(_("can be signed until"), null=True, blank=True)
    plan_over_time: TimeOrNone = models.DateTimeField(_("end of the plan"), null=True, blank=True)
    sign_time: TimeOrNone = models.DateTimeField(_("signed at"), null=True, blank=True)
    cancel_sign_time: TimeOrNone = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    cancel_sign_type: Text = models.CharField(
        pgettext_lazy("by whom", "cancelled"), max_length=16, choices=CancelType.choices, blank=True, default=""
    )
    cancel_reason: Text = models.CharField(_("reason of the cancellation"), max_length=128, blank=True, default="")
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("sign plan")
        verbose_name_plural = _("sign plans")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "next_poll_at"], name="wxpay_signplan_state")]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "merchant_sign_plan_no"], name="wxpay_signplan_number"),
            models.UniqueConstraint(fields=["mchid", "sign_plan_id"], name="wxpay_signplan_sign_plan_id"),
            models.UniqueConstraint(
                fields=["mchid", "sub_mchid", "reference", "attempt"], name="wxpay_signplan_reference_attempt"
            ),
        ]
        permissions = [
            ("cancel_sign_plan", _("Can cancel sign plans")),
            ("query_signplan", _("Can query sign plans")),
        ]

    def __str__(self) -> str:
        return self.merchant_sign_plan_no

    @property
    def number(self) -> str:
        return self.merchant_sign_plan_no

    def chain(self) -> WireObjectQuerySet[SignPlan]:
        """This one and those that were made in its place or that it was made in place of, the first one first."""
        first = self.renews_id or self.pk
        return SignPlan.objects.filter(Q(pk=first) | Q(renews=first)).order_by("pk")

    @property
    def openid_under(self) -> str:
        """The appid that `openid` is under."""
        return self.openid_appid or self.appid

    @property
    def can_launch(self) -> bool:
        """Whether the user can still sign by this row's package."""
        is_open = self.package and self.state == self.State.UNSIGNED
        return bool(is_open and self.package_expires is not None and self.package_expires > timezone.now())

    def launch_params(self, client: SignPlanClient = "mini_program") -> dict[str, Any] | None:
        """What the front end needs to let the user sign, or None when there is nothing to launch (any more).

        mini_program: the argument of `wx.openBusinessView`. h5: that of `wx.invoke("openBusinessView", …)` in WeChat.
        app: the fields of the Open SDK's `WXOpenBusinessView` request. Nothing in it is signed, and what the front end
        is told when the user comes back proves nothing: ask for the status.

        Source: APIv3 manual, "JSAPI: open PayScore, sign plan".
        """
        if not self.can_launch:
            return None
        if client == "mini_program":
            return {"businessType": BUSINESS_TYPE, "extraData": {"package": self.package}}
        query = f"package={quote(self.package, safe='')}"
        if client == "h5":
            return {"businessType": BUSINESS_TYPE, "queryString": query}
        return {"businessType": BUSINESS_TYPE, "query": query, "extInfo": '{"miniProgramType":0}'}

    def next_detail(self) -> SignPlanDetail | None:
        """The next service that can be used: none while one before it is in use, or when none is left.

        WeChat Pay lets none be skipped: each before it must be paid, or cancelled with its order.
        """
        if self.state != self.State.SIGNED:
            return None
        for detail in self.details.all():
            if detail.state == detail.State.NOT_USED:
                return detail
            if detail.state == detail.State.USING:
                return None
        return None


class SignPlanDetail(Remembered):
    """One service of a sign plan; its `merchant_plan_detail_no` is the number of its service order. Amounts are fen."""

    class State(models.TextChoices):
        NOT_USED = "NOT_USED", _("not used")
        USING = "USING", _("in use")
        USED = "USED", _("paid")
        SIGN_PLAN_DETAIL_CANCEL = "SIGN_PLAN_DETAIL_CANCEL", _("cancelled")

    STEPS: ClassVar[dict[str, int]] = {
        State.NOT_USED: 0,
        State.USING: 1,
        State.USED: 2,
        State.SIGN_PLAN_DETAIL_CANCEL: 2,
    }  # only ever upwards

    sign_plan_id: int  # the row's key, not WeChat Pay's number
    sign_plan: models.ForeignKey[SignPlan, SignPlan] = models.ForeignKey(  # found by the unique constraint
        SignPlan, verbose_name=_("sign plan"), on_delete=models.CASCADE, related_name="details", db_index=False
    )
    mchid: Text = models.CharField(_("mchid"), max_length=32)
    plan_detail_no: Whole = models.PositiveSmallIntegerField(_("no."))
    merchant_plan_detail_no: Text = models.CharField(_("merchant_plan_detail_no"), max_length=32)
    plan_detail_name: Text = models.CharField(_("name"), max_length=20)
    original_price: Whole = models.BigIntegerField(_("original price"), help_text=_("In fen."))
    actual_price: Whole = models.BigIntegerField(_("price"), help_text=_("In fen."))
    plan_discount_description: Text = models.CharField(_("discount"), max_length=20, blank=True, default="")
    state: Text = models.CharField(
        _("plan_detail_state"), max_length=32, choices=State.choices, default=State.NOT_USED
    )  # as WeChat Pay told it last
    actual_pay_price: WholeOrNone = models.BigIntegerField(_("paid"), null=True, blank=True)
    use_time: TimeOrNone = models.DateTimeField(_("used at"), null=True, blank=True)
    complete_time: TimeOrNone = models.DateTimeField(_("paid at"), null=True, blank=True)
    cancel_time: TimeOrNone = models.DateTimeField(_("cancelled at"), null=True, blank=True)

    class Meta:
        verbose_name = _("service of a sign plan")
        verbose_name_plural = _("services of sign plans")
        ordering = ["sign_plan", "plan_detail_no"]
        constraints = [
            models.UniqueConstraint(fields=["sign_plan", "plan_detail_no"], name="wxpay_signplandetail_no"),
            models.UniqueConstraint(fields=["mchid", "merchant_plan_detail_no"], name="wxpay_signplandetail_number"),
            models.CheckConstraint(
                condition=Q(actual_price__gte=0, original_price__gte=F("actual_price")),
                name="wxpay_signplandetail_prices",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_detail_no}. {self.plan_detail_name}"

    def advance(self, state: str, **learned: Any) -> None:
        """Take it to a later state, with what was learned of it; an earlier or unknown one changes nothing.

        Joins the caller's transaction. One conditional UPDATE: whoever tells the older story comes too late.
        """
        if state not in self.STEPS:
            return
        earlier = [known for known, step in self.STEPS.items() if step < self.STEPS[state]]
        values = {name: value for name, value in learned.items() if value not in (None, "")}
        as_known = SignPlanDetail.objects.filter(pk=self.pk)
        moved = as_known.filter(state__in=earlier).update(state=state, **values)
        if moved or (values and as_known.filter(state=state).update(**values)):
            for name, value in {"state": state, **values}.items():
                setattr(self, name, value)
