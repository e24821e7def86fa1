from typing import Any

from django import forms
from django.contrib import admin, messages
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine import discrepancies
from ..models import Discrepancy
from . import dashboard
from .actions import DONE_AT_ONCE, StaffAction, StaffActionsAdmin
from .base import NOTHING, AboutObjectAdmin, badge, shortened, subject_label
from .filters import AboutFilter, MerchantFilter
from .outcomes import Done

Kind, State = Discrepancy.Kind, Discrepancy.State
# Where money may move wrongly and a person must act; docs/how-to/operate.md has all kinds.
ADVICE = {
    Kind.SIGNED_TWICE: _(
        "One of the two is kept, the other is cancelled by itself while nothing of it was used. See that it ended; if "
        "it was used, talk to the customer."
    ),
    Kind.PAID_TWICE: _("Refund one of the payments: what WeChat Pay collected, on the page of its order."),
    Kind.REFUND_EXCEEDS: _("Somebody refunded in the merchant platform as well. Talk to them."),
    Kind.OVERRULED: _("Money may have moved; the row shows the truth now. Deliver, or refund."),
}


class NoteForm(forms.Form):
    note = forms.CharField(
        label=_("Note"),
        max_length=512,
        help_text=_("Required: the next reader wants to know why."),
        widget=forms.Textarea(attrs={"rows": 3, "cols": 70}),
    )


class End(StaffAction):
    permission = "resolve_discrepancy"
    form_class = list_form_class = NoteForm
    list_note = DONE_AT_ONCE
    service: Any = None
    ended: Any

    def why_not(self, row):
        return _("It is ended already.") if row.state != State.OPEN else ""

    def facts(self, row):
        return [
            (_("Kind"), row.get_kind_display()),
            (_("About"), f"{subject_label(row.about)} {row.number or row.object_id}"),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Found"), row.created_at),
            (_("Ours"), row.ours),
            (_("Theirs"), row.theirs),
            *([(_("What to do"), ADVICE[row.kind])] if row.kind in ADVICE else []),
        ]

    def perform(self, row, asked, *, reference, by):
        row = self.service(row, by=by, note=asked["note"])
        return Done(messages.SUCCESS, self.ended, row)

    def plan(self, row, asked, *, reference, by):
        return self.perform(row, asked, reference=reference, by=by)

    def result(self, row, reference):
        """A discrepancy ends once, whatever form ended it."""
        if row.state == State.OPEN:
            return None
        words = gettext("It is %(state)s: %(resolution)s")
        return Done(messages.INFO, words % {"state": row.get_state_display(), "resolution": row.resolution}, row)

    def list_facts(self, row, asked):
        return row.get_kind_display()


class Resolve(End):
    name = "resolve"
    label = _("Resolve")
    heading = _("Say how this was resolved")
    button = _("Mark as resolved")
    list_heading = _("Say how these were resolved")
    service = staticmethod(discrepancies.resolve)
    ended = _("The discrepancy is resolved.")

    def consequences(self, row):
        return [
            _("It leaves the list of what needs a person, and keeps your name and note."),
            _("Nothing else changes: no money moves, no row is corrected."),
            _("Should the same happen again, a new discrepancy is written."),
        ]


class Ignore(Resolve):
    name = "ignore"
    label = _("Ignore")
    heading = _("Say why this may stay as it is")
    button = _("Ignore")
    list_heading = _("Say why these may stay as they are")
    service = staticmethod(discrepancies.ignore)
    ended = _("The discrepancy is ignored from now on.")


RESOLVE, IGNORE = Resolve(), Ignore()


@admin.register(Discrepancy)
class DiscrepancyAdmin(AboutObjectAdmin, StaffActionsAdmin):
    staff_actions = (RESOLVE, IGNORE)
    actions = ["resolve_selected", "ignore_selected"]
    about_field = "about"
    list_display = ["kind", "about_link", "number_shown", "state_badge", "seen", "created_at", "resolved_by"]
    list_filter = ["state", "kind", AboutFilter, MerchantFilter]
    list_select_related = ["resolved_by"]
    search_fields = ["number__exact"]
    search_help_text = _("A number of the contract, order or refund.")
    fieldsets = [
        (None, {"fields": ["kind", "about_link", "number", "state_badge", "seen", "created_at", "merchant"]}),
        (_("What does not fit"), {"fields": ["ours_shown", "theirs_shown", "advice"]}),
        (_("How it ended"), {"fields": ["resolved_by", "resolved_at", "resolution"]}),
    ]

    def get_urls(self):
        opts = self.opts
        view = self.admin_site.admin_view(self.dashboard_view)
        return [path("dashboard/", view, name=f"{opts.app_label}_dashboard"), *super().get_urls()]

    def dashboard_view(self, request):
        """What needs a person today, as far as this person may see it."""
        cards = dashboard.cards(request, self.admin_site)
        if cards is None:
            self.refuse(request, "dashboard")
        context = self.page_context(request, _("What needs a person today")) | cards
        return TemplateResponse(request, "admin/django_wxpay/dashboard.html", context)

    @admin.display(description=_("number"), ordering="number")
    def number_shown(self, row):
        return shortened(row.number) if row.number else None

    @admin.display(description=_("ours"))
    def ours_shown(self, row):
        return format_html("<pre>{}</pre>", row.ours or NOTHING)

    @admin.display(description=_("theirs"))
    def theirs_shown(self, row):
        return format_html("<pre>{}</pre>", row.theirs or NOTHING)

    @admin.display(description=_("what to do"))
    def advice(self, row):
        return ADVICE.get(row.kind, NOTHING)

    @admin.action(description=_("Resolve the selected discrepancies"), permissions=["resolve"])
    def resolve_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, RESOLVE)

    @admin.action(description=_("Ignore the selected discrepancies"), permissions=["resolve"])
    def ignore_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, IGNORE)

    def has_resolve_permission(self, request):
        return self.may(request, RESOLVE.permission)
