from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered, TrueQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self


class Action(models.TextChoices):
    SIGN = "SIGN", _("open a signing session")
    TERMINATE = "TERMINATE", _("terminate the contract")
    DEDUCT = "DEDUCT", _("deduct")
    PAY = "PAY", _("charge the payment code")
    REVERSE = "REVERSE", _("reverse")
    REFUND = "REFUND", _("refund")
    CREATE_PLAN = "CREATE_PLAN", _("create the PayScore plan")
    STOP_PLAN = "STOP_PLAN", _("stop the PayScore plan")
    SIGN_PLAN = "SIGN_PLAN", _("open the signing of the plan")
    CANCEL_SIGN_PLAN = "CANCEL_SIGN_PLAN", _("cancel the sign plan")
    START = "START", _("start the service order")
    COMPLETE = "COMPLETE", _("complete the service order")
    CANCEL = "CANCEL", _("cancel the service order")
    REPORT_PAID = "REPORT_PAID", _("report it as paid elsewhere")
    MODIFY = "MODIFY", _("lower the amount")
    COLLECT = "COLLECT", _("ask for a collection")
    PREPAY = "PREPAY", _("place the combined order")
    CLOSE = "CLOSE", _("close the combined order")


class OperationQuerySet(TrueQuerySet["Operation"]):
    def of(self, row: Any) -> Self:
        """All of a row, by the index of the unique reference."""
        return self.filter(subject=row.subject, object_id=row.pk)

    def open(self) -> Self:
        return self.filter(open_key__isnull=False)

    def free(self, now: datetime) -> Self:
        """Those that nobody holds."""
        return self.filter(Q(leased_until__isnull=True) | Q(leased_until__lte=now))

    def due(self, now: datetime | None = None) -> Self:
        """Open ones that nobody holds and whose time has come. By the index of `next_try_at`: closed ones have none."""
        now = now or timezone.now()
        return self.open().free(now).filter(next_try_at__lte=now)


class Operation(Remembered):
    """What we ask of WeChat Pay and that changes the world. Written before it is sent, one row per request.

    `fields` are the business fields as sent, so that a repeat is the same request; never a payment code. `busy_until`
    is NULL while it is certain that no request of it was taken, or ever will be.
    """

    class State(models.TextChoices):
        PLANNED = "PLANNED", _("planned")
        SENT = "SENT", _("sent")
        DONE = "DONE", _("done")
        REFUSED = "REFUSED", _("refused")
        UNKNOWN = "UNKNOWN", _("outcome unknown")

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32)
    subject = models.CharField(_("subject"), max_length=16)
    object_id = models.BigIntegerField(_("object"))
    action = models.CharField(_("action"), max_length=16, choices=Action.choices)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.PLANNED)
    reference = models.CharField(_("reference"), max_length=64, null=True, blank=True)
    fields = models.JSONField(_("fields as sent"), default=dict)
    secret_digest = models.CharField(max_length=64, blank=True, default="", editable=False)  # of a payment code, keyed
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("asked by"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="+",
    )  # fmt: skip
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    sent_at = models.DateTimeField(_("last sent"), null=True, blank=True)
    busy_until = models.DateTimeField(
        _("may arrive until"), null=True, blank=True,
        help_text=_("A request that was sent may arrive until then. Empty: what was sent surely has no effect."),
    )  # fmt: skip
    leased_until = models.DateTimeField(_("held until"), null=True, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True, db_index=True)
    request_id = models.CharField(_("Request-ID"), max_length=128, blank=True, default="")
    error_code = models.CharField(_("error code"), max_length=64, blank=True, default="")
    error_message = models.CharField(_("error message"), max_length=256, blank=True, default="")
    open_key = models.CharField(max_length=40, null=True, blank=True, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects: ClassVar[OperationQuerySet] = manager(OperationQuerySet)

    # In memory only; `engine.holds` says what they are for.
    lease: datetime | None = None
    busy_before: datetime | None = None
    auth_code: str  # of a quick payment

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "-id"], name="wxpay_operation_state")]  # a list of one state
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "object_id", "action", "reference"], name="wxpay_operation_reference"
            )
        ]
        permissions = [("end_operation", _("Can end requests by hand"))]

    def __str__(self) -> str:
        return f"{self.action} {self.subject} {self.object_id}"

    @property
    def is_open(self) -> bool:
        return self.open_key is not None
