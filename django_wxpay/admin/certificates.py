from django.contrib import admin, messages
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..engine import remote
from ..models import MerchantState, PlatformCertificate
from ..services import attention
from .actions import StaffAction, StaffActionsAdmin
from .base import ReadOnlyAdmin, badge
from .filters import MerchantFilter
from .filters import attention as attention_filter
from .outcomes import Done


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


class EndPause(StaffAction):
    name = "resume"
    permission = "resume_merchantstate"
    label = _("End the pause")
    heading = _("Call WeChat Pay for this merchant again?")
    button = _("End the pause")

    def why_not(self, row):
        is_held = row.slow_until is not None and row.slow_until > timezone.now()
        return "" if is_held else _("Nothing is held back.")

    def facts(self, row):
        return [
            (_("Merchant"), f"{row.merchant} ({row.mchid})"),
            (_("Holds back until"), row.slow_until),
            (_("Reason"), row.get_slow_reason_display()),
            (_("Times in a row"), row.slow_step),
        ]

    def consequences(self, row):
        return [
            _("Queries and requests that are due go out with the next tick."),
            _("Should WeChat Pay ask for it again, or still give no answer, a new pause begins, a short one at first."),
        ]

    def perform(self, row, asked, *, reference, by):
        remote.hold_back_no_longer(row)
        return Done(messages.SUCCESS, _("The pause is over."), row)


@admin.register(MerchantState)
class MerchantStateAdmin(StaffActionsAdmin):
    staff_actions = (EndPause(),)
    list_display = [
        "merchant", "mchid", "slow_until", "slow_reason", "slow_step", "refreshed_at", "refresh_error", "clock_skew",
    ]  # fmt: skip
    list_filter = [attention_filter(trouble=(_("in trouble"), attention.troubled_merchants))]
    fields = [
        "merchant", "mchid", "slow_until", "slow_reason", "slow_step", "slow_at",
        "refreshed_at", "refresh_after", "refresh_error", "clock_skew",
    ]  # fmt: skip
