"""Combined orders with their parts: close, query. What was paid is refunded at each part's own order."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..models import Action, CombineOrder, Operation
from ..services import combine_orders
from . import amounts, outcomes
from .actions import StaffAction
from .base import badge, link_to, shortened
from .facts import state_label
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .queries import Query

CURRENCY = CombineOrder.currency


def of_combine_order(row: CombineOrder) -> list[tuple[Any, Any]]:
    return [
        (_("Combined order"), row.combine_out_trade_no),
        (_("User"), row.user),
        (_("Amount"), amounts.in_words(row.amount_total, CURRENCY)),
        (_("Payees"), row.orders.count()),
        (_("State"), badge(row.state, row.get_state_display())),
    ]


class CloseCombineOrder(StaffAction):
    name = "close"
    permission = "close_combineorder"
    label = pgettext_lazy("payment", "Close")
    heading = _("Close this unpaid combined order for good?")
    button = _("Close the combined order")
    tone = "danger"

    def why_not(self, row: CombineOrder) -> Any:
        if row.is_paid:
            return _("It is paid: its orders are refunded, it is never closed.")
        return _("It will not be paid any more: there is nothing to close.") if row.is_final else ""

    def facts(self, row: CombineOrder) -> list[tuple[Any, Any]]:
        return of_combine_order(row)

    def consequences(self, row: CombineOrder) -> list[Any]:
        return [
            _("WeChat Pay is asked to close it: none of its payees will be paid by it."),
            _("Should it turn out to be paid, it shows as paid, and its orders can be refunded."),
        ]

    def perform(self, row: CombineOrder, asked: Any, *, reference: str, by: Any) -> Done | None:
        row = combine_orders.close(row, reference=reference, by=by)
        if row.operation:
            return None
        return self.result(row, reference) or Done(messages.INFO, self.why_not(row) or row.get_state_display(), row)

    def result(self, row: CombineOrder, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=Action.CLOSE, reference=reference).first()
        if operation is None:
            return None
        row = CombineOrder.objects.get(pk=row.pk)
        if operation.state == Operation.State.REFUSED and row.is_paid:
            return Done(
                messages.WARNING, gettext("It turned out to be paid: it was not closed. Refund its orders."), row
            )
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, _("It is closed: it will not be paid.")))
        return Done(level, words, row)


class QueryCombineOrder(Query):
    permission = "query_combineorder"
    heading = _("Ask WeChat Pay about this combined order?")
    sync = staticmethod(combine_orders.sync)

    def facts(self, row: CombineOrder) -> list[tuple[Any, Any]]:
        return [*of_combine_order(row), (_("Last confirmed"), row.synced_at)]


CLOSE, QUERY = CloseCombineOrder(), QueryCombineOrder()


@admin.register(CombineOrder)
class CombineOrderAdmin(ObjectAdmin):
    staff_actions = (CLOSE, QUERY)
    actions = ["query_selected"]
    list_display = ["number_shown", "state_badge", "amount", "user", "created_at"]
    list_select_related = ["user"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    search_help_text = _("Whole values: combine_out_trade_no, combine_transaction_id, reference or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("combine_out_trade_no", "combine_transaction_id"), ("user", "openid"),
                    ("reference", "attempt"), ("time_expire", "error_code"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "appid"), ("trade_scenario", "close_after"), ("created_at", "state_at"),
                    ("synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        user_name = get_user_model().USERNAME_FIELD
        names = ("combine_out_trade_no", "combine_transaction_id", "reference", f"user__{user_name}")
        return [f"{name}__exact" for name in names]

    def summary(self, row: CombineOrder) -> list[Part]:
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("Amount"), amounts.in_words(row.amount_total, CURRENCY)),
        ]

    def related(self, row: CombineOrder) -> list[dict[str, Any]]:
        parts = [
            [
                link_to(order, shortened(order), self.admin_site),
                badge(order.state, state_label(order)),
                order.description,
                amounts.in_words(order.amount_total, CURRENCY),
                link_to(order.payee, shortened(order.payee), self.admin_site),
            ]
            for order in row.orders.select_related("payee").order_by("pk")
        ]
        heads = [pgettext_lazy("payment", "Order"), _("State"), _("Description"), _("Amount"), _("Individual payee")]
        return [{"title": _("What each payee gets"), "heads": heads, "rows": parts}]

    @admin.display(description=_("combine_out_trade_no"), ordering="combine_out_trade_no")
    def number_shown(self, row: CombineOrder) -> Any:
        return shortened(row)

    @admin.display(description=_("amount"), ordering="amount_total")
    def amount(self, row: CombineOrder) -> Any:
        return amounts.in_words(row.amount_total, CURRENCY)

    @admin.action(description=_("Query the selected combined orders"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)
