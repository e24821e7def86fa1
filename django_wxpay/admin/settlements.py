from datetime import timedelta

from django.contrib import admin, messages
from django.db.models import Count, Q, Sum
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..models import Settlement
from ..services import bills, settlements
from . import amounts
from .base import badge
from .fetches import DayField, Fetch, Fetched, FetchingAdmin, MerchantForm
from .filters import CurrencyFilter, MerchantFilter, month
from .objects import Part

SUMMED = ("pay", "refund", "fee", "settled", "unsettle")
MOST_SUMMED = 100_000


class FetchForm(MerchantForm):
    sub_mchid_help = _("This sub-merchant’s settlements. Empty: the institution’s own.")
    start = DayField(label=_("Paid out from"), help_text=_("Days in China. What waits for its payout comes always."))
    end = DayField(label=_("Paid out to"))

    def __init__(self, data=None):
        today = bills.china_today()
        begins = today - timedelta(days=settlements.REACH_BACK_DAYS)
        super().__init__(data, initial={"start": begins, "end": today})

    def clean(self):
        asked = super().clean()
        if asked.get("start") and asked.get("end") and asked["end"] < asked["start"]:
            self.add_error("end", _("The last day is before the first."))
        return asked


class FetchSettlements(Fetch):
    name = "fetch"
    permission = "fetch_settlement"
    label = _("Fetch now")
    heading = _("Which settlements shall be fetched?")
    button = _("Fetch")
    form_class = FetchForm

    def consequences(self):
        return [
            _("WeChat Pay is asked what it paid out on these days, and what waits. Nothing changes there."),
            _("What we have already stays as it is; what waited and is paid out now becomes settled."),
            _("The last ten days come by themselves every few hours: this is for other days, or for being sure."),
        ]

    def perform(self, asked, page_of):
        records = settlements.fetch(**asked)
        words = ngettext(
            "WeChat Pay was asked: %(n)s record, which is here now.",
            "WeChat Pay was asked: %(n)s records, which are all here now.",
            records,
        )
        return Fetched(messages.SUCCESS, words % {"n": records})


def _money(name, currency="currency"):
    """A column of that amount, in the currency that another field names."""

    @admin.display(description=Settlement._meta.get_field(name).verbose_name, ordering=name)
    def column(self, row):
        return amounts.in_words(getattr(row, name), getattr(row, currency))

    return column


@admin.register(Settlement)
class SettlementAdmin(FetchingAdmin):
    fetch = FetchSettlements()
    list_display = [
        "trade_days", "whose", "state_badge", "money_worth", "money_pay", "money_refund", "money_fee", "payout_day",
        "batch_id",
    ]  # fmt: skip
    list_filter = [month("trade_start_date"), "state", CurrencyFilter, MerchantFilter, "settlement_date"]
    search_fields = ["batch_id__exact", "sub_mchid__exact", "mchid__exact"]
    search_help_text = _("Whole values: a payout batch, or a merchant number.")

    class Media:
        css = {"all": ("django_wxpay/books.css",)}

    money_pay, money_refund, money_net = _money("pay"), _money("refund"), _money("net")
    money_fee, money_settled, money_unsettle = _money("fee"), _money("settled"), _money("unsettle")
    split_pay_shown = _money("split_pay", "split_currency")
    split_refund_shown = _money("split_refund", "split_currency")
    split_settled_shown = _money("split_settled", "split_currency")
    split_unsettle_shown = _money("split_unsettle", "split_currency")

    def get_fieldsets(self, request, obj=None):
        money = [
            ("batch_id", "settlement_date"), ("money_pay", "money_refund", "money_net"),
            ("money_fee", "money_settled", "money_unsettle"), "wallet_region",
        ]  # fmt: skip
        split = [("split_pay_shown", "split_refund_shown"), ("split_settled_shown", "split_unsettle_shown")]
        known = [("merchant", "mchid", "sub_mchid"), ("created_at", "fetched_at")]
        return [
            (None, {"fields": money}),
            *([(_("Split with others"), {"fields": split})] if obj and obj.split_currency else []),
            (_("Bookkeeping"), {"classes": ["collapse"], "fields": known}),
        ]

    def changelist_view(self, request, extra_context=None):
        page = super().changelist_view(request, extra_context)
        listed = getattr(page, "context_data", {}).get("cl")
        if listed is not None and listed.result_count <= MOST_SUMMED:
            page.context_data["wxpay_totals"] = totals(listed.queryset)
        elif listed is not None:
            page.context_data["wxpay_totals"] = {
                "why_none": _("Too many rows to add up. Choose a month to see their sums.")
            }
        return page

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context["wxpay_summary"] = self.summary(obj)
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)

    def summary(self, row):
        is_settled = row.state == Settlement.State.SETTLED
        return [
            Part(_("State"), self.state_badge(row), row.state),
            Part(_("Paid out") if is_settled else _("To be paid out"), self.money_worth(row)),
            Part(_("Days of trade"), self.trade_days(row)),
        ]

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row):
        """WeChat Pay does not promise how its sums add up, so a difference is shown, and nothing else."""
        state = super().state_badge(row)
        return state if row.adds_up else format_html("{} {}", state, badge("UNKNOWN", _("does not add up")))

    @admin.display(description=_("days of trade"), ordering="trade_start_date")
    def trade_days(self, row):
        first, last = f"{row.trade_start_date:%Y-%m-%d}", f"{row.trade_end_date:%Y-%m-%d}"
        if first == last:
            return first
        return f"{first} – {last[5:] if first[:4] == last[:4] else last}"

    @admin.display(description=_("payout day"), ordering="settlement_date")
    def payout_day(self, row):
        return f"{row.settlement_date:%Y-%m-%d}" if row.settlement_date else None

    @admin.display(description=_("credited, or to be"))
    def money_worth(self, row):
        return amounts.in_words(row.settled + row.unsettle, row.currency)


def totals(rows):
    """The sums of these rows, one line per currency; sub-merchants' apart: an institution's own may include them."""
    sums = rows.order_by().values("currency", of_sub=~Q(sub_mchid=""))
    sums = sums.annotate(records=Count("pk"), **{f"sum_{name}": Sum(name) for name in SUMMED})
    lines = [
        [
            _("%(currency)s, sub-merchants") % one if one["of_sub"] else one["currency"],
            one["records"],
            *(amounts.in_words(one[f"sum_{name}"], one["currency"]) for name in SUMMED),
        ]
        for one in sums.order_by("currency", "of_sub")
    ]
    heads = [_("Currency"), _("Records"), *(Settlement._meta.get_field(name).verbose_name for name in SUMMED)]
    return {"heads": heads, "rows": lines}
