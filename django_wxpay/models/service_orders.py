from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .base import WireObject, WireObjectQuerySet, manager

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone, WholeOrNone
    from .orders import OrderQuerySet
    from .sign_plans import SignPlan, SignPlanDetail


class ServiceOrderQuerySet(WireObjectQuerySet["ServiceOrder"]):
    pass


class ServiceOrder(WireObject):
    """One service of a sign plan in use: started, completed with what it costs, then collected. Amounts are fen.

    `state`, `state_description` and `collection_state` say together where it stands. What was paid through WeChat Pay
    is an `Order` each, which is what can be refunded.

    Source: APIv3 manual, PayScore, "Query service order", GET /v3/payscore/serviceorder.
    """

    subject = "service_order"
    currency: ClassVar[str] = "CNY"  # PayScore knows no other

    class State(models.TextChoices):
        PLANNED = "PLANNED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        CREATED = "CREATED", pgettext_lazy("state", "created")
        DOING = "DOING", _("in use")
        DONE = "DONE", pgettext_lazy("state", "finished")
        REVOKED = "REVOKED", _("cancelled")
        EXPIRED = "EXPIRED", _("expired")

    class Description(models.TextChoices):
        USER_CONFIRM = "USER_CONFIRM", _("the service is being used")
        MCH_COMPLETE = "MCH_COMPLETE", _("completed, to be paid")

    class Collection(models.TextChoices):
        USER_PAYING = "USER_PAYING", _("being collected")
        USER_PAID = "USER_PAID", _("paid")

    _END = frozenset({State.DONE, State.REVOKED, State.EXPIRED})
    MOVES = {
        State.PLANNED: _END | {State.REFUSED, State.CREATED, State.DOING},
        State.REFUSED: _END | {State.PLANNED, State.CREATED, State.DOING},  # the number is the service's: asked again
        State.CREATED: _END | {State.DOING},
        State.DOING: _END,
        State.DONE: frozenset(),
        State.REVOKED: frozenset(),
        State.EXPIRED: frozenset(),
    }
    FINAL = _END | {State.REFUSED}
    OURS = frozenset({State.PLANNED, State.REFUSED})
    EARLIER = dict.fromkeys(_END, frozenset({State.CREATED, State.DOING}))

    state: Text = models.CharField(_("state"), max_length=32, choices=State.choices, default=State.PLANNED)
    orders: OrderQuerySet  # related: what was paid for it through WeChat Pay
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_service_orders",
    )  # fmt: skip
    sign_plan_id: int  # the row's key, not WeChat Pay's number
    sign_plan: models.ForeignKey[SignPlan, SignPlan] = models.ForeignKey(
        "django_wxpay.SignPlan", verbose_name=_("sign plan"), on_delete=models.PROTECT, related_name="service_orders"
    )
    detail_id: int
    detail: models.OneToOneField[SignPlanDetail, SignPlanDetail] = models.OneToOneField(
        "django_wxpay.SignPlanDetail", verbose_name=_("service"), on_delete=models.PROTECT,
        related_name="service_order",
    )  # fmt: skip
    reference: Text = models.CharField(
        _("reference"), max_length=64, help_text=_("The shop's own name for this use of the service.")
    )
    out_order_no: Text = models.CharField(_("out_order_no"), max_length=32)
    order_id: TextOrNone = models.CharField(_("order_id"), max_length=64, null=True, blank=True)
    service_id: Text = models.CharField(_("service_id"), max_length=32)
    service_introduction: Text = models.CharField(_("service_introduction"), max_length=20)
    attach: Text = models.CharField(_("attach"), max_length=256, blank=True, default="")
    start_time: TimeOrNone = models.DateTimeField(_("begins at"), null=True, blank=True)
    end_time: TimeOrNone = models.DateTimeField(_("ended at"), null=True, blank=True)
    completed_at: TimeOrNone = models.DateTimeField(_("completed at"), null=True, blank=True)
    start_location: Text = models.CharField(_("begins in"), max_length=50, blank=True, default="")
    end_location: Text = models.CharField(_("ended in"), max_length=50, blank=True, default="")
    state_description: Text = models.CharField(_("state_description"), max_length=32, blank=True, default="")
    collection_state: Text = models.CharField(_("collection.state"), max_length=32, blank=True, default="")
    total_amount: WholeOrNone = models.BigIntegerField(
        _("amount"), null=True, blank=True, help_text=_("In fen, once it is completed.")
    )
    paying_amount: WholeOrNone = models.BigIntegerField(_("to be collected"), null=True, blank=True)
    paid_amount: WholeOrNone = models.BigIntegerField(_("paid"), null=True, blank=True)
    post_payments: models.JSONField[Any, Any] = models.JSONField(_("items"), null=True, blank=True)
    post_discounts: models.JSONField[Any, Any] = models.JSONField(_("discounts"), null=True, blank=True)
    # As WeChat Pay lists them: what was paid elsewhere (paid_type MCH) stands only here.
    collection_details: models.JSONField[Any, Any] = models.JSONField(_("payments"), null=True, blank=True)
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    objects: ClassVar[ServiceOrderQuerySet] = manager(ServiceOrderQuerySet)

    class Meta:
        verbose_name = _("service order")
        verbose_name_plural = _("service orders")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "created_at"], name="wxpay_serviceorder_state")]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "out_order_no"], name="wxpay_serviceorder_out_order_no"),
            models.UniqueConstraint(fields=["mchid", "order_id"], name="wxpay_serviceorder_order_id"),
            models.UniqueConstraint(fields=["mchid", "sub_mchid", "reference"], name="wxpay_serviceorder_reference"),
            models.CheckConstraint(
                condition=Q(total_amount__isnull=True) | Q(total_amount__gte=0), name="wxpay_serviceorder_amount"
            ),
        ]
        permissions = [
            ("start_serviceorder", _("Can start service orders")),
            ("complete_serviceorder", _("Can complete service orders and lower their amount")),
            ("cancel_serviceorder", _("Can cancel service orders")),
            ("report_serviceorder_paid", _("Can report service orders as paid elsewhere")),
            ("query_serviceorder", _("Can query service orders")),
        ]

    def __str__(self) -> str:
        return self.out_order_no

    @property
    def number(self) -> str:
        return self.out_order_no

    @property
    def is_running(self) -> bool:
        """Whether the service is in use: it can be completed or cancelled.

        WeChat Pay's samples call such an order CREATED, too, when it is confirmed.
        """
        confirmed = self.state_description == self.Description.USER_CONFIRM
        return (
            self.state == self.State.DOING and not self.is_collecting or self.state == self.State.CREATED and confirmed
        )

    @property
    def is_collecting(self) -> bool:
        """Whether it is completed and WeChat Pay goes on trying to collect its amount."""
        completed = self.state_description == self.Description.MCH_COMPLETE
        return self.state == self.State.DOING and completed

    @property
    def is_paid(self) -> bool:
        """Whether it is finished with nothing left to pay: collected, paid elsewhere, or free of charge."""
        paid = self.collection_state == self.Collection.USER_PAID or not self.total_amount
        return self.state == self.State.DONE and paid
