"""Plans that customers signed: each service of one, start the next, cancel, query."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Action, Operation, ServiceOrder, SignPlan, SignPlanDetail
from ..services import service_orders, sign_plans
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .base import badge, link_to, masked, shortened
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .queries import Query

CURRENCY = SignPlan.currency
OVER = (SignPlanDetail.State.USED, SignPlanDetail.State.SIGN_PLAN_DETAIL_CANCEL)


class CancellationForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=128,
        help_text=_("Goes to WeChat Pay; the customer may see it."),
        widget=forms.TextInput(attrs={"size": 60}),
    )


class CancelSignPlan(StaffAction):
    name = "cancel"
    permission = "cancel_sign_plan"
    label = _("Cancel")
    heading = _("Cancel this sign plan?")
    button = _("Cancel the sign plan")
    leave_link = _("Back")
    tone = "danger"
    form_class = list_form_class = CancellationForm
    list_heading = _("Cancel these sign plans?")

    def why_not(self, row: SignPlan) -> Any:
        if row.state not in (SignPlan.State.SIGNED, SignPlan.State.UNSIGNED):
            return _("It is not signed (any more): there is nothing to cancel.")
        return ""

    def why_not_now(self, row: SignPlan) -> Any:
        problem = self.why_not(row)
        if not problem and row.service_orders.filter(state=ServiceOrder.State.PLANNED).exists():
            return _("One of its services is being started at this moment. Wait until its outcome is known.")
        return problem

    def facts(self, row: SignPlan) -> list[tuple[Any, Any]]:
        by_state = {
            state: ", ".join(str(detail) for detail in row.details.all() if detail.state == state)
            for state in (SignPlanDetail.State.NOT_USED, SignPlanDetail.State.USING)
        }
        return [
            *_of_sign_plan(row),
            (_("Not used yet"), by_state[SignPlanDetail.State.NOT_USED]),
            (_("In use, goes on"), by_state[SignPlanDetail.State.USING]),
        ]

    def consequences(self, row: SignPlan) -> list[Any]:
        return [
            _("Services that are not used yet can never be used."),
            _("A service order that was started goes on: complete it, or cancel it by itself."),
            _("What was paid stays paid; refunds stay possible."),
            _("It cannot be undone: the customer would have to sign again."),
        ]

    def perform(self, row: SignPlan, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = sign_plans.cancel(row, reason=asked["reason"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def plan(self, row: SignPlan, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = sign_plans.plan_cancellation(row, reason=asked["reason"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def result(self, row: SignPlan, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=Action.CANCEL_SIGN_PLAN, reference=reference).first()
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, _("The sign plan is cancelled.")))
        return Done(level, words, row)


class StartForm(forms.Form):
    introduction = forms.CharField(
        label=_("What the customer sees"),
        max_length=20,
        required=False,
        help_text=_("The service’s name when it is left empty."),
    )
    location = forms.CharField(label=_("Place"), max_length=50, required=False)


class StartNext(StaffAction):
    name = "start"
    permission = "start_serviceorder"
    label = _("Start the next service")
    heading = _("Start the next service of this sign plan?")
    button = _("Start the service")
    form_class = StartForm

    def why_not(self, row: SignPlan) -> Any:
        if row.state != SignPlan.State.SIGNED:
            return _("It is not signed (any more): nothing can begin.")
        return ""

    def why_not_now(self, row: SignPlan) -> Any:
        problem = self.why_not(row)
        if problem:
            return problem
        if sign_plans.is_superseded(row):
            return _("The customer signed twice, and another sign plan is the one in use.")
        running = row.service_orders.open().first()
        if running is not None:
            words = gettext("Service order %(number)s comes first: complete it until it is paid, or cancel it.")
            return words % {"number": running.number}
        return "" if row.next_detail() else _("No service is left.")

    def facts(self, row: SignPlan) -> list[tuple[Any, Any]]:
        following = row.next_detail()
        price = amounts.in_words(following.actual_price, CURRENCY) if following else None
        return [*_of_sign_plan(row), (_("Next service"), following), (_("Price"), price)]

    def consequences(self, row: SignPlan) -> list[Any]:
        return [
            _("WeChat Pay is told that the customer uses this service from now on."),
            _("Nothing is charged before it is completed; until then it can be cancelled."),
            _("The service after it can begin when this one is paid or cancelled."),
        ]

    def seen(self, row: SignPlan) -> Any:
        following = row.next_detail()
        return following and following.plan_detail_no

    def meanwhile(self, row: SignPlan, seen: Any) -> list[Any]:
        return [_("Another service is the next one now.")]

    def perform(self, row: SignPlan, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        order = service_orders.start(row, **asked, reference=reference, by=by)
        return None if order.operation else DONE_BEFORE

    def result(self, row: SignPlan, reference: str) -> Done | None:
        order = row.service_orders.filter(reference=reference).first()
        if order is None:
            return None
        operation = Operation.objects.of(order).filter(action=Action.START).order_by("-pk").first()
        done = (messages.SUCCESS, _("The service has begun."))
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, done)
        return Done(level, words, order)


class QuerySignPlan(Query):
    permission = "query_signplan"
    heading = _("Ask WeChat Pay about this sign plan?")
    sync = staticmethod(sign_plans.sync)

    def facts(self, row: SignPlan) -> list[tuple[Any, Any]]:
        return [*_of_sign_plan(row), (_("Last confirmed"), row.synced_at)]


START, CANCEL, QUERY = StartNext(), CancelSignPlan(), QuerySignPlan()


@admin.register(SignPlan)
class SignPlanAdmin(ObjectAdmin):
    staff_actions = (START, CANCEL, QUERY)
    actions = ["cancel_selected", "query_selected"]
    list_display = ["number_shown", "state_badge", "plan_name", "used", "user", "openid_masked", "created_at"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    list_select_related = ["user"]
    search_help_text = _("Whole values: merchant_sign_plan_no, sign_plan_id, reference, openid or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("merchant_sign_plan_no", "sign_plan_id"), ("plan_link", "plan_name"), ("user", "openid"),
                    ("sign_time", "plan_over_time"), ("cancel_sign_time", "cancel_sign_type"), "cancel_reason",
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"), ("reference", "attempt", "renews_link"),
                    ("created_at", "state_at", "package_expires"), ("synced_at", "next_poll_at", "error_code"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("details")  # counted in SQL, all of the table would be

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        user_name = get_user_model().USERNAME_FIELD
        names = ("merchant_sign_plan_no", "sign_plan_id", "reference", "openid", f"user__{user_name}")
        return [f"{name}__exact" for name in names]

    def summary(self, row: SignPlan) -> list[Part]:
        paid = [one.actual_pay_price or 0 for one in row.details.all()]
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("User"), row.user or masked(row.openid)),
            Part(_("Price"), amounts.in_words(row.total_actual_price, CURRENCY)),
            Part(_("Paid so far"), amounts.in_words(sum(paid), CURRENCY)),
        ]

    def related(self, row: SignPlan) -> list[dict[str, Any]]:
        orders = {order.detail_id: order for order in row.service_orders.all()}
        services = []
        for one in row.details.all():
            order = orders.get(one.pk)
            services.append(
                [
                    str(one),
                    badge(one.state, one.get_state_display()),
                    amounts.in_words(one.actual_price, CURRENCY),
                    link_to(order, order and shortened(order), self.admin_site),
                    badge(order.state, order.get_state_display()) if order else None,
                    one.complete_time or one.cancel_time or one.use_time,
                ]
            )
        tables = [
            {
                "title": _("Services"),
                "heads": [_("Service"), _("State"), _("Price"), _("Service order"), _("It is"), _("Since")],
                "rows": services,
            }
        ]
        chain = [one for one in row.chain() if one.pk != row.pk]
        if chain:
            rows = [
                [link_to(one, shortened(one), self.admin_site), badge(one.state, one.get_state_display()),
                 one.sign_time, one.created_at]
                for one in chain
            ]  # fmt: skip
            heads = [_("Sign plan"), _("State"), _("Signed"), _("Created")]
            tables.append({"title": _("Made in place of each other"), "heads": heads, "rows": rows})
        return tables

    @admin.display(description=_("merchant_sign_plan_no"), ordering="merchant_sign_plan_no")
    def number_shown(self, row: SignPlan) -> Any:
        return shortened(row)

    @admin.display(description=_("services over"))
    def used(self, row: SignPlan) -> str:
        over = sum(detail.state in OVER for detail in row.details.all())
        return f"{over}/{row.deduction_quantity}"

    @admin.display(description=_("openid"))
    def openid_masked(self, row: SignPlan) -> Any:
        return masked(row.openid)

    @admin.display(description=_("PayScore plan"))
    def plan_link(self, row: SignPlan) -> Any:
        return link_to(row.plan, None, self.admin_site)

    @admin.display(description=_("made in place of"))
    def renews_link(self, row: SignPlan) -> Any:
        return link_to(row.renews, None, self.admin_site)

    @admin.action(description=_("Cancel the selected sign plans"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, CANCEL)

    @admin.action(description=_("Query the selected sign plans"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, CANCEL.permission)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)


def _of_sign_plan(row: SignPlan) -> list[tuple[Any, Any]]:
    return [
        (_("Sign plan"), row.merchant_sign_plan_no),
        (_("Plan"), row.plan_name),
        (_("User"), row.user or masked(row.openid)),
        (_("State"), badge(row.state, row.get_state_display())),
    ]
