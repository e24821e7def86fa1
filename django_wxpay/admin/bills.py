from datetime import timedelta
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.http import FileResponse, HttpResponseRedirect
from django.template.defaultfilters import date as written_date
from django.template.defaultfilters import filesizeformat, truncatechars
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..models import Bill, Discrepancy
from ..services import attention, bills
from .actions import StaffAction
from .base import badge, link_to
from .fetches import DayField, Fetch, Fetched, FetchingAdmin, MerchantForm
from .filters import MerchantFilter, month
from .filters import attention as attention_filter
from .objects import Part
from .outcomes import Done

State = Bill.State


def in_words(bill):
    """(level, words): what came of fetching it."""
    again_at = bill.next_try_at and written_date(timezone.localtime(bill.next_try_at), "DATETIME_FORMAT")
    values = {
        "day": written_date(bill.bill_date),
        "payments": bill.payments,
        "refunds": bill.refunds,
        "again_at": again_at or "–",
        "error": bill.error,
    }
    level, words = _outcome(bill)
    return level, words % values


def _outcome(bill):
    if bill.has_file and bill.error:
        return messages.WARNING, gettext(
            "The statement of %(day)s could not be fetched again; the file that we have stays. Reason: %(error)s"
        )
    if bill.has_file:
        return messages.SUCCESS, gettext(
            "The statement of %(day)s is here: %(payments)s payments and %(refunds)s refunds."
        )
    if bill.state == State.NO_STATEMENT:
        return messages.SUCCESS, gettext("%(day)s was an empty day: WeChat Pay has no statement of it.")
    if bill.next_try_at is None:
        return messages.ERROR, gettext(
            "The statement of %(day)s cannot be fetched, and is not tried again. Reason: %(error)s"
        )
    if bill.state == State.PENDING:
        return messages.INFO, gettext(
            "The statement of %(day)s is not there yet. It is tried again by itself (%(again_at)s). Reason: %(error)s"
        )
    return messages.ERROR, gettext(
        "The statement of %(day)s could not be fetched, and nothing was kept. It is tried again by itself "
        "(%(again_at)s). Reason: %(error)s"
    )


class DownloadAgain(StaffAction):
    name = "download"
    permission = "download_bill"
    label = _("Download again")
    heading = _("Download this statement again?")
    button = _("Download now")
    list_heading = _("Download these statements again?")

    def why_not(self, row):
        if not bills.is_in_reach(row):
            return _("WeChat Pay keeps statements for 180 days: this one is there no more.")
        return "" if bills.has_merchant(row) else _("Its merchant is not in the settings any more.")

    def facts(self, row):
        return [
            (_("Merchant"), f"{row.merchant} ({row.sub_mchid or row.mchid})"),
            (_("Day"), row.bill_date),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Rows"), row.rows if row.has_file else None),
            (_("Last error"), row.error),
        ]

    def consequences(self, row):
        return [
            _("WeChat Pay is asked for the file of this day. Nothing changes there."),
            _("The file is proved by its hash and read once before it is kept: this page waits for that."),
            _("It replaces what we have of that day. If it cannot be fetched, what we have stays."),
        ]

    def perform(self, row, asked, *, reference, by):
        bill = bills.download_again(row)
        return Done(*in_words(bill), bill)

    def list_facts(self, row, asked):
        return badge(row.state, row.get_state_display())

    def plan(self, row, asked, *, reference, by):
        bill = bills.plan_again(row)
        return Done(messages.SUCCESS, _("A worker fetches it, one day after the other."), bill)


class DownloadForm(MerchantForm):
    sub_mchid_help = _("Only this sub-merchant’s rows. Empty: all of the institution.")
    first = DayField(label=_("Day"), help_text=_("A day in China, yesterday or before, at most 180 days ago."))
    last = DayField(
        label=_("To"), required=False, help_text=_("For several days: the last of them. Empty: only one day.")
    )
    again = forms.BooleanField(label=_("Also what is here already"), required=False)

    def __init__(self, data=None):
        yesterday = bills.china_today() - timedelta(days=1)
        earliest = bills.china_today() - timedelta(days=bills.REACH_DAYS)
        super().__init__(data, initial={"first": yesterday})
        for name in ("first", "last"):
            self.fields[name].widget.attrs |= {"min": earliest.isoformat(), "max": yesterday.isoformat()}
        self.earliest, self.yesterday = earliest, yesterday

    def clean(self):
        asked = super().clean()
        for name in ("first", "last"):
            if asked.get(name) and not self.earliest <= asked[name] <= self.yesterday:
                self.add_error(name, _("Choose a day from 180 days ago to yesterday, in China."))
        if asked.get("first") and asked.get("last") and asked["last"] < asked["first"]:
            self.add_error("last", _("The last day is before the first."))
        return asked


