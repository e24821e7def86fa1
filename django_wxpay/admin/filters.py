"""Filters of the lists that cost no look through a whole table."""

from datetime import date, datetime, time

from django.contrib import admin
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..models import SUBJECTS, Bill, MerchantState, Notification, Operation, WireObject
from ..services import bills

MONTHS = 36
NEWEST_ROWS = 500


class MerchantFilter(admin.SimpleListFilter):
    """The merchants in the settings; not shown when there is only one."""

    title = _("merchant")
    parameter_name = "merchant"

    def lookups(self, request, model_admin):
        aliases = conf.aliases()
        return [(alias, alias) for alias in aliases] if len(aliases) > 1 else []

    def queryset(self, request, queryset):
        return queryset.filter(merchant=self.value()) if self.value() else queryset


class SubjectFilter(admin.SimpleListFilter):
    """What a row is about; Django would look for the words in the whole table."""

    title = _("subject")
    parameter_name = "subject"
    subjects: dict[str, type[models.Model]] = {
        word: model for word, model in SUBJECTS.items() if issubclass(model, WireObject)
    }

    def lookups(self, request, model_admin):
        return [(word, model._meta.verbose_name) for word, model in self.subjects.items()]

    def queryset(self, request, queryset):
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class AboutFilter(SubjectFilter):
    """The same for discrepancies, which may be about more."""

    parameter_name = "about"
    subjects = SubjectFilter.subjects | {
        "bill": Bill, "merchant": MerchantState, "notification": Notification, "operation": Operation,
    }  # fmt: skip


class AttentionFilter(admin.SimpleListFilter):
    """What needs a person, as `services.attention` finds it. `choices_of` is [(value, label, its function)]."""

    title = _("needs attention")
    parameter_name = "attention"
    finders: dict = {}

    def lookups(self, request, model_admin):
        return [(value, label) for value, (label, find) in self.finders.items()]

    def queryset(self, request, queryset):
        known = self.finders.get(self.value())
        return queryset.filter(pk__in=known[1]().values("pk")) if known else queryset


def attention(**finders):
    """An `AttentionFilter` for these: value=(label, function that gives a query set)."""
    return type("AttentionFilter", (AttentionFilter,), {"finders": finders})


class MonthFilter(admin.SimpleListFilter):
    """The last three years' months of a day or a time; Django's own drill-down looks through the whole table."""

    title = _("month")
    parameter_name = "month"
    field = ""

    def lookups(self, request, model_admin):
        today = bills.china_today()
        count = today.year * 12 + today.month - 1
        months = [date(back // 12, back % 12 + 1, 1) for back in range(count, count - MONTHS, -1)]
        return [(f"{month:%Y-%m}", f"{month:%Y-%m}") for month in months]

    def queryset(self, request, queryset):
        try:
            begins = date.fromisoformat(f"{self.value()}-01")
        except ValueError:
            return queryset
        ends = date(begins.year + begins.month // 12, begins.month % 12 + 1, 1)
        if isinstance(queryset.model._meta.get_field(self.field), models.DateTimeField):
            begins, ends = (timezone.make_aware(datetime.combine(day, time.min)) for day in (begins, ends))
        return queryset.filter(**{f"{self.field}__gte": begins, f"{self.field}__lt": ends})


def month(field):
    """A `MonthFilter` of that field."""
    return type("MonthFilter", (MonthFilter,), {"field": field})


class CurrencyFilter(admin.SimpleListFilter):
    """The currencies of the newest rows."""

    title = _("currency")
    parameter_name = "currency"

    def lookups(self, request, model_admin):
        newest = model_admin.get_queryset(request).order_by(*model_admin.opts.ordering)
        codes = set(newest.values_list("currency", flat=True)[:NEWEST_ROWS])
        return [(code, code) for code in sorted(codes)]

    def queryset(self, request, queryset):
        return queryset.filter(currency=self.value()) if self.value() else queryset
