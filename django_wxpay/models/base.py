"""What every object that WeChat Pay knows has in common."""

from typing import Any

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Outcome(models.TextChoices):
    """What became of a verified message where facts come in (`apply_…`)."""

    APPLIED = "APPLIED", _("applied")
    SAME = "SAME", _("known already")
    STALE = "STALE", _("older than what we know")
    REFUSED = "REFUSED", _("does not fit our row")
    UNKNOWN_ROW = "UNKNOWN_ROW", _("about a row we do not know")


class Source(models.TextChoices):
    """Where a fact came from."""

    ANSWER = "ANSWER", _("answer to our request")
    NOTIFICATION = "NOTIFICATION", _("notification")
    QUERY = "QUERY", _("query")
    BILL = "BILL", _("bill")
    STAFF = "STAFF", _("staff")
    CLOCK = "CLOCK", _("time ran out")
    COMPARISON = "COMPARISON", _("comparison")


class TrueQuerySet(models.QuerySet):
    """Reads where it writes, whatever a router says of reading: a replica that lags behind would have us pay twice."""

    @property
    def db(self):
        return self._db or router.db_for_write(self.model, **self._hints)


class Remembered(models.Model):
    """What all our models have in common: also what relations lead to is read where it is written."""

    objects = TrueQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"


class WireObjectQuerySet(TrueQuerySet):
    def open(self):
        """Rows whose story has not ended. Open states are named, not final ones excluded: so an index serves it."""
        return self.filter(state__in=[state for state in self.model.State.values if state not in self.model.FINAL])

    def due(self, now=None):
        """Rows that want a query now."""
        return self.filter(next_poll_at__lte=now or timezone.now())


class WireObject(Remembered):
    """An object of a merchant. `state` is WeChat Pay's own word, or ours where it has none yet."""

    merchant = models.CharField(_("merchant"), max_length=32, help_text=_("Alias in the settings."))
    mchid = models.CharField(_("mchid"), max_length=32, help_text=_("The number that signs: mchid or sp_mchid."))
    sub_mchid = models.CharField(_("sub_mchid"), max_length=32, blank=True, default="")
    appid = models.CharField(_("appid"), max_length=32, help_text=_("appid or sp_appid."))
    sub_appid = models.CharField(_("sub_appid"), max_length=32, blank=True, default="")
    state_at = models.DateTimeField(_("in this state since"), default=timezone.now)
    synced_at = models.DateTimeField(_("confirmed with WeChat Pay"), null=True, blank=True)
    asked_at = models.DateTimeField(_("last asked for a status page"), null=True, blank=True, editable=False)
    next_poll_at = models.DateTimeField(_("next query"), null=True, blank=True, db_index=True)
    recheck_after = models.DateTimeField(_("in doubt until a query after"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, db_index=True)

    objects = WireObjectQuerySet.as_manager()

    subject: str  # the short word that names this kind of object everywhere
    MOVES: dict[Any, frozenset[Any]]  # state -> states that may follow
    FINAL: frozenset[Any]
    OURS: frozenset[Any]  # states that WeChat Pay has no word for: no message may bring them
    EARLIER: dict[Any, frozenset[Any]] = {}  # state -> states that only repeat an earlier part of its story
    AT_END: dict[str, Any] = {}  # what a row no longer needs once it is final: field -> value
    operation = None  # what a service wrote down for this row just now; None when it was asked before

    class Meta(Remembered.Meta):
        abstract = True

    @property
    def is_final(self):
        return self.state in self.FINAL

    @property
    def was_known(self):
        """Whether the service that returned this row found it under its reference, and asked nothing more."""
        return self.operation is None

    @property
    def number(self):
        """The merchant's own number of this object, as WeChat Pay writes it."""
        raise NotImplementedError
