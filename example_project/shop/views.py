"""The shop's pages. Signing and terminating speak to WeChat Pay, so those views stay outside of transactions."""

import secrets
from dataclasses import replace

from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from django_wxpay.client.errors import InvalidField, WxPayError
from django_wxpay.services import checkout, contracts

from .checkout import ShopCheckout
from .models import Membership
from .plans import PLANS, plan_of


def home(request):
    return render(request, "shop/home.html", {"plans": PLANS.values()})


@require_POST
@transaction.non_atomic_requests
def join(request, key):
    """Open a signing session for a plan and send the customer to WeChat Pay."""
    if key not in PLANS:
        raise Http404
    if not request.user.is_authenticated and not welcome(request):
        return redirect("shop:home")
    back = request.build_absolute_uri(reverse("shop:member"))
    offer = replace(ShopCheckout().contract_offer(request, key), channel="h5", return_url=back)
    try:
        contract = checkout.open_contract(request.user, offer)
    except InvalidField as error:
        messages.error(request, _("WeChat Pay cannot take this: %s") % error)
        return redirect("shop:home")
    except WxPayError:
        messages.error(request, _("WeChat Pay does not open the contract. Nothing was charged; please try again."))
        return redirect("shop:home")
    launch = contract.launch_params()
    return redirect(launch["sign_url"] if launch else "shop:member")


@login_required
@transaction.non_atomic_requests
def member(request):
    """What a member has, has paid and got back. What waits for the signature is confirmed with WeChat Pay."""
    waiting = [contracts.status(row) for row in request.user.wxpay_contracts.filter(state="PENDING")]
    waiting = [(row, plan_of(row.plan_id)) for row in waiting if row.can_launch]
    memberships = request.user.memberships.select_related("contract")
    orders = request.user.wxpay_orders.prefetch_related("refunds")
    is_changing = (
        any(_is_new(row) for row in request.user.wxpay_contracts.all())
        or any(not order.is_final for order in orders)
        or any(refund.state in ("CREATED", "PROCESSING") for order in orders for refund in order.refunds.all())
    )
    context = {"waiting": waiting, "memberships": memberships, "orders": orders, "is_changing": is_changing}
    return render(request, "shop/member.html", context)


@login_required
@transaction.non_atomic_requests
def terminate(request, pk):
    """Ask first, then end the contract."""
    membership = get_object_or_404(Membership, pk=pk, user=request.user, contract__state="SIGNED")
    if request.method != "POST":
        return render(request, "shop/terminate.html", {"membership": membership})
    try:
        contract = checkout.end_contract(membership.contract, by=request.user)
    except WxPayError as error:
        messages.error(request, _("Your membership goes on: %s") % error)
    else:
        if contract.is_final:
            messages.success(request, _("Your membership will not renew. Thank you for your company!"))
        else:
            messages.warning(request, _("WeChat Pay has not answered yet. We find out, and this page will tell."))
    return redirect("shop:member")


@require_POST
def leave(request):
    logout(request)
    return redirect("shop:home")


def welcome(request):
    """An account from nothing but a name: this is an example shop, yours has a sign-up. False without a name."""
    name = request.POST.get("name", "").strip()
    if not name or len(name) > 32:
        messages.error(request, _("Please tell us your name, in at most 32 characters."))
        return False
    username = f"{slugify(name) or 'member'}-{secrets.token_hex(3)}"
    user = get_user_model().objects.create_user(username, first_name=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return True


def _is_new(contract):
    """Not signed yet, or signed and not yet charged: something is about to happen by itself."""
    return contract.can_launch or (contract.state == "SIGNED" and not contract.orders.exists())