class DownloadDays(Fetch):
    name = "download"
    permission = "download_bill"
    label = _("Download a day")
    heading = _("Which statements shall be downloaded?")
    button = _("Download")
    form_class = DownloadForm

    def consequences(self):
        return [
            _("WeChat Pay is asked for the file of each day. Nothing changes there."),
            _("One day is fetched at once; several are written down, and a worker fetches one after the other."),
            _("Yesterday’s and what is missing of the last seven days come by themselves: this is for other days."),
        ]

    def perform(self, asked, page_of):
        of = {name: asked[name] for name in ("merchant", "sub_mchid", "again")}
        first, last = asked["first"], asked["last"] or asked["first"]
        if first == last:
            return self._one_day(first, of, page_of)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        planned = [bills.plan_statement(day, **of) for day in days]
        wanted = [bill for bill in planned if bill.next_try_at]
        words = ngettext(
            "A worker fetches %(n)s statement now; %(known)s were here already.",
            "A worker fetches %(n)s statements now, one after the other; %(known)s were here already.",
            len(wanted),
        ) % {"n": len(wanted), "known": len(planned) - len(wanted)}
        shown = {"bill_date__gte": first, "bill_date__lt": last + timedelta(days=1)}
        return Fetched(messages.SUCCESS, words, wanted, f"{page_of('changelist')}?{urlencode(shown)}")

    def _one_day(self, day, of, page_of):
        asked_at = timezone.now()
        bill = bills.download_statement(day, **of)
        known = bill.has_file and not of["again"] and bill.downloaded_at < asked_at
        level, words = in_words(bill)
        if known:
            level, words = messages.INFO, gettext("It was here already, so nothing was fetched. %s") % words
        return Fetched(level, words, [bill], page_of("change", bill.pk))


DOWNLOAD = DownloadAgain()


@admin.register(Bill)
class BillAdmin(FetchingAdmin):
    staff_actions = (DOWNLOAD,)
    fetch = DownloadDays()
    actions = ["download_selected"]
    list_display = ["bill_date", "whose", "state_badge", "rows_shown", "size_shown", "error_shown", "next_try_at"]
    list_filter = [
        attention_filter(missing=(_("missing for a day"), attention.missing_bills)),
        month("bill_date"),
        "state",
        MerchantFilter,
        "bill_date",
    ]
    search_fields = ["sub_mchid__exact", "mchid__exact", "sha1__exact"]
    search_help_text = _("Whole values: a merchant number, or the SHA-1 of a file.")

    class Media:
        css = {"all": ("django_wxpay/books.css",)}

    def get_list_display(self, request):
        """Whoever may have the files gets them in the place of their sizes."""
        may_have = self.may(request, DOWNLOAD.permission)
        listed = super().get_list_display(request)
        return ["file_link" if name == "size_shown" and may_have else name for name in listed]

    def get_fieldsets(self, request, obj=None):
        file = ["file_link"] if self.may(request, DOWNLOAD.permission) else []
        return [
            (None, {"fields": [("merchant", "kind"), "error", ("downloaded_at", "next_try_at"), *file]}),
            (
                _("Bookkeeping"),
                {
                    "classes": ["collapse"],
                    "fields": [("mchid", "sub_mchid"), "sha1", ("size_shown", "attempts", "created_at")],
                },
            ),
        ]

    def get_urls(self):
        return [self._path("<path:object_id>/file/", self.file_view, "file"), *super().get_urls()]

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context |= {"wxpay_summary": self.summary(obj), "wxpay_related": self.related(obj)}
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)

    def summary(self, row):
        parts = [Part(_("Day, in China"), row.bill_date), Part(_("State"), self.state_badge(row), row.state)]
        if row.has_file:
            parts += [Part(_("Rows"), row.rows), Part(_("Payments"), row.payments), Part(_("Refunds"), row.refunds)]
        return parts

    def related(self, row):
        found = Discrepancy.objects.filter(about="bill", object_id=row.pk)
        rows = [
            [
                link_to(one, capfirst(one.get_kind_display()), self.admin_site),
                badge(one.state, one.get_state_display()),
                one.ours,
                one.theirs,
                one.resolution,
            ]
            for one in found
        ]
        heads = [_("What does not fit"), _("State"), _("Ours"), _("Theirs"), _("How it was resolved")]
        return [{"title": _("Discrepancies"), "heads": heads, "rows": rows}] if rows else []

    def file_view(self, request, object_id):
        """The kept file, gzipped as it is, for people who may have it: it names openids."""
        if not self.has_view_permission(request) or not self.may(request, DOWNLOAD.permission):
            self.refuse(request, "file")
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        try:
            file = row.file.open("rb") if row.has_file else None
        except OSError:
            file = None
        if file is None:
            words = _("There is no file in the storage. Download the statement again.")
            self.message_user(request, words, messages.ERROR)
            return HttpResponseRedirect(self.url_of("change", row.pk))
        self.log_change(request, row, _("Took the file."))
        name = f"{row.mchid}{row.sub_mchid and '-' + row.sub_mchid}-{row.bill_date:%Y%m%d}.csv.gz"
        return FileResponse(file, as_attachment=True, filename=name, content_type="application/gzip")

    @admin.display(description=_("rows"), ordering="rows")
    def rows_shown(self, row):
        return row.rows if row.has_file else None

    @admin.display(description=_("uncompressed"), ordering="size")
    def size_shown(self, row):
        return filesizeformat(row.size) if row.has_file else self.empty_value_display

    @admin.display(description=_("file"), ordering="size")
    def file_link(self, row):
        if not row.has_file:
            return self.empty_value_display
        tip = _("The file as WeChat Pay made it, gzipped. Its size is that of the uncompressed file.")
        url, size = self.url_of("file", row.pk), filesizeformat(row.size)
        return format_html('<a href="{}" title="{}" download>{} ↓</a>', url, tip, size)

    @admin.display(description=_("last error"))
    def error_shown(self, row):
        short = truncatechars(row.error, 60)
        return format_html('<span title="{}">{}</span>', row.error, short) if row.error else None

    @admin.action(description=_("Download the selected statements again"), permissions=["download"])
    def download_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, DOWNLOAD)

    def has_download_permission(self, request):
        return self.may(request, DOWNLOAD.permission)
