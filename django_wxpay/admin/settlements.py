from datetime import timedelta

from django.contrib import admin, messages
from django.db.models import Count, Sum
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..models import Settlement
from ..services import bills, settlements
from . import amounts
from .base import badge
from .fetches import DayField, Fetch, Fetched, FetchingAdmin, MerchantForm
from .filters import MerchantFilter
from .objects import Part

AMOUNTS = ("pay", "refund", "net", "fee", "settled", "unsettle")
MONEY = [f"money_{name}" for name in AMOUNTS]


class FetchForm(MerchantForm):
    sub_mchid_help = _("This sub-merchant’s settlements. Empty: the institution’s own.")
    start = DayField(label=_("Paid out from"), help_text=_("Days in China. What waits for its payout comes always."))
    end = DayField(label=_("Paid out to"))

    def __init__(self, data=None):
        today = bills.china_today()
        begins = today - timedelta(days=settlements.LOOK_BACK_DAYS)
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


def _money(name):
    """A column of that amount, in the row's currency."""

    @admin.display(description=Settlement._meta.get_field(name).verbose_name, ordering=name)
    def column(self, row):
        return amounts.in_words(getattr(row, name), row.currency)

    return column


@admin.register(Settlement)
class SettlementAdmin(FetchingAdmin):
    fetch = FetchSettlements()
    list_display = ["__str__", "state_badge", "trade_days", "settlement_date", *MONEY, "doubt"]
    list_filter = ["state", ("currency", admin.AllValuesFieldListFilter), MerchantFilter, "settlement_date"]
    date_hierarchy = "trade_start_date"
    search_fields = ["batch_id__exact", "sub_mchid__exact", "mchid__exact"]
    search_help_text = _("Whole values: a payout batch, or a merchant number.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("batch_id", "settlement_date"), "trade_days", ("money_pay", "money_refund", "money_net"),
                    ("money_fee", "money_settled", "money_unsettle"), "wallet_region",
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {"classes": ["collapse"], "fields": [("merchant", "mchid", "sub_mchid"), ("created_at", "fetched_at")]},
        ),
    ]  # fmt: skip

    class Media:
        css = {"all": ("django_wxpay/books.css",)}

    money_pay, money_refund, money_net = _money("pay"), _money("refund"), _money("net")
    money_fee, money_settled, money_unsettle = _money("fee"), _money("settled"), _money("unsettle")

    def changelist_view(self, request, extra_context=None):
        page = super().changelist_view(request, extra_context)
        listed = getattr(page, "context_data", {}).get("cl")
        if listed is not None:
            page.context_data["wxpay_totals"] = totals(listed.queryset)
        return page

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context["wxpay_summary"] = self.summary(obj)
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)

    def summary(self, row):
        is_settled = row.state == Settlement.State.SETTLED
        money = (_("Paid out"), row.settled) if is_settled else (_("To be paid out"), row.unsettle)
        parts = [
            Part(_("State"), self.state_badge(row), row.state),
            Part(money[0], amounts.in_words(money[1], row.currency)),
        ]
        return parts if row.adds_up else [*parts, Part(_("Doubt"), self.doubt(row))]

    @admin.display(description=_("days of trade"), ordering="trade_start_date")
    def trade_days(self, row):
        first, last = row.trade_start_date, row.trade_end_date
        return f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} – {last:%Y-%m-%d}"

    @admin.display(description=_("doubt"))
    def doubt(self, row):
        """WeChat Pay does not promise these sums, so a difference is shown, and nothing else."""
        return None if row.adds_up else badge("UNKNOWN", _("does not add up"))


def totals(rows):
    """The sums of these rows, one line per currency."""
    sums = rows.order_by().values("currency").annotate(records=Count("pk"), **{f"sum_{n}": Sum(n) for n in AMOUNTS})
    lines = [
        [one["currency"], one["records"], *(amounts.in_words(one[f"sum_{name}"], one["currency"]) for name in AMOUNTS)]
        for one in sums.order_by("currency")
    ]
    heads = [_("Currency"), _("Records"), *(Settlement._meta.get_field(name).verbose_name for name in AMOUNTS)]
    return {"heads": heads, "rows": lines}
