from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from django.core.files.storage import Storage, storages
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered, TrueQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self

STORAGE = "wxpay_bills"


def bill_storage() -> Storage:
    """Where bills are kept: `STORAGES["wxpay_bills"]`, else the default one. They name openids: keep it private."""
    return storages[STORAGE if STORAGE in storages.backends else "default"]


def bill_path(bill: Bill, filename: str) -> str:
    return f"wxpay/bills/{bill.mchid}/{filename}"


class BillQuerySet(TrueQuerySet["Bill"]):
    def due(self, now: datetime | None = None) -> Self:
        """Bills that are still to be fetched and whose time has come."""
        return self.filter(next_try_at__lte=now or timezone.now())


class Bill(Remembered):
    """The file of one China day, gzipped as it is kept. `next_try_at` is NULL once nothing is to be fetched.

    Source: APIv3 manual, "Download reconciliation file", GET /v3/global/statements.
    """

    class Kind(models.TextChoices):
        STATEMENT = "STATEMENT", _("statement: payments and refunds (global)")

    class State(models.TextChoices):
        PENDING = "PENDING", _("to be fetched")
        DOWNLOADED = "DOWNLOADED", _("downloaded")
        RECONCILED = "RECONCILED", _("reconciled")
        NO_STATEMENT = "NO_STATEMENT", _("an empty day")
        FAILED = "FAILED", _("failed")

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32)
    sub_mchid = models.CharField(
        _("sub_mchid"), max_length=32, blank=True, default="", help_text=_("Empty: all of the merchant.")
    )
    bill_date = models.DateField(_("day"), help_text=_("A day in China, UTC+8."))
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.STATEMENT)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.PENDING)
    file = models.FileField(_("file"), storage=bill_storage, upload_to=bill_path, max_length=255, blank=True)
    sha1 = models.CharField(_("SHA-1"), max_length=40, blank=True, default="")
    size = models.BigIntegerField(_("bytes"), default=0, help_text=_("Uncompressed."))
    rows = models.PositiveIntegerField(_("rows"), default=0)
    payments = models.PositiveIntegerField(_("payments"), default=0)
    refunds = models.PositiveIntegerField(_("refunds"), default=0)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    error = models.CharField(_("last error"), max_length=1024, blank=True, default="")
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True, db_index=True)
    downloaded_at = models.DateTimeField(_("downloaded at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[BillQuerySet] = manager(BillQuerySet)

    class Meta:
        verbose_name = _("bill")
        verbose_name_plural = _("bills")
        ordering = ["-bill_date", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["mchid", "sub_mchid", "kind", "bill_date"], name="wxpay_bill_day")
        ]
        indexes = [
            models.Index(fields=["-bill_date", "-id"], name="wxpay_bill_listed"),
            models.Index(fields=["state", "-bill_date", "-id"], name="wxpay_bill_state"),
        ]
        permissions = [("download_bill", _("Can download bills"))]

    def __str__(self) -> str:
        return f"{self.mchid} {self.sub_mchid} {self.bill_date}".replace("  ", " ")

    @property
    def has_file(self) -> bool:
        return self.state in (self.State.DOWNLOADED, self.State.RECONCILED)
