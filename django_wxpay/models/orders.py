from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import WireObject, WireObjectQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import Text, TextOrNone, TimeOrNone, Whole, WholeOrNone
    from .combine_orders import CombineOrder
    from .contracts import Contract
    from .payees import PayeeAuthorization
    from .refunds import RefundQuerySet
    from .service_orders import ServiceOrder


class OrderQuerySet(WireObjectQuerySet["Order"]):
    def paid(self) -> Self:
        return self.filter(state__in=Order.PAID)


class Order(WireObject):
    """One attempt to be paid: a deduction, a scanned payment code … Amounts are minor units of `currency`.

    Source: APIv3 manual, "Query order"; `state` is the wire's `trade_state`.
    """

    subject = "order"

    class State(models.TextChoices):
        CREATED = "CREATED", _("not yet known to WeChat Pay")
        REFUSED = "REFUSED", _("refused")
        NOTPAY = "NOTPAY", _("not paid")
        USERPAYING = "USERPAYING", _("the payer is paying")
        SUCCESS = "SUCCESS", _("paid")
        REFUND = "REFUND", _("paid, then refunded in part or in full")
        CLOSED = "CLOSED", _("closed")
        REVOKED = "REVOKED", _("reversed")
        PAYERROR = "PAYERROR", _("payment failed")

    class Product(models.TextChoices):
        PAPAY = "PAPAY", _("auto-debit")
        MICROPAY = "MICROPAY", _("quick pay")
        PAYSCORE = "PAYSCORE", _("PayScore")
        COMBINE = "COMBINE", _("combined order")

    PAID = frozenset({State.SUCCESS, State.REFUND})
    DEAD = frozenset({State.REFUSED, State.CLOSED, State.REVOKED, State.PAYERROR})
    FINAL = PAID | DEAD
    OURS = frozenset({State.CREATED, State.REFUSED})
    _END = frozenset({State.SUCCESS, State.REFUND, State.CLOSED, State.REVOKED, State.PAYERROR})
    MOVES = {
        State.CREATED: _END | {State.REFUSED, State.NOTPAY, State.USERPAYING},
        State.NOTPAY: _END | {State.REFUSED, State.USERPAYING},
        State.USERPAYING: _END | {State.REFUSED, State.NOTPAY},
        State.SUCCESS: frozenset({State.REFUND, State.REVOKED}),
        State.REFUND: frozenset({State.REVOKED}),
        State.REFUSED: frozenset({State.CLOSED, State.REVOKED, State.PAYERROR}),
        State.CLOSED: frozenset({State.REVOKED, State.PAYERROR}),
        State.PAYERROR: frozenset({State.CLOSED, State.REVOKED}),
        State.REVOKED: frozenset(),
    }
    AT_END = {"close_after": None}
    _OPEN = frozenset({State.NOTPAY, State.USERPAYING})
    EARLIER = {
        State.REFUSED: frozenset({State.NOTPAY}),
        State.SUCCESS: _OPEN,
        State.REFUND: _OPEN | {State.SUCCESS},
        State.CLOSED: _OPEN,
        State.PAYERROR: _OPEN,
        State.REVOKED: _OPEN | {State.CLOSED, State.PAYERROR},
    }

    state: Text = models.CharField(_("trade_state"), max_length=32, choices=State.choices, default=State.CREATED)
    product: Text = models.CharField(_("product"), max_length=16, choices=Product.choices)
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="wxpay_orders",
    )  # fmt: skip
    refunds: RefundQuerySet  # related
    contract_id: int | None  # the row's key, not WeChat Pay's number
    contract: models.ForeignKey[Contract | None, Contract | None] = models.ForeignKey(
        "django_wxpay.Contract", verbose_name=_("contract"), on_delete=models.PROTECT, null=True, blank=True,
        related_name="orders",
    )  # fmt: skip
    service_order_id: int | None
    service_order: models.ForeignKey[ServiceOrder | None, ServiceOrder | None] = models.ForeignKey(
        "django_wxpay.ServiceOrder", verbose_name=_("service order"), on_delete=models.PROTECT, null=True, blank=True,
        related_name="orders", db_index=False,
    )  # fmt: skip
    combine_order_id: int | None
    combine_order: models.ForeignKey[CombineOrder | None, CombineOrder | None] = models.ForeignKey(
        "django_wxpay.CombineOrder", verbose_name=_("combined order"), on_delete=models.PROTECT, null=True, blank=True,
        related_name="orders", db_index=False,
    )  # fmt: skip
    payee_id: int | None
    payee: models.ForeignKey[PayeeAuthorization | None, PayeeAuthorization | None] = models.ForeignKey(
        "django_wxpay.PayeeAuthorization", verbose_name=_("individual payee"), on_delete=models.PROTECT, null=True,
        blank=True, related_name="orders", db_index=False,
    )  # fmt: skip
    individual_auth_id: Text = models.CharField(_("individual_auth_id"), max_length=32, blank=True, default="")
    reference: Text = models.CharField(
        _("reference"), max_length=64, help_text=_("The shop's own name for this charge.")
    )
    attempt: Whole = models.PositiveSmallIntegerField(_("attempt"), default=1)
    out_trade_no: TextOrNone = models.CharField(_("out_trade_no"), max_length=32, null=True, blank=True)
    transaction_id: TextOrNone = models.CharField(_("transaction_id"), max_length=32, null=True, blank=True)
    description: Text = models.CharField(_("description"), max_length=128)
    attach: Text = models.CharField(_("attach"), max_length=127, blank=True, default="")
    amount_total: Whole = models.BigIntegerField(_("amount"), help_text=_("In the currency's minor unit."))
    currency: Text = models.CharField(_("currency"), max_length=3)
    payer_total: WholeOrNone = models.BigIntegerField(_("paid by the payer"), null=True, blank=True)
    payer_currency: Text = models.CharField(_("payer's currency"), max_length=3, blank=True, default="")
    payer_openid: Text = models.CharField(_("payer's openid"), max_length=128, blank=True, default="")  # under appid
    payer_sub_openid: Text = models.CharField(
        _("payer's openid under sub_appid"), max_length=128, blank=True, default=""
    )  # fmt: skip
    exchange_rate: WholeOrNone = models.BigIntegerField(_("exchange rate × 100,000,000"), null=True, blank=True)
    exchange_rate_type: Text = models.CharField(_("kind of exchange rate"), max_length=32, blank=True, default="")
    promotion_detail: models.JSONField[Any, Any] = models.JSONField(_("promotions"), null=True, blank=True)
    refund_reserved: Whole = models.BigIntegerField(_("refunded or being refunded"), default=0)
    trade_type: Text = models.CharField(_("trade_type"), max_length=16, blank=True, default="")
    bank_type: Text = models.CharField(_("bank_type"), max_length=32, blank=True, default="")
    success_time: TimeOrNone = models.DateTimeField(_("paid at"), null=True, blank=True)
    # NULL once final: the index holds only what `close_expired` may still have to reverse.
    close_after: TimeOrNone = models.DateTimeField(
        _("not reversed before"), null=True, blank=True, default=timezone.now
    )
    error_code: Text = models.CharField(_("error code"), max_length=64, blank=True, default="")

    objects: ClassVar[OrderQuerySet] = manager(OrderQuerySet)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "out_trade_no"], name="wxpay_order_out_trade_no"),
            models.UniqueConstraint(fields=["mchid", "transaction_id"], name="wxpay_order_transaction_id"),
            models.UniqueConstraint(
                fields=["mchid", "sub_mchid", "reference", "attempt"], name="wxpay_order_sub_reference_attempt"
            ),
            models.CheckConstraint(condition=Q(amount_total__gt=0), name="wxpay_order_amount_positive"),
            models.CheckConstraint(condition=Q(refund_reserved__gte=0), name="wxpay_order_reserved_not_negative"),
        ]
        indexes = [
            models.Index(fields=["mchid", "success_time"], name="wxpay_order_success"),  # a day's business
            models.Index(fields=["close_after"], name="wxpay_order_close_after"),
            models.Index(fields=["state", "created_at"], name="wxpay_order_state"),  # what is open; lists of a state
            models.Index(fields=["service_order"], name="wxpay_order_service_order"),
            models.Index(fields=["combine_order"], name="wxpay_order_combine_order"),
            models.Index(fields=["payee"], name="wxpay_order_payee"),
        ]
        permissions = [
            ("refund_order", _("Can refund orders")),
            ("close_order", _("Can close and reverse orders")),
            ("query_order", _("Can query orders")),
            ("retry_order", _("Can try deductions again")),
            ("take_quick_payment", _("Can take quick payments")),
        ]

    def __str__(self) -> str:
        return self.out_trade_no or self.transaction_id or self.reference

    @property
    def number(self) -> str | None:
        """What it is asked about by: our number, or WeChat Pay's where WeChat Pay made the order by itself."""
        return self.out_trade_no or self.transaction_id

    @property
    def together(self) -> Sequence[WireObject]:
        """The combined order that it is a part of."""
        return (self.combine_order,) if self.combine_order is not None else ()

    @property
    def is_paid(self) -> bool:
        return self.state in self.PAID

    @property
    def is_dead(self) -> bool:
        """Proved that it will not be paid."""
        return self.state in self.DEAD

    @property
    def lacks_refund(self) -> bool:
        """Whether WeChat Pay calls it refunded while no refund that we know of was taken. One statement, or none."""
        return self.state == self.State.REFUND and not self.refunds.taken().exists()

    @property
    def refundable_amount(self) -> int:
        """What can still be refunded, in minor units; 0 unless paid."""
        return max(self.amount_total - self.refund_reserved, 0) if self.is_paid else 0

    def reserve_refund(self, amount: int) -> bool:
        """Take `amount` out of what is refundable; False when not so much remains. One conditional UPDATE."""
        fits = Q(pk=self.pk, state__in=self.PAID, refund_reserved__lte=F("amount_total") - amount)
        taken = Order.objects.filter(fits).update(refund_reserved=F("refund_reserved") + amount)
        if taken:
            self.refund_reserved += amount
        return bool(taken)

    def change_reserved(self, amount: int) -> None:
        """Record a change of what is refunded that WeChat Pay reported; no cap, as it happened already."""
        Order.objects.filter(pk=self.pk).update(refund_reserved=F("refund_reserved") + amount)
        self.refund_reserved += amount
