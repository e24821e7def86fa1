"""What staff may fetch from WeChat Pay for a whole list: a page with a form, and the ONE service behind it.

Fetching changes nothing at WeChat Pay and may be done as often as one likes, so a form needs no token of its own.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import RegexValidator
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..client.errors import WxPayError
from . import outcomes
from .actions import StaffActionsAdmin

logger = logging.getLogger(__name__)


class DayField(forms.DateField):
    """A day as browsers let people choose it."""

    def __init__(self, *, first=None, last=None, **options):
        limits = {name: day.isoformat() for name, day in (("min", first), ("max", last)) if day}
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", **limits})
        super().__init__(widget=widget, input_formats=["%Y-%m-%d"], **options)


def _usable():
    """The merchants of the settings that are complete; `check` names the others."""
    for alias in conf.aliases():
        try:
            yield conf.merchant(alias)
        except ImproperlyConfigured:
            continue


class MerchantForm(forms.Form):
    """Whose: a region's merchants of the settings. Asks only what there is to choose."""

    region = "global"
    nobody: Any = _("There is no global merchant in the settings.")

    def __init__(self, data=None, **options):
        super().__init__(data, **options)
        self.merchants = {merchant.alias: merchant for merchant in _usable() if merchant.region == self.region}
        if len(self.merchants) > 1:
            choices = [(alias, f"{alias} ({merchant.mchid})") for alias, merchant in self.merchants.items()]
            self.fields["merchant"] = forms.ChoiceField(label=_("Merchant"), choices=choices)
        if any(merchant.is_institution for merchant in self.merchants.values()):
            self.fields["sub_mchid"] = forms.CharField(
                label=_("Sub-merchant"),
                max_length=32,
                required=False,
                help_text=self.sub_mchid_help,
                validators=[RegexValidator(r"\A[0-9]+\Z", _("A merchant number has digits only."))],
            )
        self.order_fields(["merchant", "sub_mchid", *self.base_fields])

    sub_mchid_help: Any = ""

    def clean(self):
        asked = super().clean()
        if not self.merchants:
            raise ValidationError(self.nobody)
        if len(self.merchants) == 1:
            asked["merchant"] = next(iter(self.merchants))
        merchant = self.merchants.get(asked.get("merchant"))
        if asked.setdefault("sub_mchid", "") and merchant and not merchant.is_institution:
            self.add_error("sub_mchid", _("This merchant is in direct mode: it has no sub-merchants."))
        return asked


class Fetched(NamedTuple):
    """What came of it: in words, about which rows, and the page to show next (the list when empty)."""

    level: int
    text: Any
    rows: Sequence[Any] = ()
    url: str = ""


class Fetch:
    """One thing that staff may fetch. Texts are lazy."""

    name: str  # the last part of its address
    permission: str
    label: Any  # on the link to its page
    heading: Any
    button: Any
    form_class: type[MerchantForm]

    def consequences(self):
        """What will happen, one sentence each."""
        return []

    def perform(self, asked, page_of):
        """Do it by calling one service; returns `Fetched`. page_of: the admin's `url_of`."""
        raise NotImplementedError


class FetchingAdmin(StaffActionsAdmin):
    """A list with a link to the page of its `fetch`."""

    fetch: Fetch
    change_list_template = "admin/django_wxpay/fetched_list.html"

    def get_urls(self):
        return [self._path(f"{self.fetch.name}/", self.fetch_view, self.fetch.name), *super().get_urls()]

    def get_list_display(self, request):
        """Whose a row is matters only to a shop with more than one merchant."""
        several = len(conf.aliases()) > 1
        return [name for name in super().get_list_display(request) if several or name != "whose"]

    @admin.display(description=_("merchant"), ordering="mchid")
    def whose(self, row):
        return f"{row.merchant} {row.sub_mchid}".strip()

    def may_fetch(self, request):
        return self.has_view_permission(request) and self.may(request, self.fetch.permission)

    def changelist_view(self, request, extra_context=None):
        tools = []
        if self.may_fetch(request):
            tools = [{"url": self.url_of(self.fetch.name), "label": self.fetch.label}]
        return super().changelist_view(request, {**(extra_context or {}), "wxpay_tools": tools})

    def fetch_view(self, request):
        if not self.may_fetch(request):
            self.refuse(request, self.fetch.name)
        form = self.fetch.form_class(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                fetched = self.fetch.perform(form.cleaned_data, self.url_of)
            except WxPayError as error:
                field = getattr(error, "field", "")
                form.add_error(field if field in form.fields else None, outcomes.of_query_error(error))
            else:
                self._remember(request, form.cleaned_data, fetched)
                messages.add_message(request, fetched.level, fetched.text)
                return HttpResponseRedirect(fetched.url or self.url_of("changelist"))
        context = {
            **self.page_context(request, self.fetch.heading),
            "crumb": self.fetch.label,
            "fetch": self.fetch,
            "consequences": self.fetch.consequences(),
            "form": form,
        }
        return TemplateResponse(request, "admin/django_wxpay/fetch.html", context)

    def _remember(self, request, asked, fetched):
        logger.info("admin fetched %s merchant=%s user=%s", self.opts.model_name, asked["merchant"], request.user.pk)
        for row in fetched.rows:
            self.log_change(request, row, f"{self.fetch.label}: {fetched.text}")
