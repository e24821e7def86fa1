from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered, TrueQuerySet


class Action(models.TextChoices):
    SIGN = "SIGN", _("open a signing session")
    TERMINATE = "TERMINATE", _("terminate the contract")
    DEDUCT = "DEDUCT", _("deduct")
    PAY = "PAY", _("charge the payment code")
    REVERSE = "REVERSE", _("reverse")
    REFUND = "REFUND", _("refund")


class OperationQuerySet(TrueQuerySet):
    def of(self, row):
        return self.filter(subject=row.subject, object_id=row.pk)

    def open(self):
        return self.filter(open_key__isnull=False)

    def due(self, now=None):
        """Open ones that nobody holds and whose time has come."""
        now = now or timezone.now()
        free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
        return self.open().filter(free, next_try_at__lte=now)


class Operation(Remembered):
    """What we ask of WeChat Pay and that changes the world. Written before it is sent, one row per ask.

    `fields` are the business fields as sent, so that a repeat is the same request; never a payment code.
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
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("asked by"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="+",
    )  # fmt: skip
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    sent_at = models.DateTimeField(_("last sent"), null=True, blank=True)
    leased_until = models.DateTimeField(_("held until"), null=True, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True, db_index=True)
    request_id = models.CharField(_("Request-ID"), max_length=128, blank=True, default="")
    error_code = models.CharField(_("error code"), max_length=64, blank=True, default="")
    error_message = models.CharField(_("error message"), max_length=256, blank=True, default="")
    open_key = models.CharField(max_length=40, null=True, blank=True, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects = OperationQuerySet.as_manager()

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["subject", "object_id"], name="wxpay_operation_object")]
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "object_id", "action", "reference"], name="wxpay_operation_reference"
            )
        ]

    def __str__(self):
        return f"{self.action} {self.subject} {self.object_id}"

    @property
    def is_open(self):
        return self.open_key is not None
