from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered

if TYPE_CHECKING:
    from .base import Text, TextOrNone, Time, TimeOrNone, Whole


class Discrepancy(Remembered):
    """What does not fit. Open until a person says how it was resolved; one open row per object and kind."""

    subject: ClassVar[str] = "discrepancy"

    class Kind(models.TextChoices):
        MISMATCH = "MISMATCH", _("a message differs from our row")
        UNKNOWN_ROW = "UNKNOWN_ROW", _("a message about something we do not know")
        UNREADABLE = "UNREADABLE", _("a genuine message that we cannot read")
        UNKNOWN_STATE = "UNKNOWN_STATE", _("a state that we do not know")
        OVERRULED = "OVERRULED", _("a final state turned out otherwise")
        REFUND_EXCEEDS = "REFUND_EXCEEDS", _("more refunded than paid")
        STUCK = "STUCK", _("no outcome after a long time")
        BILL_MISSING = "BILL_MISSING", _("no statement for a day with payments")
        SETUP = "SETUP", _("WeChat Pay refuses our keys, numbers or permissions")
        ABNORMAL = "ABNORMAL", _("a refund could not be delivered")
        SIGNED_TWICE = "SIGNED_TWICE", _("a renewed sign plan was signed, too")
        PAID_TWICE = "PAID_TWICE", _("paid twice")

    class State(models.TextChoices):
        OPEN = "OPEN", _("open")
        RESOLVED = "RESOLVED", _("resolved")
        IGNORED = "IGNORED", _("ignored")

    merchant: Text = models.CharField(_("merchant"), max_length=32)
    kind: Text = models.CharField(_("kind"), max_length=32, choices=Kind.choices)
    about: Text = models.CharField(_("subject"), max_length=16)
    object_id: Whole = models.BigIntegerField(_("object"))
    number: Text = models.CharField(_("number"), max_length=64, blank=True, default="")
    ours: Text = models.TextField(_("ours"), blank=True, default="")
    theirs: Text = models.TextField(_("theirs"), blank=True, default="")
    state: Text = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.OPEN)
    seen: Whole = models.PositiveIntegerField(_("times seen"), default=1)
    open_key: TextOrNone = models.CharField(max_length=80, null=True, blank=True, unique=True, editable=False)
    created_at: Time = models.DateTimeField(_("found"), default=timezone.now)
    resolved_at: TimeOrNone = models.DateTimeField(_("resolved at"), null=True, blank=True)
    resolved_by: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("resolved by"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="+",
    )  # fmt: skip
    resolution: Text = models.CharField(_("how it was resolved"), max_length=512, blank=True, default="")

    class Meta:
        verbose_name = _("discrepancy")
        verbose_name_plural = _("discrepancies")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["about", "object_id"], name="wxpay_discrepancy_object"),
            models.Index(fields=["state", "-id"], name="wxpay_discrepancy_state"),  # a list of one state
        ]
        permissions = [("resolve_discrepancy", _("Can resolve discrepancies"))]

    def __str__(self) -> str:
        return f"{self.kind} {self.about} {self.number or self.object_id}"
