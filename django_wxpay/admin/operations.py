from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from ..models import Operation
from ..services import attention
from .base import AboutObjectAdmin, masked
from .filters import MerchantFilter
from .filters import attention as attention_filter

OPENIDS = {"openid"}


@admin.register(Operation)
class OperationAdmin(AboutObjectAdmin):
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
                    ("created_at", "sent_at", "finished_at"), ("attempts", "next_try_at", "leased_until"),
                    ("error_code", "error_message"), "request_id", ("merchant", "mchid"),
                ]
            },
        ),
        (_("As sent"), {"fields": ["fields_shown"]}),
    ]  # fmt: skip

    @admin.display(description=_("fields"))
    def fields_shown(self, row):
        """The business fields of the request; openids masked."""
        shown = ((name, masked(value) if name in OPENIDS else value) for name, value in sorted(row.fields.items()))
        pairs = ((name, value) for name, value in shown if value not in (None, ""))
        lines = format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs)
        return format_html('<dl class="wxpay-fields">{}</dl>', lines)
