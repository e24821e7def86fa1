"""What was asked of WeChat Pay; a person can end one by hand."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine import holds, operations
from ..models import Operation
from ..services import attention
from .actions import StaffAction, StaffActionsAdmin
from .base import AboutObjectAdmin, badge, error_of, masked
from .facts import about
from .filters import MerchantFilter
from .filters import attention as attention_filter
from .outcomes import Done

OPENIDS = {"openid", "sub_openid"}
State = Operation.State


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=256,
        help_text=_("Required: the next reader wants to know why."),
        widget=forms.Textarea(attrs={"rows": 3, "cols": 70}),
    )


class EndByHand(StaffAction):
    name = "end"
    permission = "end_operation"
    label = _("End by hand")
    heading = _("End this request by hand?")
    button = _("End it")
    form_class = ReasonForm
    tone = "danger"

    def why_not(self, row: Operation) -> Any:
        if not row.is_open:
            return _("It is over already.")
        until = holds.held_until(row)
        if until is not None and until > timezone.now():
            words = gettext("It may still be under way. Try again after %(time)s.")
            return words % {"time": date_format(timezone.localtime(until), "H:i:s")}
        return ""

    def facts(self, row: Operation) -> list[tuple[Any, Any]]:
        return [
            (_("Request"), row.get_action_display()),
            *about(row.subject, row.object_id),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Attempts"), row.attempts),
            (_("Last sent"), row.sent_at),
            (_("Error"), error_of(row)),
        ]

    def consequences(self, row: Operation) -> list[Any]:
        if row.busy_until is None:
            return [
                _("WeChat Pay has surely not taken it. It is not sent any more, and ends as refused."),
                _("So does what it was to bring about: a charge, a refund. What was reserved for it is free again."),
            ]
        return [
            _("WeChat Pay may have taken it. It is not sent any more, and its outcome stays unknown."),
            _("What was reserved for it stays so, and nothing is charged anew, until a query proves how it ended."),
            _("Its object is queried at once, and goes its usual way to its end."),
        ]

    def perform(self, row: Operation, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        return self.result(operations.end(row, by=by, reason=asked["reason"]), reference)

    def result(self, row: Operation, reference: str) -> Done | None:
        """An operation ends once, whatever ended it."""
        if row.is_open:
            return None
        words = gettext("It is over: %(state)s.") % {"state": row.get_state_display()}
        level = messages.WARNING if row.state == State.UNKNOWN else messages.SUCCESS
        return Done(level, f"{words} {row.error_message}".strip(), row)


@admin.register(Operation)
class OperationAdmin(AboutObjectAdmin, StaffActionsAdmin):
    staff_actions = (EndByHand(),)
    list_display = [
        "action", "about_link", "state_badge", "requested_by", "attempts", "error_code", "created_at", "finished_at",
    ]  # fmt: skip
    list_filter = [
        attention_filter(
            doubt=(_("outcome unknown for minutes"), attention.operations_in_doubt),
            unsent=(_("not sent for minutes"), attention.operations_unsent),
        ),
        "state",
        "action",
        MerchantFilter,
    ]
    list_select_related = ["requested_by"]
    search_fields = ["reference__exact", "request_id__exact", "error_code__exact"]
    search_help_text = _("Whole values: a number of the object, a reference, a Request-ID or an error code.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("action", "about_link", "state_badge"), ("requested_by", "reference"),
                    ("created_at", "sent_at", "finished_at"), ("attempts", "next_try_at", "leased_until", "busy_until"),
                    ("error_code", "error_message"), "request_id", ("merchant", "mchid"),
                ]
            },
        ),
        (_("As sent"), {"fields": ["fields_shown"]}),
    ]  # fmt: skip

    @admin.display(description=_("fields"))
    def fields_shown(self, row: Operation) -> SafeString:
        """The business fields of the request; openids masked."""
        shown = ((name, masked(value) if name in OPENIDS else value) for name, value in sorted(row.fields.items()))
        pairs = ((name, value) for name, value in shown if value not in (None, ""))
        lines = format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs)
        return format_html('<dl class="wxpay-fields">{}</dl>', lines)
