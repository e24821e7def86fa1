from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .plans import PLANS

MONTH = timedelta(days=30)


class Membership(models.Model):
    """What the shop makes of a signed contract. Whether it is signed and paid, django_wxpay knows."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("member"), on_delete=models.CASCADE, related_name="memberships"
    )
    plan_key = models.CharField(_("plan"), max_length=32)
    contract = models.OneToOneField(
        "django_wxpay.Contract", verbose_name=_("contract"), on_delete=models.PROTECT, related_name="membership"
    )
    began_at = models.DateTimeField(_("began"), default=timezone.now)
    paid_until = models.DateTimeField(_("paid until"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        ordering = ["-pk"]

    def __str__(self):
        return f"{self.plan.name} #{self.pk}"

    @property
    def plan(self):
        return PLANS[self.plan_key]

    @property
    def is_active(self):
        """A member until the paid month is over, also after terminating."""
        return self.paid_until is not None and self.paid_until > timezone.now()

    @property
    def renews(self):
        return self.contract.state == self.contract.State.SIGNED

    def extend(self):
        """Another month, from the end of the paid one."""
        self.paid_until = max(filter(None, [self.paid_until, timezone.now()])) + MONTH
        self.save(update_fields=["paid_until"])
