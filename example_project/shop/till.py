"""The till's page, for staff who may take quick payments. What is scanned goes to django_wxpay's REST endpoints."""

from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from django_wxpay.client import money
from django_wxpay.models import Order

from .checkout import TILL_LIMITS
from .context import is_sandbox

LATEST = 8
# Payment codes of the sandbox with a fixed outcome; its documentation lists all of them.
CODES_TO_TRY = [
    ("136666000000000000", "good", _("Pays at once")),
    ("136666000000000010", "busy", _("Is asked for the password, pays after 5 s")),
    ("136666000000000012", "busy", _("Is asked for the password, then the bank refuses")),
    ("136666000000000011", "busy", _("Never decides: the till gives up")),
    ("136666000000000020", "busy", _("Pays, but WeChat Pay answers with an error")),
    ("136666000000000001", "bad", _("Has not enough money")),
    ("136666000000000002", "bad", _("Has reached a limit")),
    ("136666000000000031", "bad", _("Shows a code that is too old")),
    ("4006381333931", "bad", _("Holds out a box of tea: no payment code")),
]


def cashiers_only(view):
    """Others are asked to sign in as a cashier; staff without the permission are told so."""

    @wraps(view)
    def guarded(request, *args, **kwargs):
        if request.user.has_perm("django_wxpay.take_quick_payment"):
            return view(request, *args, **kwargs)
        if request.user.is_staff:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return guarded


@require_safe
@cashiers_only
def till(request):
    context = {
        "currencies": [
            {"code": code, "exponent": money.exponent(code), "limit": limit} for code, limit in TILL_LIMITS.items()
        ],
        "latest": _quick_payments()[:LATEST],
        "codes": CODES_TO_TRY if is_sandbox() else [],
    }
    return render(request, "shop/till.html", context)


@require_safe
@cashiers_only
def till_order(request, out_trade_no):
    """A quick payment in the admin: the till knows its number only."""
    order = get_object_or_404(_quick_payments(), out_trade_no=out_trade_no)
    return redirect("admin:django_wxpay_order_change", order.pk)


def _quick_payments():
    return Order.objects.filter(product=Order.Product.MICROPAY).order_by("-pk")
