"""How errors reach a front end: {"code", "message"}, the field or the number it is about, and a status. Here only.

| status | code | the front end should |
|---|---|---|
| 400 | INVALID_FIELD (with `field`), MALFORMED | correct the request |
| 401, 403 | NOT_AUTHENTICATED, PERMISSION_DENIED | sign in |
| 404 | NOT_FOUND | |
| 409 | NOT_ALLOWED_NOW, CONTRACT_NOT_SIGNED …, or WeChat Pay's own code | show the message |
| 409 | OPERATION_PENDING, DEDUCTION_PENDING | ask for the object's state, try again later |
| 409 | REFERENCE_REUSED | |
| 429 | THROTTLED, with Retry-After | slow down |
| 502 | SHOP_MISCONFIGURED | tell the shop; its log has the cause |
| 503 | OUTCOME_UNKNOWN, with Retry-After | ask for the object's state, never under a new number |
| 503 | TRY_LATER, with Retry-After | the same again: nothing happened |
"""

import logging
import re

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response

from ..checkout import UnknownOffer
from ..client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited, RequestNotSent, SetupError
from ..exceptions import NotAllowedNow, OperationPending, ReferenceReused, RefundWaits

logger = logging.getLogger(__name__)
RETRY_SECONDS = 5
# The request or the account is not as WeChat Pay wants it: no customer can mend that.
OUR_MISTAKES = ("PARAM_ERROR", "INVALID_REQUEST")
NUMBERS = (
    "out_contract_code",
    "out_trade_no",
    "out_refund_no",
    "merchant_sign_plan_no",
    "out_order_no",
    "payee_no",
    "combine_out_trade_no",
)


def handler(exc, context):
    """REST framework's exception handler of our views; None (a plain 500) for what nobody foresaw."""
    meaning = _meaning(exc)
    if meaning is None:
        return None
    status, content, headers = meaning
    named = {name: value for name, value in context["kwargs"].items() if name in NUMBERS}
    return Response(content | named, status=status, headers=headers)


def _meaning(exc):
    match exc:
        case InvalidField():
            return 400, _content("INVALID_FIELD", exc) | {"field": exc.field}, {}
        case RateLimited():
            wait = max(RETRY_SECONDS, int(exc.retry_after or 0))
            return 503, _content("TRY_LATER", _("WeChat Pay is busy. Try again in a moment.")), _after(wait)
        case RequestNotSent():
            return 503, _content("TRY_LATER", _("WeChat Pay is out of reach. Try again in a moment.")), _after()
        case OutcomeUnknown():
            content = _content("OUTCOME_UNKNOWN", _("WeChat Pay has not answered yet. The outcome is being found out."))
            return 503, content, _after()
        case APIError() if isinstance(exc, SetupError) or exc.status == 400 or exc.means(*OUR_MISTAKES):
            logger.error("refused by WeChat Pay, and not for the customer's sake: %s", exc)
            return 502, _content("SHOP_MISCONFIGURED", _("This shop cannot use WeChat Pay at the moment.")), {}
        case APIError():
            return 409, _content(exc.code or "REFUSED", exc.message), {}
        case ReferenceReused() | OperationPending() | NotAllowedNow() | RefundWaits():
            return 409, _content(_code_of(exc), exc), {}
        case UnknownOffer():
            return 404, _content("NOT_FOUND", _("There is no such offer.")), {}
        case Http404():
            return _of_framework(exceptions.NotFound())
        case PermissionDenied():
            return _of_framework(exceptions.PermissionDenied())
        case exceptions.APIException():
            return _of_framework(exc)
    return None


def _of_framework(exc):
    """An error of REST framework's own: parsing, signing in, throttles, validation."""
    headers = _after(int(exc.wait) + 1) if getattr(exc, "wait", None) else {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header
    if isinstance(exc, exceptions.ValidationError):
        field, message = _first(exc.detail)
        return exc.status_code, _content("INVALID_FIELD", message) | {"field": field}, headers
    code = "MALFORMED" if isinstance(exc, exceptions.ParseError) else exc.default_code.upper()
    return exc.status_code, _content(code, exc.detail), headers


def _first(detail, field=""):
    """The first complaint of a validation error: (field, message)."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        return _first(inner, "" if name == "non_field_errors" else str(name))
    if isinstance(detail, list):
        return _first(detail[0], field)
    return field, str(detail)


def _code_of(exc):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(exc).__name__).upper()


def _content(code, message):
    return {"code": code, "message": str(message)}


def _after(seconds=RETRY_SECONDS):
    return {"Retry-After": str(seconds)}
