from django.contrib import admin
from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy as _

from ..models import Order
from ..services import orders, refunds
from . import amounts
from .base import badge, link_to, shortened
from .deductions import CloseOrder, RetryDeduction
from .facts import of_order, state_label
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .queries import Query
from .refunds import RefundOrder


class QueryOrder(Query):
    permission = "query_order"
    heading = _("Ask WeChat Pay about this order and its refunds?")

    def facts(self, row):
        return [*of_order(row), (_("Last confirmed"), row.synced_at)]

    def sync(self, row):
        row = orders.sync(row)
        if row.is_paid:
            refunds.sync_all(row)
            row.refresh_from_db()
        return row


REFUND, QUERY, CLOSE, RETRY = RefundOrder(), QueryOrder(), CloseOrder(), RetryDeduction()


@admin.register(Order)
class OrderAdmin(ObjectAdmin):
    staff_actions = (REFUND, QUERY, CLOSE, RETRY)
    actions = ["refund_selected", "query_selected"]
    list_display = ["number_shown", "state_badge", "amount", "refunded", "description", "user", "created_at"]
    list_filter = ["state", "product", MerchantFilter, "created_at", month("created_at")]
    list_select_related = ["user"]
    search_help_text = _("Whole values: out_trade_no, transaction_id, reference or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("out_trade_no", "transaction_id"), ("description", "reference"),
                    ("user", "contract_link", "service_order_link"), ("combine_order_link", "payee_link"),
                    ("success_time", "payer_paid"), "promotions", ("attempt", "error_code"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("product", "trade_type", "bank_type"), "attach", ("merchant", "mchid", "sub_mchid"),
                    ("appid", "sub_appid"), ("payer_openid", "payer_sub_openid"),
                    ("exchange_rate", "exchange_rate_type"), ("created_at", "state_at"), ("synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_search_fields(self, request):
        user_name = get_user_model().USERNAME_FIELD
        return [f"{name}__exact" for name in ("out_trade_no", "transaction_id", "reference", f"user__{user_name}")]

    def summary(self, row):
        parts = [
            Part(_("State"), badge(row.state, state_label(row)), row.state),
            Part(_("Amount"), amounts.in_words(row.amount_total, row.currency)),
        ]
        if row.is_paid or row.refund_reserved:
            parts += [
                Part(_("Refunded or being refunded"), amounts.in_words(row.refund_reserved, row.currency)),
                Part(_("Remains refundable"), amounts.in_words(row.refundable_amount, row.currency)),
            ]
        return parts

    def related(self, row):
        rows = [
            [
                link_to(refund, shortened(refund), self.admin_site),
                badge(refund.state, refund.get_state_display()),
                amounts.in_words(refund.amount, refund.currency),
                refund.reason,
                refund.created_at,
            ]
            for refund in row.refunds.all()
        ]
        heads = [_("Refund"), _("State"), _("Amount"), _("Reason"), _("Created")]
        return [{"title": _("Refunds"), "heads": heads, "rows": rows, "empty": _("No refunds.")}]

    @admin.display(description=_("out_trade_no"), ordering="out_trade_no")
    def number_shown(self, row):
        return shortened(row)

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row):
        return badge(row.state, state_label(row))

    @admin.display(description=_("amount"), ordering="amount_total")
    def amount(self, row):
        return amounts.in_words(row.amount_total, row.currency)

    @admin.display(description=_("refunded"))
    def refunded(self, row):
        return amounts.in_words(row.refund_reserved, row.currency) if row.refund_reserved else None

    @admin.display(description=_("contract"))
    def contract_link(self, row):
        return link_to(row.contract, site=self.admin_site)

    @admin.display(description=_("service order"))
    def service_order_link(self, row):
        return link_to(row.service_order, site=self.admin_site)

    @admin.display(description=_("combined order"))
    def combine_order_link(self, row):
        return link_to(row.combine_order, site=self.admin_site)

    @admin.display(description=_("individual payee"))
    def payee_link(self, row):
        return link_to(row.payee, site=self.admin_site)

    @admin.display(description=_("paid by the payer"))
    def payer_paid(self, row):
        return amounts.in_words(row.payer_total, row.payer_currency or row.currency) or self.empty_value_display

    @admin.display(description=_("promotions"))
    def promotions(self, row):
        """Each promotion in a few words: its name, and what it took off."""
        return amounts.promotions(row.promotion_detail, row.currency) or self.empty_value_display

    @admin.action(description=_("Refund all that remains of the selected orders"), permissions=["refund"])
    def refund_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, REFUND)

    @admin.action(description=_("Query the selected orders"), permissions=["query"])
    def query_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, QUERY)

    def has_refund_permission(self, request):
        return self.may(request, REFUND.permission)

    def has_query_permission(self, request):
        return self.may(request, QUERY.permission)
