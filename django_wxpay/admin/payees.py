"""Individual payees: who is authorised; query."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ..models import PayeeAuthorization
from ..services import payees
from . import amounts
from .base import NOTHING, badge, link_to, masked, shortened
from .facts import state_label
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .queries import Query


class QueryPayee(Query):
    permission = "query_payeeauthorization"
    heading = _("Ask WeChat Pay about this payee?")
    sync = staticmethod(payees.sync)

    def facts(self, row: PayeeAuthorization) -> list[tuple[Any, Any]]:
        return [
            (_("Individual payee"), row.payee_no),
            (_("User"), row.user),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Last confirmed"), row.synced_at),
        ]


QUERY = QueryPayee()
SHOWN = 20


@admin.register(PayeeAuthorization)
class PayeeAuthorizationAdmin(ObjectAdmin):
    staff_actions = (QUERY,)
    actions = ["query_selected"]
    list_display = ["number_shown", "state_badge", "user", "openid_shown", "individual_auth_id", "created_at"]
    list_select_related = ["user"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    search_help_text = _("Whole values: our number, individual_auth_id, openid or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("payee_no", "individual_auth_id"), ("user", "openid"), ("operation_time", "offered_at"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "appid"), ("out_contract_code", "created_at"),
                    ("state_at", "synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        user_name = get_user_model().USERNAME_FIELD
        return [f"{name}__exact" for name in ("payee_no", "individual_auth_id", "openid", f"user__{user_name}")]

    def summary(self, row: PayeeAuthorization) -> list[Part]:
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("User"), row.user or NOTHING),
            Part(_("Last confirmed"), row.synced_at or NOTHING),
        ]

    def related(self, row: PayeeAuthorization) -> list[dict[str, Any]]:
        newest = [
            [
                link_to(order, shortened(order), self.admin_site),
                badge(order.state, state_label(order)),
                order.description,
                amounts.in_words(order.amount_total, order.currency),
                order.created_at,
            ]
            for order in row.orders.order_by("-pk")[:SHOWN]
        ]
        heads = [pgettext_lazy("payment", "Order"), _("State"), _("Description"), _("Amount"), _("Created")]
        return [{"title": _("Newest orders"), "heads": heads, "rows": newest, "empty": _("He got nothing yet.")}]

    @admin.display(description=_("our number"), ordering="payee_no")
    def number_shown(self, row: PayeeAuthorization) -> Any:
        return shortened(row)

    @admin.display(description=_("openid"))
    def openid_shown(self, row: PayeeAuthorization) -> Any:
        return masked(row.openid)

    @admin.action(description=_("Query the selected payees"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)
