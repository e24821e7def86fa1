from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .plans import PLANS

MONTH = timedelta(days=30)


class Membership(models.Model):
    """What somebody chose. Whether it is signed and paid django_wxpay knows; here is what the shop makes of that."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("member"), on_delete=models.CASCADE, related_name="memberships"
    )
    plan_key = models.CharField(_("plan"), max_length=32, choices=[(plan.key, plan.name) for plan in PLANS.values()])
    contract = models.OneToOneField(
        "django_wxpay.Contract", verbose_name=_("contract"), on_delete=models.PROTECT, null=True, blank=True,
        related_name="membership",
    )  # fmt: skip
    chosen_at = models.DateTimeField(_("chosen"), default=timezone.now)
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
    def reference(self):
        """The shop's own name for the contract of this membership."""
        return f"membership-{self.pk}"

    @property
    def is_active(self):
        """A member until the paid month is over, also after terminating."""
        return self.paid_until is not None and self.paid_until > timezone.now()

    @property
    def renews(self):
        return self.contract is not None and self.contract.state == "SIGNED"

    def extend(self):
        """Another month, from the end of the paid one."""
        start = max(filter(None, [self.paid_until, timezone.now()]))
        self.paid_until = start + MONTH
        self.save(update_fields=["paid_until"])
