from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered


class Settlement(Remembered):
    """Money credited, or still to be credited, to the merchant. Amounts are minor units of `currency`.

    `key` is what identifies a record in WeChat Pay's list. A payout is known by its `batch_id`, with wallet, currency
    and days of trade because one payout may have a record for each of them. What is not paid out yet has no batch: it
    is known by the first day of its trade, which stays while the pool that waits for the payout grows. When the payout
    comes, the waiting record of the same wallet, currency and first day becomes it; others that are listed no more
    are gone with it, or their money would count twice.

    `split_…`: what was shared with others (profit sharing); NULL when WeChat Pay told nothing of it.

    Source: APIv3 manual, "Query settlement", GET /v3/global/settle/settlements.
    """

    class State(models.TextChoices):
        SETTLED = "SETTLED", _("settled")
        UNSETTLE = "UNSETTLE", _("not yet settled")

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32)
    sub_mchid = models.CharField(_("sub_mchid"), max_length=32, blank=True, default="")
    key = models.CharField(max_length=128, editable=False)
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    batch_id = models.CharField(_("payout batch"), max_length=64, blank=True, default="")
    settlement_date = models.DateField(_("payout day"), null=True, blank=True)
    trade_start_date = models.DateField(_("first day of trade"))
    trade_end_date = models.DateField(_("last day of trade"))
    currency = models.CharField(_("currency"), max_length=3)
    wallet_region = models.CharField(_("wallet"), max_length=32, blank=True, default="")
    settled = models.BigIntegerField(_("settled"), default=0)
    unsettle = models.BigIntegerField(_("to be settled"), default=0)
    pay = models.BigIntegerField(_("payments"), default=0)
    refund = models.BigIntegerField(_("refunds"), default=0)
    net = models.BigIntegerField(_("net"), default=0, help_text=_("Payments less refunds."))
    fee = models.BigIntegerField(_("fee"), default=0)
    split_currency = models.CharField(_("currency of what was split"), max_length=3, blank=True, default="")
    split_settled = models.BigIntegerField(_("split: settled"), null=True, blank=True)
    split_unsettle = models.BigIntegerField(_("split: to be settled"), null=True, blank=True)
    split_pay = models.BigIntegerField(_("split: payments"), null=True, blank=True)
    split_refund = models.BigIntegerField(_("split: refunds"), null=True, blank=True)
    created_at = models.DateTimeField(_("first seen"), default=timezone.now)
    fetched_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("settlement")
        verbose_name_plural = _("settlements")
        ordering = ["-trade_start_date", "-pk"]
        constraints = [models.UniqueConstraint(fields=["mchid", "sub_mchid", "key"], name="wxpay_settlement_key")]
        indexes = [
            models.Index(fields=["state", "mchid", "sub_mchid", "trade_start_date"], name="wxpay_settlement_waiting"),
            models.Index(fields=["-trade_start_date", "-id"], name="wxpay_settlement_listed"),
        ]
        permissions = [("fetch_settlement", _("Can fetch settlements"))]

    def __str__(self) -> str:
        return self.batch_id or f"{self.trade_start_date} {self.currency}"

    @property
    def adds_up(self) -> bool:
        """Whether net is payments less refunds, and the money is net less fee: plausible, not promised."""
        return self.net == self.pay - self.refund and self.settled + self.unsettle == self.net - self.fee
