from django.contrib import admin, messages
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine import transitions
from ..models import SUBJECTS, Transition
from ..services import attention
from .actions import DONE_AT_ONCE, StaffAction, StaffActionsAdmin
from .base import AboutObjectAdmin, badge
from .filters import MerchantFilter
from .filters import attention as attention_filter
from .outcomes import Done
from .timeline import delivery


class DeliverAgain(StaffAction):
    name = "deliver"
    permission = "deliver_transition"
    label = _("Deliver again")
    heading = _("Tell the shop’s receivers again?")
    button = _("Deliver now")
    list_heading = _("Tell the shop’s receivers of these again?")
    list_note = DONE_AT_ONCE

    def why_not(self, row):
        return _("It is delivered already.") if row.delivered_at else ""

    def why_not_now(self, row):
        problem = self.why_not(row)
        earlier = Transition.objects.undelivered().filter(subject=row.subject, object_id=row.object_id, pk__lt=row.pk)
        if not problem and (first := earlier.order_by("pk").first()):
            words = gettext("Receivers hear of things in order: deliver number %(pk)s of the same object first.")
            return words % {"pk": first.pk}
        return problem

    def facts(self, row):
        state, words = delivery(row)
        return [
            (_("What became true"), str(row)),
            (_("Recorded"), row.created_at),
            (_("Delivery"), badge(state, words)),
            (_("Attempts"), row.delivery_attempts),
            (_("Error"), row.delivery_error),
        ]

    def consequences(self, row):
        return [
            _("The shop’s receivers of this change run now; their writes count only if all of them succeed."),
            _("Nothing is sent to WeChat Pay by us."),
        ]

    def perform(self, row, asked, *, reference, by):
        delivered = transitions.deliver_again(row)
        if delivered:
            return Done(messages.SUCCESS, _("It is delivered."), row)
        row.refresh_from_db()
        if row.delivered_at:
            return Done(messages.SUCCESS, _("It is delivered."), row)
        words = gettext("A receiver failed again; it will be tried again by itself: %(error)s")
        return Done(messages.ERROR, words % {"error": row.delivery_error or "–"}, row)

    def list_facts(self, row, asked):
        return delivery(row)[1]

    def plan(self, row, asked, *, reference, by):
        return self.perform(row, asked, reference=reference, by=by)


def _in_words(row, state):
    model = SUBJECTS.get(row.subject)
    return dict(model.State.choices).get(state, state) if model else state


DELIVER = DeliverAgain()


@admin.register(Transition)
class TransitionAdmin(AboutObjectAdmin, StaffActionsAdmin):
    staff_actions = (DELIVER,)
    actions = ["deliver_selected"]
    list_display = ["created_at", "about_link", "from_shown", "to_shown", "delivery_shown", "source", "user"]
    list_filter = [
        attention_filter(parked=(_("parked"), attention.parked_transitions)),
        "source",
        ("delivered_at", admin.EmptyFieldListFilter),
        MerchantFilter,
    ]
    list_select_related = ["user"]
    search_fields = ["note__exact"]
    search_help_text = _("A number of the contract, order or refund.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "about_link", "from_shown", "to_shown", "source", "note", "user", "created_at", "merchant",
                ]
            },
        ),
        (
            _("Delivery to the shop’s receivers"),
            {"fields": ["delivery_shown", "delivered_at", "deliver_after", "delivery_attempts", "delivery_error"]},
        ),
    ]  # fmt: skip

    def get_queryset(self, request):
        return super().get_queryset(request).defer("evidence")

    @admin.display(description=_("from"), ordering="from_state")
    def from_shown(self, row):
        return _in_words(row, row.from_state)

    @admin.display(description=_("to"), ordering="to_state")
    def to_shown(self, row):
        return badge(row.to_state, _in_words(row, row.to_state))

    @admin.display(description=_("delivery"))
    def delivery_shown(self, row):
        return badge(*delivery(row))

    @admin.action(description=_("Deliver the selected transitions again"), permissions=["deliver"])
    def deliver_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, DELIVER)

    def has_deliver_permission(self, request):
        return self.may(request, DELIVER.permission)
