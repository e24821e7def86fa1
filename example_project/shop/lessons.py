"""Courses in the shop: a customer signs one; the trainer begins a lesson, ends it, or cancels it."""

import secrets
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from django_wxpay.client.errors import OutcomeUnknown, WxPayError
from django_wxpay.models import ServiceOrder, SignPlan
from django_wxpay.services import checkout, service_orders, sign_plans

from . import course
from .checkout import ShopCheckout
from .views import welcome

NEWEST = 20
OPEN = (ServiceOrder.State.PLANNED, ServiceOrder.State.CREATED, ServiceOrder.State.DOING)


def courses(request):
    """The course on offer, and what this customer has of it."""
    mine = course.of(request.user) if request.user.is_authenticated else []
    mine = [sign_plans.status(row) if row.state == SignPlan.State.UNSIGNED else row for row in mine]
    shown = [row for row in mine if row.state != SignPlan.State.UNSIGNED or row.can_launch]
    context = {
        "name": course.NAME,
        "lessons": course.LESSONS,
        "key": course.KEY,
        "is_offered": course.plan_of(course.KEY) is not None,
        "courses": [(row, _lessons(row), _launch(request, row)) for row in shown],
        "is_signed": any(row.state == SignPlan.State.SIGNED for row in shown),
        "is_changing": any(row.can_launch or _is_changing(row) for row in shown),
    }
    return render(request, "shop/courses.html", context)


@require_POST
@transaction.non_atomic_requests
def sign_up(request, key):
    """Make the course ready to be signed and send the customer to WeChat Pay."""
    if course.plan_of(key) is None:
        raise Http404
    if not request.user.is_authenticated and not welcome(request):
        return redirect("shop:courses")
    try:
        sign_plan = checkout.open_sign_plan(request.user, ShopCheckout().sign_plan_offer(request, key))
    except WxPayError:
        messages.error(request, _("WeChat Pay does not open the course. Nothing was charged; please try again."))
        return redirect("shop:courses")
    return redirect(_launch(request, sign_plan) or "shop:courses")


def _launch(request, sign_plan):
    """Where the customer signs. A mini program hands `launch_params()` to wx.openBusinessView instead."""
    launch = sign_plan.launch_params("h5")
    if launch is None:
        return ""
    back = urlencode({"return_url": request.build_absolute_uri(reverse("shop:courses"))})
    return f"{settings.SANDBOX_URL}/_sandbox/phone/sign-plan?{launch['queryString']}&{back}"


def _lessons(sign_plan):
    """Each lesson with its service order and what came back of its payment."""
    orders = {order.detail_id: order for order in sign_plan.service_orders.all()}
    lessons = []
    for detail in sign_plan.details.all():
        order = orders.get(detail.pk)
        refunds = [refund for paid in order.orders.all() for refund in paid.refunds.all()] if order else []
        lessons.append({"detail": detail, "order": order, "refunds": refunds, "kind": _kind(detail, order)})
    return lessons


def _is_changing(sign_plan):
    """A lesson is under way, or all are over and the course is about to end."""
    is_over = sign_plan.state == SignPlan.State.SIGNED and sign_plan.next_detail() is None
    return is_over or any(order.state in OPEN for order in sign_plan.service_orders.all())


def _kind(detail, order):
    """Where a lesson stands, in one word that the page translates."""
    if order is None:
        return "waiting"
    if order.is_paid:
        return "paid" if order.total_amount else "free"
    if order.is_collecting:
        return "collecting"
    return {"REVOKED": "cancelled", "EXPIRED": "cancelled", "REFUSED": "waiting"}.get(order.state, "running")


# The trainer


def _trainer(view):
    return login_required(permission_required("django_wxpay.start_serviceorder", raise_exception=True)(view))


@_trainer
def trainer(request):
    """Everybody who has signed, with the lesson that comes next or runs."""
    rows = SignPlan.objects.filter(merchant=course.MERCHANT, state__in=("SIGNED", "SIGN_PLAN_CANCEL", "COMPLETE"))
    rows = rows.select_related("user").prefetch_related("details", "service_orders__orders__refunds")[:NEWEST]
    students = [
        {"row": row, "lessons": _lessons(row), "running": next(iter(_running(row)), None), "next": row.next_detail()}
        for row in rows
    ]
    is_changing = any(student["running"] and student["running"].is_collecting for student in students)
    context = {"students": students, "is_changing": is_changing, "form": secrets.token_hex(8)}
    return render(request, "shop/trainer.html", context)


@_trainer
@require_POST
@transaction.non_atomic_requests
def lesson(request, number, deed):
    """Begin the next lesson of a course, or end or cancel the one that runs. A form that is sent twice does it once."""
    sign_plan = get_object_or_404(SignPlan, merchant=course.MERCHANT, merchant_sign_plan_no=number)
    form = f"{deed}-{number[:16]}-{request.POST.get('form', '')[:32]}"
    try:
        if deed == "begin":
            service_orders.start(sign_plan, reference=form, by=request.user)
        elif running := next(iter(_running(sign_plan)), None):
            if deed == "end":
                service_orders.complete(running, reference=form, by=request.user)
            else:
                service_orders.cancel(running, reason="Lesson cancelled", reference=form, by=request.user)
    except OutcomeUnknown:
        messages.warning(request, _("WeChat Pay has not answered yet. We find out, and this page will tell."))
    except WxPayError as error:
        messages.error(request, str(error))
    return redirect("shop:trainer")


def _running(sign_plan):
    return [order for order in sign_plan.service_orders.all() if order.state in OPEN]
