"""Service orders: complete, lower, cancel, report as paid elsewhere, ask for a collection, query."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..client.service_orders import PLACE_LENGTH, REASON_LENGTH
from ..models import Action, Operation, ServiceOrder
from ..services import service_orders
from ..services.service_orders import items, times
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .base import badge, link_to, shortened
from .facts import state_label
from .filters import MerchantFilter, month
from .items import ItemsField
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .queries import Query

CURRENCY = ServiceOrder.currency
NOT_COLLECTING = _("It is not being collected: there is nothing to do about its amount.")
ITEMS_HELP = _("One line each: the name, a space, the amount in yuan, like Lesson 1 100.00")
PAID_TYPES = {"NEWTON": _("through WeChat Pay"), "MCH": _("elsewhere")}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LENGTH,
        help_text=_("Goes to WeChat Pay; the customer may see it."),
        widget=forms.TextInput(attrs={"size": 50}),
    )


class BillForm(forms.Form):
    """What a service costs; prefilled with `costs`: items and discounts."""

    payments = ItemsField(label=_("Items"), help_text=ITEMS_HELP)
    discounts = ItemsField(
        label=_("Discounts"), required=False, help_text=_("Written likewise, and taken off."), rows=2
    )

    def __init__(self, costs: Any, data: Any = None) -> None:
        lines = [[{"name": one.name, "amount": one.amount} for one in listed] for listed in costs]
        super().__init__(data, initial={"payments": lines[0], "discounts": lines[1]})

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or {}
        if "payments" in asked and "discounts" in asked:
            off = sum(one["amount"] for one in asked["discounts"])
            asked["total"] = sum(one["amount"] for one in asked["payments"]) - off
        return asked


class MomentField(forms.DateTimeField):
    """A moment as browsers let people choose it, in the time of these pages; its clean value is text, RFC 3339."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})

    def clean(self, value: Any) -> str:
        moment = super().clean(value)
        return moment.isoformat() if moment else ""


class CompletionForm(BillForm):
    end_time = MomentField(label=_("Ended at"), required=False, help_text=_("Now when it is left empty."))
    end_location = forms.CharField(label=_("Ended in"), max_length=PLACE_LENGTH, required=False)
    goods_tag = forms.CharField(label=_("Coupon tag"), max_length=32, required=False)
    profit_sharing = forms.BooleanField(label=_("The payment will be split later"), required=False)


class ModificationForm(BillForm, ReasonForm):
    field_order = ["payments", "discounts", "reason"]


class PaidForm(forms.Form):
    paid_time = MomentField(label=_("Paid at"))


class OrderAction(StaffAction):
    """Something asked of WeChat Pay about a service order, found again by its reference."""

    action: Action
    done: Any  # in words

    def facts(self, row: ServiceOrder) -> list[tuple[Any, Any]]:
        return _of_service_order(row)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        raise NotImplementedError

    def perform(self, row: ServiceOrder, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = self.ask(row, asked, reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def result(self, row: ServiceOrder, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=self.action, reference=reference).first()
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, self.done))
        return Done(level, words, row)


class WithBill(OrderAction):
    """It names an amount, which is shown once more before it is asked for."""

    confirms = True

    def seen(self, row: ServiceOrder) -> Any:
        return [row.state, row.state_description, row.total_amount]

    def meanwhile(self, row: ServiceOrder, seen: Any) -> list[Any]:
        return [_("The service order is in another state, or costs another amount now.")]

    def asked_facts(self, row: ServiceOrder, asked: dict[str, Any]) -> list[tuple[Any, Any]]:
        lines = [(one["name"], amounts.in_words(one["amount"], CURRENCY)) for one in asked["payments"]]
        off = [(one["name"], amounts.in_words(-one["amount"], CURRENCY)) for one in asked["discounts"]]
        return [*lines, *off, (_("To be collected"), amounts.in_words(asked["total"], CURRENCY))]

    def button_for(self, row: ServiceOrder, asked: dict[str, Any]) -> Any:
        return gettext("Collect %(amount)s") % {"amount": amounts.in_words(asked["total"], CURRENCY)}


class Complete(WithBill):
    name = "complete"
    permission = "complete_serviceorder"
    action = Action.COMPLETE
    label = _("Complete")
    heading = _("Complete this service?")
    button = _("Complete")
    tone = "danger"
    done = _("It is completed. Whether it is paid shows here within moments.")

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_running else _("Only a service in use can be completed.")

    def consequences(self, row: ServiceOrder) -> list[Any]:
        signed = amounts.in_words(row.detail.actual_price, CURRENCY)
        return [
            gettext("WeChat Pay collects the amount from the customer, at most the %(price)s that were signed.")
            % {"price": signed},
            _("It goes on trying until it is paid; until then the amount can be lowered."),
            _("What is paid can be refunded on the page of its order."),
        ]

    def form(self, row: ServiceOrder, data: Any = None) -> BillForm:
        return CompletionForm(items.of_detail(row.detail), data)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        more = {name: asked[name] for name in ("payments", "discounts", "end_location", "goods_tag")}
        ended = datetime.fromisoformat(asked["end_time"]) if asked["end_time"] else None
        return service_orders.complete(
            row, **more, end_time=ended, profit_sharing=asked["profit_sharing"] or None, **how
        )


