"""Service orders: what each costs, how it was paid, and what can be refunded."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import ServiceOrder
from ..services import attention
from ..services.service_orders import times
from . import amounts
from .base import badge, link_to, shortened
from .facts import state_label, where
from .filters import MerchantFilter, month
from .filters import attention as attention_filter
from .objects import ObjectAdmin, Part
from .service_order_actions import CANCEL, COLLECT, COMPLETE, MODIFY, QUERY, REPORT_PAID

CURRENCY = ServiceOrder.currency
PAID_TYPES = {"NEWTON": _("through WeChat Pay"), "MCH": _("elsewhere")}


@admin.register(ServiceOrder)
class ServiceOrderAdmin(ObjectAdmin):
    staff_actions = (COMPLETE, MODIFY, COLLECT, REPORT_PAID, CANCEL, QUERY)
    actions = ["cancel_selected", "query_selected"]
    list_display = ["number_shown", "state_badge", "amount", "service_introduction", "user", "created_at"]
    list_filter = [
        attention_filter(unpaid=(_("not paid for days"), attention.unpaid_service_orders)),
        "state",
        MerchantFilter,
        "created_at",
        month("created_at"),
    ]
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
