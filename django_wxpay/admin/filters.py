"""Filters of the lists that cost no look through a whole table."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from .. import conf


class MerchantFilter(admin.SimpleListFilter):
    """The merchants in the settings; not shown when there is only one."""

    title = _("merchant")
    parameter_name = "merchant"

    def lookups(self, request, model_admin):
        aliases = conf.aliases()
        return [(alias, alias) for alias in aliases] if len(aliases) > 1 else []

    def queryset(self, request, queryset):
        return queryset.filter(merchant=self.value()) if self.value() else queryset


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
