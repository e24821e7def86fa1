from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Outcome, Remembered, TrueQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self


class NotificationQuerySet(TrueQuerySet["Notification"]):
    def due(self, now: datetime | None = None) -> Self:
        """Those whose time has come to be tried again."""
        return self.filter(state__in=Notification.RETRIED, next_try_at__lte=now or timezone.now())


class Notification(Remembered):
    """A genuine message from WeChat Pay, kept as it came (still encrypted).

    It names its object by `subject` and the merchant's own `number` in the message rather than by our key: the row
    is written before its object is looked up, and may speak of an object that we do not know. `next_try_at` is set
    while it is WAITING, FAILED, or of a kind that we do not know of a product that we serve.
    """

    class State(models.TextChoices):
        PROCESSED = "PROCESSED", _("processed")
        WAITING = "WAITING", _("waiting for its object")
        FAILED = "FAILED", _("failed, will be tried again")
        REFUSED = "REFUSED", _("does not fit our rows")
        UNHANDLED = "UNHANDLED", _("of a kind we do not know")

    RETRIED = (State.WAITING, State.FAILED, State.UNHANDLED)

    merchant = models.CharField(_("merchant"), max_length=32)
    mchid = models.CharField(_("mchid"), max_length=32)
    event_id = models.CharField(_("event id"), max_length=64)
    event_type = models.CharField(_("event type"), max_length=64)
    create_time = models.CharField(_("create_time"), max_length=64, blank=True, default="")
    subject = models.CharField(_("subject"), max_length=16, blank=True, default="")
    number = models.CharField(_("number"), max_length=64, blank=True, default="")
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices, blank=True, default="")
    error = models.CharField(_("error"), max_length=512, blank=True, default="")
    attempts = models.PositiveIntegerField(_("times received or tried"), default=1)
    body = models.BinaryField(_("body as received"))
    headers = models.JSONField(_("headers as received"), default=dict)
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    processed_at = models.DateTimeField(_("processed"), null=True, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True)

    objects: ClassVar[NotificationQuerySet] = manager(NotificationQuerySet)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["mchid", "event_id"], name="wxpay_notification_event_id")]
        indexes = [
            models.Index(fields=["subject", "number"], name="wxpay_notification_number"),
            models.Index(fields=["state", "next_try_at"], name="wxpay_notification_state"),  # what waits or failed
            models.Index(fields=["state", "received_at"], name="wxpay_notification_received"),  # what is old
        ]
        permissions = [("retry_notification", _("Can process notifications again"))]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id}"