class Modify(WithBill):
    name = "modify"
    permission = "complete_serviceorder"
    action = Action.MODIFY
    label = _("Lower the amount")
    heading = _("Lower the amount of this service order?")
    button = _("Lower the amount")
    tone = "danger"
    done = _("The amount is lowered.")

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_collecting else NOT_COLLECTING

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [
            _("WeChat Pay collects the lower amount instead. It can never be raised again."),
            _("Should the old amount be paid at this moment, the difference can be refunded."),
        ]

    def form(self, row: ServiceOrder, data: Any = None) -> BillForm:
        costs = [
            [service_orders.Item(one["name"], one["amount"]) for one in listed or () if isinstance(one, dict)]
            for listed in (row.post_payments, row.post_discounts)
        ]
        return ModificationForm(costs, data)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        named = {name: asked[name] for name in ("payments", "discounts", "reason")}
        return service_orders.modify(row, **named, **how)


class CancelOrder(OrderAction):
    name = "cancel"
    permission = "cancel_serviceorder"
    action = Action.CANCEL
    label = _("Cancel")
    heading = _("Cancel this service order?")
    button = _("Cancel the service order")
    tone = "danger"
    form_class = list_form_class = ReasonForm
    list_heading = _("Cancel these service orders?")
    done = _("The service order is cancelled.")

    def why_not(self, row: ServiceOrder) -> Any:
        if row.state not in (ServiceOrder.State.CREATED, ServiceOrder.State.DOING):
            return _("It is over (or not begun): what was paid can be refunded.")
        return ""

    def consequences(self, row: ServiceOrder) -> list[Any]:
        told = [
            _("The customer is not charged for this service."),
            _("The service is used up by it: it cannot be started again."),
        ]
        if row.is_collecting:
            told.append(
                _(
                    "It is being collected: WeChat Pay may refuse. Then lower its amount, or report it as paid "
                    "elsewhere."
                )
            )
        return told

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.cancel(row, reason=asked["reason"], **how)

    def plan(self, row: ServiceOrder, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = service_orders.plan_cancellation(row, reason=asked["reason"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE


class ReportPaid(OrderAction):
    name = "report_paid"
    permission = "report_serviceorder_paid"
    action = Action.REPORT_PAID
    label = _("Paid elsewhere")
    heading = _("Report this service order as paid elsewhere?")
    button = _("Report it as paid")
    tone = "danger"
    form_class = PaidForm
    done = _("WeChat Pay knows that it is paid, and collects no more.")

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_collecting else NOT_COLLECTING

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [
            _("Only when the customer has really paid you in cash or otherwise: WeChat Pay collects no more."),
            _("What was paid elsewhere cannot be refunded here."),
            _("Should WeChat Pay collect it at this moment, it is paid twice: a discrepancy will say so."),
        ]

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.report_paid(row, paid_time=datetime.fromisoformat(asked["paid_time"]), **how)


class Collect(OrderAction):
    name = "collect"
    permission = "complete_serviceorder"
    action = Action.COLLECT
    label = _("Collect now")
    heading = _("Ask for a collection now?")
    button = _("Collect now")
    done = _("WeChat Pay tries to collect it now. Whether it is paid shows here within moments.")

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_collecting else NOT_COLLECTING

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [_("WeChat Pay tries to collect the amount now; it also does so by itself from time to time.")]

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.collect(row, **how)


class QueryServiceOrder(Query):
    permission = "query_serviceorder"
    heading = _("Ask WeChat Pay about this service order?")
    sync = staticmethod(service_orders.sync)

    def facts(self, row: ServiceOrder) -> list[tuple[Any, Any]]:
        return [*_of_service_order(row), (_("Last confirmed"), row.synced_at)]


COMPLETE, MODIFY, CANCEL, REPORT_PAID, COLLECT = Complete(), Modify(), CancelOrder(), ReportPaid(), Collect()
QUERY = QueryServiceOrder()


@admin.register(ServiceOrder)
class ServiceOrderAdmin(ObjectAdmin):
    staff_actions = (COMPLETE, MODIFY, COLLECT, REPORT_PAID, CANCEL, QUERY)
    actions = ["cancel_selected", "query_selected"]
    list_display = ["number_shown", "state_badge", "amount", "service_introduction", "user", "created_at"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    list_select_related = ["user", "detail"]
    search_help_text = _("Whole values: out_order_no, order_id, reference or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("out_order_no", "order_id"), ("sign_plan_link", "service"), ("user", "service_introduction"),
                    ("start_time", "start_location"), ("end_time", "end_location"), ("completed_at", "attach"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"), ("reference", "service_id"),
                    ("state_description", "collection_state", "error_code"), ("created_at", "state_at"),
                    ("synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        user_name = get_user_model().USERNAME_FIELD
        return [f"{name}__exact" for name in ("out_order_no", "order_id", "reference", f"user__{user_name}")]

    def summary(self, row: ServiceOrder) -> list[Part]:
        parts = [Part(_("State"), badge(row.state, where(row)), row.state), Part(_("User"), row.user)]
        if row.total_amount is None:
            parts.append(Part(_("Price"), amounts.in_words(row.detail.actual_price, CURRENCY)))
        else:
            parts += [
                Part(_("Amount"), amounts.in_words(row.total_amount, CURRENCY)),
                Part(_("Paid"), amounts.in_words(row.paid_amount or 0, CURRENCY)),
            ]
        return parts

    def related(self, row: ServiceOrder) -> list[dict[str, Any]]:
        lines = [
            [one.get("name"), one.get("description"), amounts.in_words(sign * one["amount"], CURRENCY)]
            for sign, listed in ((1, row.post_payments), (-1, row.post_discounts))
            for one in listed or ()
            if isinstance(one, dict) and isinstance(one.get("amount"), int)
        ]
        collected = [
            [
                amounts.in_words(one["amount"], CURRENCY),
                PAID_TYPES.get(str(one.get("paid_type")), one.get("paid_type")),
                times.read(one.get("paid_time")) or one.get("paid_time"),
            ]
            for one in row.collection_details or ()
            if isinstance(one, dict) and isinstance(one.get("amount"), int)
        ]
        orders = [
            [
                link_to(order, shortened(order), self.admin_site),
                badge(order.state, state_label(order)),
                amounts.in_words(order.amount_total, order.currency),
                amounts.in_words(order.refund_reserved, order.currency) if order.refund_reserved else None,
                order.success_time,
            ]
            for order in row.orders.all()
        ]
        return [
            {
                "title": _("Items"),
                "heads": [_("Name"), _("Description"), _("Amount")],
                "rows": lines,
                "empty": _("Not completed yet."),
            },
            {
                "title": _("Payments"),
                "heads": [_("Amount"), _("How"), _("Paid at")],
                "rows": collected,
                "empty": _("Nothing was paid yet."),
            },
            {
                "title": _("Orders that can be refunded"),
                "heads": [_("Order"), _("State"), _("Amount"), _("Refunded"), _("Paid at")],
                "rows": orders,
                "empty": _("None: nothing was collected through WeChat Pay."),
            },
        ]

    @admin.display(description=_("out_order_no"), ordering="out_order_no")
    def number_shown(self, row: ServiceOrder) -> Any:
        return shortened(row)

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row: ServiceOrder) -> Any:
        return badge(row.state, where(row))

    @admin.display(description=_("amount"), ordering="total_amount")
    def amount(self, row: ServiceOrder) -> Any:
        return amounts.in_words(row.total_amount, CURRENCY)

    @admin.display(description=_("sign plan"))
    def sign_plan_link(self, row: ServiceOrder) -> Any:
        return link_to(row.sign_plan, None, self.admin_site)

    @admin.display(description=_("service"))
    def service(self, row: ServiceOrder) -> str:
        return f"{row.detail}: {amounts.in_words(row.detail.actual_price, CURRENCY)}"

    @admin.action(description=_("Cancel the selected service orders"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, CANCEL)

    @admin.action(description=_("Query the selected service orders"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, CANCEL.permission)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)


def where(row: ServiceOrder) -> Any:
    """Where it stands in one word: in use, being collected, paid, paid elsewhere or free …"""
    if row.is_collecting:
        return _("being collected")
    if row.is_paid:
        return _("paid") if row.total_amount else _("finished, free")
    return row.get_state_display()


def _of_service_order(row: ServiceOrder) -> list[tuple[Any, Any]]:
    amount = row.detail.actual_price if row.total_amount is None else row.total_amount
    return [
        (_("Service order"), row.out_order_no),
        (_("Service"), row.service_introduction),
        (_("User"), row.user),
        (_("Amount"), amounts.in_words(amount, CURRENCY)),
        (_("State"), badge(row.state, where(row))),
    ]
