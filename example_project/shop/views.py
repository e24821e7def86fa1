"""The shop's pages. Signing and terminating speak to WeChat Pay, so those views stay outside of transactions."""

import secrets

from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from django_wxpay.client.errors import InvalidField, OutcomeUnknown, WxPayError
from django_wxpay.services import contracts

from .checkout import Checkout
from .models import Membership
from .plans import PLANS


def home(request):
    return render(request, "shop/home.html", {"plans": PLANS.values()})


@require_POST
@transaction.non_atomic_requests
def join(request, key):
    """Open a signing session for a plan and send the customer to WeChat Pay."""
    if key not in PLANS:
        raise Http404
    if not request.user.is_authenticated:
        name = request.POST.get("name", "").strip()
        if not name or len(name) > 32:
            messages.error(request, _("Please tell us your name, in at most 32 characters."))
            return redirect("shop:home")
        _welcome(request, name)
    offer = Checkout().contract_offer(request, key)
    try:
        contract = contracts.sign(
            **offer,
            user=request.user,
            channel="h5",
            return_url=request.build_absolute_uri("/member/"),
        )
    except InvalidField as error:
        messages.error(request, _("WeChat Pay cannot take this: %s") % error)
        return redirect("shop:home")
    except WxPayError:
        messages.error(request, _("WeChat Pay does not answer as it should. Nothing was charged; please try again."))
        return redirect("shop:home")
    request.user.memberships.filter(pk=_membership_number(offer)).update(contract=contract)
    launch = contract.launch_params()
    return redirect(launch["sign_url"] if launch else "shop:member")


@login_required
@transaction.non_atomic_requests
def member(request):
    """What a member has, has paid and got back. Confirms with WeChat Pay what is still open."""
    memberships = list(request.user.memberships.exclude(contract=None).select_related("contract"))
    for membership in memberships:
        if membership.contract.state == "PENDING":
            contracts.status(membership.contract)
    orders = request.user.wxpay_orders.prefetch_related("refunds")
    return render(
        request,
        "shop/member.html",
        {
            "memberships": memberships,
            "orders": orders,
            "is_waiting": any(map(_is_waiting, memberships)) or any(map(_is_open, orders)),
        },
    )


@login_required
@transaction.non_atomic_requests
def terminate(request, pk):
    """Ask first, then end the contract."""
    membership = get_object_or_404(Membership, pk=pk, user=request.user, contract__state="SIGNED")
    if request.method != "POST":
        return render(request, "shop/terminate.html", {"membership": membership})
    try:
        contracts.terminate(membership.contract, note="Terminated by the member", by=request.user)
    except OutcomeUnknown:
        messages.warning(request, _("WeChat Pay has not answered yet. We find out, and this page will tell."))
    except WxPayError as error:
        messages.error(request, _("Your membership goes on: %s") % error)
    else:
        messages.success(request, _("Your membership will not renew. Thank you for your company!"))
    return redirect("shop:member")


@require_POST
def leave(request):
    logout(request)
    return redirect("shop:home")


def _welcome(request, name):
    """An account from nothing but a name: this is an example shop, yours has a sign-up."""
    user = get_user_model().objects.create_user(f"member-{secrets.token_hex(4)}", first_name=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")


def _membership_number(offer):
    return int(offer["reference"].rpartition("-")[2])


def _is_waiting(membership):
    """Something will happen to this membership by itself: show it when it has."""
    contract = membership.contract
    return contract.can_launch or (contract.state == "SIGNED" and not contract.orders.exists())


def _is_open(order):
    return not order.is_final or any(
        not refund.is_final and refund.state != "ABNORMAL" for refund in order.refunds.all()
    )
