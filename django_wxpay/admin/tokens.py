"""A form is submitted once: its hidden token names what it may do, to what, and by whom.

Its random part becomes the `reference` that a service is given, so the database, not a session, sees to it that
the second submission of a form finds what the first one asked for.
"""

import secrets

from django.core import signing

SALT = "django_wxpay.admin"
VALID_SECONDS = 3600


class TokenRefused(Exception):
    """The token is forged, too old, or was made for something else."""


def make(user, action, about):
    """A token for one submission. about: what the form is about, as JSON-able values."""
    return signing.dumps([action, str(user.pk), secrets.token_hex(16), about], salt=SALT, compress=True)


def read(token, user, action):
    """Returns (reference, about). Raises TokenRefused."""
    try:
        for_action, for_user, random, about = signing.loads(token, salt=SALT, max_age=VALID_SECONDS)
    except (signing.BadSignature, TypeError, ValueError) as error:
        raise TokenRefused from error
    if (for_action, for_user) != (action, str(user.pk)):
        raise TokenRefused
    return f"admin-{random}", about
