from django.db import models
from django.utils.translation import gettext_lazy as _

from .base import Remembered


class PlatformCertificate(Remembered):
    """A platform certificate as WeChat Pay sent it: still encrypted, decrypted with the APIv3 key when loaded."""

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32)
    serial_no = models.CharField(_("serial number"), max_length=64)
    effective_time = models.DateTimeField(_("valid from"))
    expire_time = models.DateTimeField(_("valid until"))
    item = models.JSONField(_("encrypted item"))
    fetched_at = models.DateTimeField(_("fetched"), auto_now=True)

    class Meta:
        verbose_name = _("platform certificate")
        verbose_name_plural = _("platform certificates")
        ordering = ["-expire_time"]
        constraints = [models.UniqueConstraint(fields=["mchid", "serial_no"], name="wxpay_certificate_serial")]

    def __str__(self) -> str:
        return self.serial_no


class MerchantState(Remembered):
    """What all processes must agree on about a merchant: who may fetch certificates or settlements, how slow to be."""

    class Reason(models.TextChoices):
        RATE_LIMITED = "RATE_LIMITED", _("asked us to slow down")
        NO_ANSWER = "NO_ANSWER", _("gives no answer")

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32, unique=True)
    refresh_after = models.DateTimeField(_("certificates may be refreshed after"), null=True, blank=True)
    refreshed_at = models.DateTimeField(_("certificates refreshed"), null=True, blank=True)
    refresh_error = models.CharField(_("last refresh error"), max_length=256, blank=True, default="")
    clock_skew = models.IntegerField(_("seconds WeChat Pay's clock is ahead of ours"), null=True, blank=True)
    slow_until = models.DateTimeField(_("holds back until"), null=True, blank=True)
    slow_reason = models.CharField(_("reason"), max_length=16, choices=Reason.choices, blank=True, default="")
    slow_at = models.DateTimeField(_("last held back"), null=True, blank=True)
    settlements_due_at = models.DateTimeField(_("settlements are fetched after"), null=True, blank=True)
    slow_step = models.PositiveSmallIntegerField(_("times held back in a row"), default=0)

    class Meta:
        verbose_name = _("merchant state")
        verbose_name_plural = _("merchant states")
        permissions = [("resume_merchantstate", _("Can end a merchant's pause"))]

    def __str__(self) -> str:
        return self.merchant
