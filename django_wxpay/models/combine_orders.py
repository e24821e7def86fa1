from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import WireObject

if TYPE_CHECKING:
    from .base import Text, TextOrNone, TimeOrNone, Whole
    from .orders import OrderQuerySet


class CombineOrder(WireObject):
    """One payment of a customer that goes to up to ten individual payees, each with an `Order` of his own. Mainland.

    `state` is what its orders have in common: they are paid together, or none of them is. Amounts are fen.

    Source: APIv3 manual, "Payments to individuals", POST /v3/combine-transactions/miniprogram.
    """

    subject = "combine_order"
    currency: ClassVar[str] = "CNY"  # there is no other

    class State(models.TextChoices):
        CREATED = "CREATED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        NOTPAY = "NOTPAY", _("not paid")
        SUCCESS = "SUCCESS", _("paid")
        CLOSED = "CLOSED", _("closed")
        PAYERROR = "PAYERROR", _("payment failed")

    MOVES = {
        State.CREATED: frozenset({State.REFUSED, State.NOTPAY, State.SUCCESS, State.CLOSED, State.PAYERROR}),
        State.NOTPAY: frozenset({State.SUCCESS, State.CLOSED, State.PAYERROR}),
        State.PAYERROR: frozenset({State.SUCCESS, State.CLOSED}),
        State.SUCCESS: frozenset(),
        State.CLOSED: frozenset(),
        State.REFUSED: frozenset(),
    }
    FINAL = frozenset({State.SUCCESS, State.CLOSED, State.REFUSED})  # a failed one is closed before another is made
    OURS = frozenset({State.CREATED, State.REFUSED})
    EARLIER = {
        State.SUCCESS: frozenset({State.NOTPAY}),
        State.CLOSED: frozenset({State.NOTPAY, State.PAYERROR}),
        State.REFUSED: frozenset({State.NOTPAY}),
    }
    AT_END = {"close_after": None}

    state: Text = models.CharField(_("trade_state"), max_length=32, choices=State.choices, default=State.CREATED)
    orders: OrderQuerySet  # related
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_combine_orders",
    )  # fmt: skip
    reference: Text = models.CharField(
        _("reference"), max_length=64, help_text=_("The shop's own name for this payment.")
    )
    attempt: Whole = models.PositiveSmallIntegerField(_("attempt"), default=1)
    combine_out_trade_no: Text = models.CharField(_("combine_out_trade_no"), max_length=32)
    combine_transaction_id: TextOrNone = models.CharField(
        _("combine_transaction_id"), max_length=32, null=True, blank=True
    )  # fmt: skip
    openid: Text = models.CharField(_("payer's openid"), max_length=128)  # under appid
    trade_scenario: Text = models.CharField(_("trade_scenario"), max_length=32, blank=True, default="")
    amount_total: Whole = models.BigIntegerField(_("amount"), help_text=_("In fen, of all its orders."))
    prepay_id: Text = models.CharField(max_length=64, blank=True, default="", editable=False)
    prepay_expires: TimeOrNone = models.DateTimeField(null=True, blank=True, editable=False)
    time_expire: TimeOrNone = models.DateTimeField(_("can be paid until"), null=True, blank=True)
    # NULL once final: the index holds only what `close_expired` may still have to close.
    close_after: TimeOrNone = models.DateTimeField(_("not closed before"), null=True, blank=True, default=timezone.now)
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("combined order")
        verbose_name_plural = _("combined orders")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "combine_out_trade_no"], name="wxpay_combineorder_number"),
            models.UniqueConstraint(fields=["mchid", "combine_transaction_id"], name="wxpay_combineorder_wechat"),
            models.UniqueConstraint(fields=["mchid", "reference", "attempt"], name="wxpay_combineorder_reference"),
            models.CheckConstraint(condition=Q(amount_total__gt=0), name="wxpay_combineorder_amount_positive"),
        ]
        indexes = [
            models.Index(fields=["close_after"], name="wxpay_combineorder_close"),
            models.Index(fields=["state", "created_at"], name="wxpay_combineorder_state"),
        ]
        permissions = [
            ("close_combineorder", _("Can close combined orders")),
            ("query_combineorder", _("Can query combined orders")),
        ]

    def __str__(self) -> str:
        return self.combine_out_trade_no

    @property
    def number(self) -> str:
        return self.combine_out_trade_no

    @property
    def together(self) -> Sequence[WireObject]:
        return list(self.orders.all())

    @property
    def is_paid(self) -> bool:
        return self.state == self.State.SUCCESS

    @property
    def is_expired(self) -> bool:
        """Whether its time is over: nobody is shown the payment any more."""
        return self.time_expire is not None and self.time_expire <= timezone.now()

    @property
    def can_be_paid(self) -> bool:
        """Whether a customer may still be asked to pay it."""
        return self.state in (self.State.CREATED, self.State.NOTPAY) and not self.is_expired
