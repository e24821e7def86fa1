from django.db import models
from django.utils.translation import gettext_lazy as _

from .base import Remembered


class Turn(Remembered):
    """Whose turn a kind of background work is: one process at a time, whatever piled up in the queue."""

    kind = models.CharField(_("kind of work"), max_length=32, unique=True)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)
    ended_at = models.DateTimeField(_("last ended"), null=True, blank=True)
    wanted = models.BooleanField(_("wanted again meanwhile"), default=False)

    class Meta:
        verbose_name = _("turn of background work")
        verbose_name_plural = _("turns of background work")
        ordering = ["kind"]

    def __str__(self) -> str:
        return self.kind
