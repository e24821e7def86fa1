"""PayScore plans: create, stop, query."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Action, Operation, PayscorePlan, SignPlan
from ..services import payscore
from . import amounts, outcomes
from .actions import StaffAction
from .base import badge, link_to, shortened
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .plan_creation import CreatesPlans
from .queries import Query

CURRENCY = PayscorePlan.currency
SHOWN = 20


class StopPlan(StaffAction):
    name = "stop"
    permission = "stop_plan"
    label = _("Stop")
    heading = _("Stop this plan?")
    button = _("Stop the plan")
    tone = "danger"

    def why_not(self, row: PayscorePlan) -> Any:
        if row.state != PayscorePlan.State.NORMAL:
            return _("The plan is not on offer: there is nothing to stop.")
        return ""

    def facts(self, row: PayscorePlan) -> list[tuple[Any, Any]]:
        running = row.sign_plans.filter(state=SignPlan.State.SIGNED).count()
        return [*_of_plan(row), (_("Signed and running"), running)]

    def consequences(self, row: PayscorePlan) -> list[Any]:
        return [
            _("Nobody can sign this plan any more."),
            _("Who has signed it uses its services to the end."),
            _("It cannot be undone: there would have to be a new plan."),
        ]

    def perform(self, row: PayscorePlan, asked: Any, *, reference: str, by: Any) -> Done | None:
        row = payscore.stop_plan(row, reference=reference, by=by)
        return None if row.operation else Done(messages.SUCCESS, gettext("The plan is stopped."), row)

    def result(self, row: PayscorePlan, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=Action.STOP_PLAN, reference=reference).first()
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, _("The plan is stopped.")))
        return Done(level, words, row)


class QueryPlan(Query):
    permission = "query_payscoreplan"
    heading = _("Ask WeChat Pay about this plan?")
    sync = staticmethod(payscore.sync)

    def facts(self, row: PayscorePlan) -> list[tuple[Any, Any]]:
        return [*_of_plan(row), (_("Last confirmed"), row.synced_at)]


STOP, QUERY = StopPlan(), QueryPlan()


@admin.register(PayscorePlan)
class PayscorePlanAdmin(CreatesPlans, ObjectAdmin):
    staff_actions = (STOP, QUERY)
    actions = ["query_selected"]
    list_display = ["number_shown", "state_badge", "plan_name", "services", "price", "created_at"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    search_help_text = _("Whole values: merchant_plan_no, plan_id, reference.")
    search_fields = ["merchant_plan_no__exact", "plan_id__exact", "reference__exact"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("merchant_plan_no", "plan_id"), ("plan_name", "plan_duration"),
                    ("deduction_quantity", "service_id"), ("stop_time", "error_code"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"), ("reference", "created_at"),
                    ("state_at", "synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def summary(self, row: PayscorePlan) -> list[Part]:
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("Price"), amounts.in_words(row.total_actual_price, CURRENCY)),
            Part(_("Original price"), amounts.in_words(row.total_original_price, CURRENCY)),
        ]

    def related(self, row: PayscorePlan) -> list[dict[str, Any]]:
        services = [
            [
                one.plan_detail_no,
                one.plan_detail_name,
                amounts.in_words(one.original_price, CURRENCY),
                amounts.in_words(one.actual_price, CURRENCY),
                one.plan_discount_description,
            ]
            for one in row.details.all()
        ]
        newest = list(row.sign_plans.select_related("user").order_by("-pk")[: SHOWN + 1])
        signed = [
            [link_to(one, shortened(one), self.admin_site), badge(one.state, one.get_state_display()), one.user,
             one.created_at]
            for one in newest[:SHOWN]
        ]  # fmt: skip
        more = ""
        if len(newest) > SHOWN and self.admin_site.is_registered(SignPlan):
            shown: Any = self.admin_site.get_model_admin(SignPlan)
            url = shown.url_of("changelist")
            more = format_html('<a href="{}?plan__id__exact={}">{}</a>', url, row.pk, _("All sign plans of this plan"))
        return [
            {
                "title": _("Services"),
                "heads": [_("No."), _("Name"), _("Original price"), _("Price"), _("Discount")],
                "rows": services,
            },
            {
                "title": _("Newest sign plans"),
                "heads": [_("Sign plan"), _("State"), _("User"), _("Created")],
                "rows": signed,
                "more": more,
                "empty": _("Nobody has been asked to sign it yet."),
            },
        ]

    @admin.display(description=_("merchant_plan_no"), ordering="merchant_plan_no")
    def number_shown(self, row: PayscorePlan) -> Any:
        return shortened(row)

    @admin.display(description=_("services"), ordering="deduction_quantity")
    def services(self, row: PayscorePlan) -> int:
        return row.deduction_quantity

    @admin.display(description=_("price"), ordering="total_actual_price")
    def price(self, row: PayscorePlan) -> Any:
        return amounts.in_words(row.total_actual_price, CURRENCY)

    @admin.action(description=_("Query the selected plans"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)


def _of_plan(row: PayscorePlan) -> list[tuple[Any, Any]]:
    return [
        (_("Plan"), row.plan_name),
        (_("Number"), row.merchant_plan_no),
        (_("Price"), amounts.in_words(row.total_actual_price, CURRENCY)),
        (_("State"), badge(row.state, row.get_state_display())),
    ]
