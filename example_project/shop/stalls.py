"""The market's page: let yourself be paid, buy from several sellers at once, see what you paid."""

import secrets
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from django_wxpay.client.errors import WxPayError
from django_wxpay.models import CombineOrder
from django_wxpay.services import checkout, combine_orders, payees

from . import market as goods
from .views import welcome

NEWEST = 10


@transaction.non_atomic_requests
def market(request):
    """What is for sale; what this customer sells, and has paid. What waits is confirmed with WeChat Pay."""
    mine, payments, opened_at = None, [], timezone.now()
    if request.user.is_authenticated:
        mine = request.user.wxpay_payees.filter(merchant=goods.MERCHANT).order_by("pk").first()
        mine = payees.status(mine) if mine and not mine.is_authorized else mine
        found = request.user.wxpay_combine_orders.order_by("-pk")[:NEWEST]
        payments = [_payment(combine_orders.status(order), opened_at) for order in found]
    context = {
        "stalls": goods.stalls(),
        "mine": mine,
        "thing": goods.thing_of(mine) if mine and mine.is_authorized else None,
        "payments": payments,
        "is_changing": any(payment["is_changing"] for payment in payments),
        "form": secrets.token_hex(8),
    }
    return render(request, "shop/market.html", context)


@require_POST
@transaction.non_atomic_requests
def sell(request):
    """Ask WeChat Pay how the seller stands, and let him sign. His mini program hands this to requestSign instead."""
    if not request.user.is_authenticated and not welcome(request):
        return redirect("shop:market")
    try:
        payee = payees.sync(
            payees.enrol(openid=goods.openid_of(request.user), user=request.user, merchant=goods.MERCHANT)
        )
    except WxPayError:
        messages.error(request, _("WeChat Pay gives no answer. Nothing was signed; please try again."))
        return redirect("shop:market")
    return redirect(_phone(request, "payee", payees.sign_params(payee)) or "shop:market")


@require_POST
@transaction.non_atomic_requests
def buy(request):
    """Place one payment for all chosen things, and let the customer pay it. A form sent twice is one payment."""
    if not request.user.is_authenticated and not welcome(request):
        return redirect("shop:market")
    reference = f"basket-{request.user.pk}-{request.POST.get('form', '')[:32]}"
    offer = goods.offer(request.user, request.POST.getlist("thing"), reference)
    if offer is None:
        messages.error(request, _("Choose something first."))
        return redirect("shop:market")
    try:
        order = checkout.open_combine_order(request.user, offer)
    except WxPayError as error:
        messages.error(request, _("This cannot be bought at the moment: %s") % error)
        return redirect("shop:market")
    return redirect(_phone(request, "payment", checkout.payment_of(order)) or "shop:market")


@require_POST
@transaction.non_atomic_requests
def pay(request, number):
    """Let the customer go on paying what he left: the parameters are made anew for each try."""
    order = CombineOrder.objects.filter(user=request.user.pk, combine_out_trade_no=number).first()
    params = checkout.payment_of(order) if order else None
    return redirect(_phone(request, "payment", params) or "shop:market")


def _payment(order, opened_at):
    """A payment as shown; the page looks again while WeChat Pay was not asked for this very view."""
    parts = list(order.orders.select_related("payee__user").prefetch_related("refunds").order_by("pk"))
    refunds = [refund for part in parts for refund in part.refunds.all()]
    is_known = order.is_final or (order.synced_at and order.synced_at >= opened_at)
    return {
        "order": order,
        "parts": parts,
        "is_changing": not is_known or any(not refund.is_final for refund in refunds),
    }


def _phone(request, page, params):
    """Where the sandbox plays the mini program's call; "" when there is nothing to open."""
    if not params:
        return ""
    back = {"return_url": request.build_absolute_uri(reverse("shop:market"))}
    return f"{settings.SANDBOX_URL}/_sandbox/phone/{page}?{urlencode(params | back)}"
