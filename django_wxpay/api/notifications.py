"""Where WeChat Pay sends to: one address per merchant, for every kind of message."""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.request import RawPostDataException
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from .. import conf
from ..client.errors import DecryptionFailed, MessageMalformed, SignatureInvalid
from ..engine import transactions
from ..exceptions import ProcessingFailed, WrongMerchant
from ..services import notifications
from .refusals import RefusalLog

logger = logging.getLogger(__name__)
LIMIT_BYTES = 64 * 1024
MESSAGE_LENGTH = 200
ACKNOWLEDGED = b'{"code":"SUCCESS","message":"OK"}'
refusals = RefusalLog()


class Refusal(Exception):
    """The request is no message we could look at; says which status tells so."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def read_body(request: HttpRequest) -> bytes:
    """The raw bytes of a request, at most 64 KiB of them; raises Refusal before more is read.

    Django cuts a body at its Content-Length, so a chunked one would look empty: it is taken from the server where
    that decodes chunks, else refused with 411, since "signature invalid" would name the wrong cause.
    """
    meta = request.META
    if meta.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise Refusal(415, "The body must not be compressed: its raw bytes are signed.")
    length = meta.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise Refusal(411, "Content-Length is no number.")
    if len(length) > 18 or int(length) > LIMIT_BYTES:
        raise Refusal(413, f"The body has more than {LIMIT_BYTES} bytes.")
    try:
        if meta.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in meta:
            return request.body
        body = _read_unmeasured(request)
    except RawPostDataException:
        raise Refusal(
            500,
            "Something before this view read the request's body as a stream (a middleware, request.POST, an error "
            "tracker), so its signature cannot be checked. Let it read request.body, or leave this address alone.",
        ) from None
    except RequestDataTooBig:
        raise Refusal(413, "The body is longer than DATA_UPLOAD_MAX_MEMORY_SIZE allows.") from None
    except UnreadablePostError:
        raise Refusal(400, "The body broke off.") from None
    if len(body) > LIMIT_BYTES:
        raise Refusal(413, f"The body has more than {LIMIT_BYTES} bytes.")
    return body


def _read_unmeasured(request: HttpRequest) -> bytes:
    """A body whose length nobody told: chunked, or by HTTP/2, or none at all."""
    source = request.META.get("wsgi.input")
    if source is None:  # ASGI: the server has decoded it, Django has spooled it
        return request.read(LIMIT_BYTES + 1)
    if "HTTP_TRANSFER_ENCODING" not in request.META:
        return b""
    if not request.META.get("wsgi.input_terminated"):
        raise Refusal(411, "This server does not decode chunked requests: send a Content-Length.")
    return source.read(LIMIT_BYTES + 1)


class NotificationView(APIView):
    """Takes a message, hands its raw bytes to `services.notifications.receive`, and answers as WeChat Pay expects.

    Nothing here depends on the shop's REST_FRAMEWORK: no user, permission, throttle, parser, version or format is
    looked at, and the answers are rendered and errors handled here.

    Source: APIv3 manual, "Callback notifications": 200 or 204 acknowledge, anything else brings a repeat.
    """

    authentication_classes = permission_classes = throttle_classes = parser_classes = renderer_classes = ()
    content_negotiation_class = BaseContentNegotiation
    versioning_class = None
    schema = None
    http_method_names = ["post"]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        return transactions.outside(super().as_view(**initkwargs))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look at nothing: the signature decides."""

    def post(self, request: Request, merchant: str) -> HttpResponse:
        if merchant not in conf.aliases():
            raise Refusal(404, "There is no such merchant.")
        plain = request._request  # REST framework's own would go through parsers
        notifications.receive(merchant, plain.headers, read_body(plain))
        return HttpResponse(ACKNOWLEDGED, content_type="application/json")

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]  # none of DRF's
        """Answer every error in WeChat Pay's form; DRF's and the shop's exception handlers are not asked."""
        status, message = self._meaning(exc)
        merchant = self.kwargs.get("merchant", "")
        if status < 500 or isinstance(exc, (Refusal, DecryptionFailed)):
            refusals.note(merchant if merchant in conf.aliases() else "", status, exc)
        return JsonResponse({"code": "FAIL", "message": message[:MESSAGE_LENGTH]}, status=status)

    def _meaning(self, exc: Exception) -> tuple[int, str]:
        """The status of an error, and what the sender is told; causes on our side go to the log only."""
        merchant = self.kwargs.get("merchant")
        match exc:
            case Refusal():
                return exc.status, str(exc)
            case SignatureInvalid() | WrongMerchant():
                return 401, str(exc)
            case MessageMalformed():
                return 400, str(exc)
            case APIException():  # 405
                return exc.status_code, str(exc.detail)
            case DecryptionFailed():
                return 500, "The message cannot be decrypted."
            case ProcessingFailed():
                logger.error("notification kept, but not processed merchant=%s: %s", merchant, exc)
                return 500, "The message was kept, but could not be processed yet."
            case OperationalError() | InterfaceError():
                logger.error("notification not kept merchant=%s: the database is out of reach", merchant, exc_info=exc)
                return 503, "The message could not be kept. Send it again later."
        logger.error("notification not kept merchant=%s", merchant, exc_info=exc)
        return 500, "The message could not be kept. Send it again later."
