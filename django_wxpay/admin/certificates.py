from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..models import MerchantState, PlatformCertificate
from ..services import attention
from .base import ReadOnlyAdmin, badge
from .filters import MerchantFilter
from .filters import attention as attention_filter


@admin.register(PlatformCertificate)
class PlatformCertificateAdmin(ReadOnlyAdmin):
    list_display = ["serial_no", "validity", "effective_time", "expire_time", "merchant", "mchid", "fetched_at"]
    list_filter = [attention_filter(expiring=(_("expiring"), attention.expiring_certificates)), MerchantFilter]
    search_fields = ["serial_no__exact"]
    fields = ["serial_no", "validity", "effective_time", "expire_time", "merchant", "mchid", "fetched_at"]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("item")

    @admin.display(description=_("validity"))
    def validity(self, row):
        now = timezone.now()
        if row.expire_time <= now:
            return badge("EXPIRED", _("expired"))
        if row.expire_time <= now + attention.EXPIRING_WITHIN:
            return badge("UNKNOWN", _("expires soon"))
        return badge("SUCCESS", _("valid"))


@admin.register(MerchantState)
class MerchantStateAdmin(ReadOnlyAdmin):
    list_display = ["merchant", "mchid", "refreshed_at", "refresh_error", "clock_skew", "slow_until"]
    list_filter = [attention_filter(trouble=(_("in trouble"), attention.troubled_merchants))]
    fields = [
        "merchant",
        "mchid",
        "refreshed_at",
        "refresh_after",
        "refresh_error",
        "clock_skew",
        "slow_until",
        "slow_step",
    ]
