"""What the mini program asks of the shop itself: who its user is, and what there is to sign and to buy.

Everything else it asks of django_wxpay's endpoints.
"""

import hashlib

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.response import Response

from . import course, market
from .context import is_sandbox
from .plans import PLANS
from .tokens import token_of

DEMO = "demo:"
GUEST = "Guest"


@api_view(["POST"])
@authentication_classes([])
@permission_classes([])
def login(request):
    """A token for the code that wx.login gave to the mini program."""
    code = request.data.get("code") if isinstance(request.data, dict) else None
    if not isinstance(code, str) or not 0 < len(code) <= 128:
        complaint = {"code": "INVALID_FIELD", "field": "code", "message": _("Send the code that wx.login gave you.")}
        return Response(complaint, status=400)
    user = customer_of(code)
    return Response({"token": token_of(user), "name": user.first_name})


def customer_of(code):
    """Whose code this is. Replace this in your shop.

    There the server asks WeChat (code2Session, with your appid and AppSecret, which stays on the server), learns the
    openid, and finds or makes the user who has it. The sandbox has no such call, so the demo believes the code: who
    says "demo:Li Mei" is Li Mei, who says anything else, as the developer tools do, is one and the same guest. That
    is no login, so it exists only while WeChat Pay is played by the sandbox.
    """
    if not is_sandbox():
        raise Http404
    name = code.removeprefix(DEMO).strip()[:32] if code.startswith(DEMO) else ""
    name = name or GUEST
    username = f"mini-{hashlib.sha256(name.encode()).hexdigest()[:12]}"  # nobody else's account has such a name
    known = {"first_name": name, "password": make_password(None)}
    return get_user_model().objects.get_or_create(username=username, defaults=known)[0]


@api_view(["GET"])
@authentication_classes([])
@permission_classes([])
def offers(request):
    """What can be signed and bought: keys, names and prices. Of these the mini program sends back the keys only."""
    plans = [
        {
            "key": plan.key,
            "plan_id": plan.plan_id,
            "name": plan.name,
            "amount": plan.amount,
            "currency": plan.currency,
            "promises": plan.promises,
        }
        for plan in PLANS.values()
    ]
    lessons = [
        {"name": lesson.name, "original_price": lesson.original_price, "actual_price": lesson.actual_price}
        for lesson in course.LESSONS
    ]
    is_offered = course.plan_of(course.KEY) is not None
    goods = [
        {"key": str(payee.pk), "title": title, "price": price, "seller": payee.user.first_name}
        for payee, title, price in market.stalls()
    ]
    return Response(
        {
            "plans": plans,
            "course": {"key": course.KEY, "name": course.NAME, "lessons": lessons} if is_offered else None,
            "goods": goods,
            "mainland_currency": "CNY",
        }
    )
