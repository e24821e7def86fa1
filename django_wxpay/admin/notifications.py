from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..client.errors import WxPayError
from ..models import SUBJECTS, Notification
from ..services import attention, notifications
from .actions import DONE_AT_ONCE, StaffAction, StaffActionsAdmin
from .base import NOTHING, NUMBERS, badge, change_url, shortened, subject_label
from .filters import MerchantFilter, SubjectFilter
from .filters import attention as attention_filter
from .outcomes import Done

State = Notification.State
LEVELS: dict[str, int] = {State.PROCESSED: messages.SUCCESS}


class ProcessAgain(StaffAction):
    name = "retry"
    permission = "retry_notification"
    label = _("Process again")
    heading = _("Process this notification again?")
    button = _("Process again")
    list_heading = _("Process these notifications again?")
    list_note = DONE_AT_ONCE

    def why_not(self, row: Notification) -> str | Promise:
        return _("It is processed already.") if row.state == State.PROCESSED else ""

    def facts(self, row: Notification) -> list[tuple[Any, Any]]:
        return [
            (_("Event type"), row.event_type),
            (_("About"), " ".join(filter(None, [subject_label(row.subject), row.number]))),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Error"), row.error),
            (_("Received"), row.received_at),
        ]

    def consequences(self, row: Notification) -> list[Any]:
        return [
            _("The message as it was received is opened and applied again; nothing is sent to WeChat Pay."),
            _("What it says is recorded only once, however often it is processed."),
        ]

    def perform(self, row: Notification, asked: dict[str, Any], *, reference: str, by: Any) -> Done:
        try:
            row = notifications.retry(row)
        except WxPayError as error:
            words = gettext("It failed again, and stays for the next try: %(error)s")
            return Done(messages.ERROR, words % {"error": error}, row)
        if row.state == State.UNHANDLED:
            words = gettext("This version does not know its kind. Upgrade, then process it again.")
            return Done(messages.INFO, words, row)
        words = gettext("It was processed; it is now: %(state)s.") % {"state": row.get_state_display()}
        if row.error:
            words = f"{words} ({row.error})"
        return Done(LEVELS.get(row.state, messages.WARNING), words, row)

    def plan(self, row: Notification, asked: dict[str, Any], *, reference: str, by: Any) -> Done:
        return self.perform(row, asked, reference=reference, by=by)


RETRY = ProcessAgain()


@admin.register(Notification)
class NotificationAdmin(StaffActionsAdmin):
    staff_actions = (RETRY,)
    actions = ["retry_selected"]
    list_display = ["event_type", "number_shown", "state_badge", "outcome", "attempts", "error", "received_at"]
    list_filter = [
        attention_filter(
            failed=(_("failed"), attention.failed_notifications),
            waiting=(_("waiting"), attention.waiting_notifications),
            unknown=(_("of an unknown kind"), attention.unknown_notifications),
        ),
        "state",
        "outcome",
        SubjectFilter,
        MerchantFilter,
        "received_at",
    ]
    search_fields = ["event_id__exact", "number__exact"]
    search_help_text = _("Whole values: an event id, or the merchant’s number of the contract, order or refund.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("event_type", "event_id"), "about_link", ("state_badge", "outcome", "attempts"), "error",
                    ("received_at", "processed_at", "next_try_at"), "create_time", ("merchant", "mchid"),
                ]
            },
        ),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).defer("body", "headers")

    @admin.display(description=_("number"), ordering="number")
    def number_shown(self, row: Notification) -> str | None:
        return shortened(row.number) if row.number else None

    @admin.display(description=_("about"))
    def about_link(self, row: Notification) -> str | None:
        model = SUBJECTS.get(row.subject)
        if model is None or not row.number:
            return row.number or NOTHING
        known = model.objects.filter(mchid=row.mchid, **{NUMBERS[row.subject][0]: row.number}).first()
        text = f"{model._meta.verbose_name} {row.number}"
        url = known and change_url(model, known.pk, self.admin_site)
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    @admin.action(description=_("Process the selected notifications again"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse:
        return self.confirm_selected(request, queryset, RETRY)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RETRY.permission)
