"""Who may ask, and how often. Neither depends on the shop's REST_FRAMEWORK defaults."""

from rest_framework.permissions import BasePermission
from rest_framework.settings import api_settings
from rest_framework.throttling import UserRateThrottle

TAKE_QUICK_PAYMENT = "django_wxpay.take_quick_payment"


class IsCustomer(BasePermission):
    """Somebody who is signed in. Whose rows they see is the view's query set."""

    def has_permission(self, request, view):
        return bool(request.user and request.user.is_authenticated)


class IsCashier(BasePermission):
    """Staff who may take quick payments."""

    def has_permission(self, request, view):
        return bool(request.user and request.user.is_active and request.user.has_perm(TAKE_QUICK_PAYMENT))


class Rate(UserRateThrottle):
    """So many requests of one user in a while; DEFAULT_THROTTLE_RATES may name another rate for the scope."""

    usual: str

    def get_rate(self):
        return (api_settings.DEFAULT_THROTTLE_RATES or {}).get(self.scope) or self.usual


class ReadRate(Rate):
    """Lists and status pages: a front end that waits for a signature asks every few seconds."""

    scope, usual = "wxpay_read", "120/min"


class SendRate(Rate):
    """What makes us ask something of WeChat Pay."""

    scope, usual = "wxpay_ask", "10/min"


class TillRate(Rate):
    """A till: a scan every few seconds, and the question how it went, each second."""

    scope, usual = "wxpay_till", "300/min"
