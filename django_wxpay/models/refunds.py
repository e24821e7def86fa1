from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .base import WireObject, WireObjectQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import Flag, Text, TextOrNone, TimeOrNone, Whole, WholeOrNone
    from .orders import Order


class RefundQuerySet(WireObjectQuerySet["Refund"]):
    def taken(self) -> Self:
        """Refunds that WeChat Pay has accepted, and that still count."""
        return self.exclude(state__in=Refund.OURS | Refund.GIVES_BACK)


class Refund(WireObject):
    """Money going back to the payer, in part or in full. `amount` is minor units of `currency`.

    Source: APIv3 manual, "Query a single refund"; `state` is the wire's `status` / `refund_status`.
    """

    subject = "refund"

    class State(models.TextChoices):
        CREATED = "CREATED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        PROCESSING = "PROCESSING", _("being refunded")
        SUCCESS = "SUCCESS", _("refunded")
        CLOSED = "CLOSED", _("closed, not refunded")
        ABNORMAL = "ABNORMAL", _("could not be delivered")

    class FundSource(models.TextChoices):
        UNSETTLED = "REFUND_SOURCE_UNSETTLED_FUNDS", _("unsettled funds")
        RECHARGE = "REFUND_SOURCE_RECHARGE_FUNDS", _("recharged balance")
        AVAILABLE = "AVAILABLE", _("available balance (mainland)")
        NOT_SETTLED = "UNSETTLED", _("unsettled (mainland)")
        PREPAID = "PREPAID", _("not yet handed out (mainland)")

    FundSourceWord: TypeAlias = (
        FundSource
        | Literal[
            "", "REFUND_SOURCE_UNSETTLED_FUNDS", "REFUND_SOURCE_RECHARGE_FUNDS", "AVAILABLE", "UNSETTLED", "PREPAID"
        ]
    )

    MOVES = {
        State.CREATED: frozenset({State.REFUSED, State.PROCESSING, State.SUCCESS, State.CLOSED, State.ABNORMAL}),
        State.PROCESSING: frozenset({State.SUCCESS, State.CLOSED, State.ABNORMAL}),
        State.ABNORMAL: frozenset({State.SUCCESS, State.CLOSED}),
        State.SUCCESS: frozenset(),
        State.CLOSED: frozenset(),
        State.REFUSED: frozenset(),
    }
    FINAL = frozenset({State.SUCCESS, State.CLOSED, State.REFUSED})
    OURS = frozenset({State.CREATED, State.REFUSED})
    GIVES_BACK = frozenset({State.CLOSED, State.REFUSED})  # what was reserved is refundable again
    EARLIER = {
        State.SUCCESS: frozenset({State.PROCESSING, State.ABNORMAL}),
        State.CLOSED: frozenset({State.PROCESSING, State.ABNORMAL}),
    }

    state: Text = models.CharField(_("status"), max_length=32, choices=State.choices, default=State.CREATED)
    order_id: int
    order: models.ForeignKey[Order, Order] = models.ForeignKey(  # found by the index of the unique reference
        "django_wxpay.Order", verbose_name=_("order"), on_delete=models.PROTECT, related_name="refunds", db_index=False
    )
    reference: TextOrNone = models.CharField(
        _("reference"),
        max_length=64,
        null=True,
        blank=True,
        help_text=_("The shop's own name for this refund."),
    )
    out_refund_no: TextOrNone = models.CharField(_("out_refund_no"), max_length=64, null=True, blank=True)
    refund_id: TextOrNone = models.CharField(_("refund_id"), max_length=32, null=True, blank=True)
    amount: Whole = models.BigIntegerField(_("amount"), help_text=_("In the currency's minor unit."))
    currency: Text = models.CharField(_("currency"), max_length=3)
    payer_refund: WholeOrNone = models.BigIntegerField(_("returned to the payer"), null=True, blank=True)
    payer_currency: Text = models.CharField(_("payer's currency"), max_length=3, blank=True, default="")
    reason: Text = models.CharField(_("reason"), max_length=80, blank=True, default="")
    source: Text = models.CharField(_("fund source"), max_length=30, choices=FundSource.choices, blank=True, default="")
    fund_source: Text = models.CharField(
        _("paid from"), max_length=30, choices=FundSource.choices, blank=True, default="",
        help_text=_("As WeChat Pay tells it; the fund source is what was asked for."),
    )  # fmt: skip
    exchange_rate: WholeOrNone = models.BigIntegerField(_("exchange rate × 100,000,000"), null=True, blank=True)
    exchange_rate_type: Text = models.CharField(_("kind of exchange rate"), max_length=32, blank=True, default="")
    promotion_detail: models.JSONField[Any, Any] = models.JSONField(_("promotions"), null=True, blank=True)
    channel: Text = models.CharField(_("channel"), max_length=16, blank=True, default="")
    account: Text = models.CharField(_("received by"), max_length=64, blank=True, default="")
    foreign: Flag = models.BooleanField(
        _("made elsewhere"),
        default=False,
        help_text=_("Not asked for here: made in the merchant platform, say."),
    )
    success_time: TimeOrNone = models.DateTimeField(_("refunded at"), null=True, blank=True)
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    objects: ClassVar[RefundQuerySet] = manager(RefundQuerySet)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "out_refund_no"], name="wxpay_refund_out_refund_no"),
            models.UniqueConstraint(fields=["mchid", "refund_id"], name="wxpay_refund_refund_id"),
            models.UniqueConstraint(fields=["order", "reference"], name="wxpay_refund_order_reference"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="wxpay_refund_amount_positive"),
        ]
        indexes = [
            models.Index(fields=["mchid", "success_time"], name="wxpay_refund_success"),  # a day's business
            models.Index(fields=["state", "created_at"], name="wxpay_refund_state"),  # what is open; lists of a state
        ]
        permissions = [("query_refund", _("Can query refunds")), ("give_up_refund", _("Can give up refunds"))]

    def __str__(self) -> str:
        return self.out_refund_no or self.refund_id or str(self.pk)

    @property
    def number(self) -> str | None:
        return self.out_refund_no
