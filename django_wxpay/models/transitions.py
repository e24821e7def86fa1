from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import Remembered, Source, TrueQuerySet, manager

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import Text, Time, TimeOrNone, Whole


class TransitionQuerySet(TrueQuerySet["Transition"]):
    def of(self, row: Any) -> Self:
        return self.filter(subject=row.subject, object_id=row.pk)

    def undelivered(self) -> Self:
        return self.filter(delivered_at__isnull=True)

    def parked(self) -> Self:
        return self.undelivered().filter(deliver_after__isnull=True, delivery_attempts__gt=0)

    def due(self, now: datetime | None = None) -> Self:
        """Those whose time has come; an earlier one of the same object may still be undelivered."""
        return self.undelivered().filter(deliver_after__lte=now or timezone.now())

    def beside(self, transition: Transition) -> Self:
        """The undelivered ones of the same object."""
        return self.undelivered().filter(subject=transition.subject, object_id=transition.object_id)


class Transition(Remembered):
    """What became true, and the outbox from which the shop's receivers hear of it, in order per object.

    `deliver_after` is NULL once delivered, while parked after too many failures, and (without attempts) while it waits
    for an earlier one that is put off or parked.
    """

    merchant: Text = models.CharField(_("merchant"), max_length=32)
    subject: Text = models.CharField(_("subject"), max_length=16)
    object_id: Whole = models.BigIntegerField(_("object"))
    from_state: Text = models.CharField(_("from"), max_length=32, blank=True, default="")
    to_state: Text = models.CharField(_("to"), max_length=32)
    source: Text = models.CharField(_("source"), max_length=16, choices=Source.choices)
    evidence: Text = models.TextField(_("verified text"), blank=True, default="")
    note: Text = models.CharField(_("note"), max_length=256, blank=True, default="")
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, blank=True,
        related_name="+",
    )  # fmt: skip
    created_at: Time = models.DateTimeField(_("recorded"), default=timezone.now)
    delivered_at: TimeOrNone = models.DateTimeField(_("delivered"), null=True, blank=True)
    deliver_after: TimeOrNone = models.DateTimeField(_("next delivery"), null=True, blank=True, default=timezone.now)
    delivery_attempts: Whole = models.PositiveSmallIntegerField(_("delivery attempts"), default=0)
    delivery_error: Text = models.CharField(_("delivery error"), max_length=512, blank=True, default="")

    objects: ClassVar[TransitionQuerySet] = manager(TransitionQuerySet)

    class Meta:
        verbose_name = _("transition")
        verbose_name_plural = _("transitions")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["subject", "object_id"], name="wxpay_transition_object"),
            # What is due, in its order, and what is parked: all that is undelivered stands together.
            models.Index(fields=["delivered_at", "deliver_after"], name="wxpay_transition_delivery"),
        ]
        permissions = [("deliver_transition", _("Can deliver transitions again"))]

    def __str__(self) -> str:
        return f"{self.subject} {self.object_id}: {self.from_state} → {self.to_state}"

    @property
    def is_parked(self) -> bool:
        return self.delivered_at is None and self.deliver_after is None and self.delivery_attempts > 0
