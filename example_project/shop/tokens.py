"""How the mini program says who asks: a signed token that it sends along with each request.

wx.request keeps no cookies. A header that no browser sends by itself also needs no CSRF token.
"""

from django.contrib.auth import get_user_model
from django.core import signing
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

SALT = "shop: mini program"
LIFETIME_SECONDS = 12 * 3600  # then the mini program logs in again by itself


def token_of(user) -> str:
    return signing.dumps(user.pk, salt=SALT)


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`; requests without it are left to the session of the shop's pages."""

    def authenticate(self, request):
        kind, _sep, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        try:
            pk = signing.loads(token, salt=SALT, max_age=LIFETIME_SECONDS)
        except signing.BadSignature:
            raise AuthenticationFailed(_("Please sign in again.")) from None
        user = get_user_model().objects.filter(pk=pk, is_active=True).first()
        if user is None:
            raise AuthenticationFailed(_("Please sign in again."))
        return user, token

    def authenticate_header(self, request):
        """Makes REST framework answer 401 instead of 403."""
        return "Bearer"
