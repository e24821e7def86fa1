"""What every object that WeChat Pay knows has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import Self

    from .operations import Operation

    # What a field takes and gives, for editors that do not know Django's ways.
    Text: TypeAlias = models.Field[str, str]
    TextOrNone: TypeAlias = models.Field[str | None, str | None]
    Whole: TypeAlias = models.Field[int, int]
    WholeOrNone: TypeAlias = models.Field[int | None, int | None]
    Time: TypeAlias = models.Field[datetime, datetime]
    TimeOrNone: TypeAlias = models.Field[datetime | None, datetime | None]
    Flag: TypeAlias = models.Field[bool, bool]

M = TypeVar("M", bound=models.Model, covariant=True)
Q = TypeVar("Q", bound="models.QuerySet[Any]")
W = TypeVar("W", bound="WireObject", covariant=True)


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


class TrueQuerySet(models.QuerySet[M]):
    """Reads where it writes, whatever a router says of reading: a replica that lags behind would have us pay twice."""

    if TYPE_CHECKING:
        _db: str | None
        _hints: dict[str, Any]

    @property
    def db(self) -> str:
        return self._db or router.db_for_write(self.model, **self._hints)


def manager(queries: type[Q]) -> Q:
    """A manager that asks as this query set does; it is typed as one, for that is what a shop writes with it."""
    return cast(Q, queries.as_manager())


class Remembered(models.Model):
    """What all our models have in common: also what relations lead to is read where it is written."""

    objects: ClassVar[TrueQuerySet[Self]] = manager(TrueQuerySet)

    class Meta:
        abstract = True
        base_manager_name = "objects"


class WireObjectQuerySet(TrueQuerySet[W]):
    def open(self) -> Self:
        """Rows whose story has not ended. Open states are named, not final ones excluded: so an index serves it."""
        return self.filter(state__in=[state for state in self.model.State.values if state not in self.model.FINAL])

    def due(self, now: datetime | None = None) -> Self:
        """Rows that want a query now."""
        return self.filter(next_poll_at__lte=now or timezone.now())


class WireObject(Remembered):
    """An object of a merchant. `state` is WeChat Pay's own word, or ours where it has none yet."""

    merchant: Text = models.CharField(_("merchant"), max_length=32, help_text=_("Alias in the settings."))
    mchid: Text = models.CharField(_("mchid"), max_length=32, help_text=_("The number that signs: mchid or sp_mchid."))
    sub_mchid: Text = models.CharField(_("sub_mchid"), max_length=32, blank=True, default="")
    appid: Text = models.CharField(_("appid"), max_length=32, help_text=_("appid or sp_appid."))
    sub_appid: Text = models.CharField(_("sub_appid"), max_length=32, blank=True, default="")
    state: Text = models.CharField(_("state"), max_length=32)  # each subject has its own choices
    state_at: Time = models.DateTimeField(_("in this state since"), default=timezone.now)
    synced_at: TimeOrNone = models.DateTimeField(_("confirmed with WeChat Pay"), null=True, blank=True)
    asked_at: TimeOrNone = models.DateTimeField(
        _("last asked for a status page"), null=True, blank=True, editable=False
    )
    next_poll_at: TimeOrNone = models.DateTimeField(_("next query"), null=True, blank=True, db_index=True)
    recheck_after: TimeOrNone = models.DateTimeField(
        _("in doubt until a query after"), null=True, blank=True, editable=False
    )
    # A genuine message says otherwise than our final state, and no later query has settled it: no money moves on that.
    contradicted_at: TimeOrNone = models.DateTimeField(null=True, blank=True, editable=False)
    created_at: Time = models.DateTimeField(_("created"), default=timezone.now, db_index=True)

    objects: ClassVar[WireObjectQuerySet[Self]] = manager(WireObjectQuerySet)

    subject: ClassVar[str]  # the short word that names this kind of object everywhere
    State: ClassVar[type[models.TextChoices]]
    MOVES: ClassVar[Mapping[Any, frozenset[str]]]  # state -> states that may follow
    FINAL: ClassVar[frozenset[str]]
    OURS: ClassVar[frozenset[str]]  # states that WeChat Pay has no word for: no message may bring them
    EARLIER: ClassVar[Mapping[Any, frozenset[str]]] = {}  # state -> states that repeat an earlier part of its story
    AT_END: ClassVar[Mapping[str, Any]] = {}  # what a row no longer needs once it is final: field -> value
    operation: Operation | None = None  # what a service wrote down for this row just now; None when asked before

    class Meta(Remembered.Meta):
        abstract = True

    @property
    def together(self) -> Sequence[WireObject]:
        """The rows, beside this one, that a command for this row concerns too: its whole, or its parts.

        While a command for one of them has no outcome, none of the others gets one.
        """
        return ()

    @property
    def is_final(self) -> bool:
        return self.state in self.FINAL

    @property
    def was_known(self) -> bool:
        """Whether the service that returned this row found it under its reference, and asked nothing more."""
        return self.operation is None

    @property
    def number(self) -> str | None:
        """The merchant's own number of this object, as WeChat Pay writes it."""
        raise NotImplementedError
