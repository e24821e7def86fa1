"""What every page of ours has in common: read-only rows, states as badges, masked openids, links."""

import logging

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import SUBJECTS

logger = logging.getLogger(__name__)

TONES = {
    "good": {
        "NORMAL",
        "USED",
        "COMPLETE",
        "SUCCESS",
        "SIGNED",
        "DONE",
        "PROCESSED",
        "RESOLVED",
        "DELIVERED",
        "DOWNLOADED",
        "RECONCILED",
        "SETTLED",
        "AUTHORIZED",
    },
    "busy": {
        "UNSIGNED",
        "DOING",
        "USING",
        "PENDING",
        "CREATED",
        "NOTPAY",
        "USERPAYING",
        "PROCESSING",
        "PLANNED",
        "SENT",
        "WAITING",
        "UNSETTLE",
    },
    "alarm": {"UNKNOWN", "ABNORMAL", "FAILED", "OPEN", "PARKED"},
    "bad": {"REFUSED", "PAYERROR"},
    "info": {"REFUND"},
}
# The numbers by which people look for an object.
NUMBERS = {
    "contract": ("out_contract_code", "contract_id"),
    "order": ("out_trade_no", "transaction_id"),
    "refund": ("out_refund_no", "refund_id"),
    "payscore_plan": ("merchant_plan_no", "plan_id"),
    "sign_plan": ("merchant_sign_plan_no", "sign_plan_id"),
    "service_order": ("out_order_no", "order_id"),
    "combine_order": ("combine_out_trade_no", "combine_transaction_id"),
    "payee": ("payee_no", "individual_auth_id"),
}


NOTHING = "–"


def subject_label(subject):
    """A subject as people read it; as it is when we do not know it."""
    model = SUBJECTS.get(subject)
    return str(model._meta.verbose_name) if model else subject


def error_of(operation):
    """An operation's error in one line: its code, and what was said of it."""
    code, message = operation.error_code, operation.error_message
    return message if message.startswith(code) else f"{code}: {message}"


def tone_of(state):
    """How a state is coloured: good, busy, alarm, bad, info or quiet."""
    return next((tone for tone, states in TONES.items() if state in states), "quiet")


def badge(state, label):
    """A state as a coloured label; pointing at it shows the wire's word."""
    return format_html('<span class="wxpay-state wxpay-{}" title="{}">{}</span>', tone_of(state), state, label)


def masked(openid):
    """An openid as it may be seen outside its own page: enough to compare, not enough to use."""
    if not openid:
        return None
    return f"{openid[:3]}…{openid[-3:]}" if len(openid) > 9 else "…"


def shortened(number):
    """A long number as a list shows it; pointing at it shows all of it."""
    text = str(number)
    return format_html('<span title="{}">{}</span>', text, text if len(text) <= 16 else f"{text[:14]}…")


def change_url(model, pk, site=admin.site):
    """The address of a row's page, None when this site does not show such rows."""
    try:
        return reverse(
            f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk], current_app=site.name
        )
    except NoReverseMatch:
        return None


def link_to(row, text=None, site=admin.site):
    """A link to a row's page; a dash for no row (a page would show None as a word)."""
    if row is None:
        return NOTHING
    url = change_url(type(row), row.pk, site)
    return format_html('<a href="{}">{}</a>', url, text or row) if url else str(text or row)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows are written by services only: nothing is added, changed or deleted by hand."""

    list_per_page = 50
    show_full_result_count = False
    empty_value_display = NOTHING

    class Media:
        css = {"all": ("django_wxpay/admin.css",)}

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def url_of(self, name, *args):
        """The address of one of this admin's pages: changelist, change, or a staff action's name."""
        view = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(view, args=args, current_app=self.admin_site.name)

    def may(self, request, permission):
        """Whether this person has one of our own permissions."""
        return request.user.has_perm(f"{self.opts.app_label}.{permission}")

    def refuse(self, request, what, row=None):
        """Answer 403, and leave a trace of who tried."""
        logger.warning(
            "admin refused action=%s %s=%s user=%s",
            what,
            self.opts.model_name,
            getattr(row, "pk", "-"),
            request.user.pk,
        )
        raise PermissionDenied

    def page_context(self, request, title):
        """What every page of our own needs beside its content."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "list_url": self.url_of("changelist"),
        }

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row):
        return badge(row.state, row.get_state_display())


class AboutObjectAdmin(ReadOnlyAdmin):
    """Rows that name their object by a subject and a key: operations, transitions, discrepancies."""

    about_field = "subject"

    @admin.display(description=_("about"))
    def about_link(self, row):
        subject = getattr(row, self.about_field)
        model = SUBJECTS.get(subject)
        text = f"{subject_label(subject)} {row.object_id}"
        url = model and change_url(model, row.object_id, self.admin_site)
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    def get_search_results(self, request, queryset, search_term):
        """Also find what is about the object of that number."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        for subject, numbers in NUMBERS.items():
            for name in numbers if search_term.strip() else ():
                pks = SUBJECTS[subject].objects.filter(**{name: search_term.strip()}).values("pk")
                found |= queryset.filter(**{self.about_field: subject}, object_id__in=pks)
        return found, may_repeat
