"""What the customers' endpoints share."""

import re
from collections.abc import Sequence

from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import GenericViewSet

from ..engine import transactions
from . import errors, permissions

PK = re.compile(r"[0-9]{1,18}")


class Pages(CursorPagination):
    """Newest first, 50 at a time; stable while rows are added."""

    page_size = 50
    ordering = "-pk"

    def decode_cursor(self, request):
        """The base class hands any text on to the database, which takes numbers only."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None and not PK.fullmatch(cursor.position):
            raise NotFound(self.invalid_cursor_message)
        return cursor


class StrictSerializer(serializers.Serializer):
    """Refuses fields it does not know: whoever sends an amount must learn that it is not looked at."""

    def to_internal_value(self, data):
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            refusal = _("This field is not accepted: the server decides it. Accepted: {names}.")
            message = refusal.format(names=", ".join(self.fields))
            raise serializers.ValidationError({name: [message] for name in unknown})
        return super().to_internal_value(data)


class ErrorSerializer(serializers.Serializer):
    """The form of every error."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(required=False)


# Services open transactions of their own, and refuse to speak to WeChat Pay inside another.
@method_decorator(transactions.outside, name="dispatch")
class CustomerViewSet(GenericViewSet):
    """JSON in and out, for people who are signed in, in the shop's way, and see only their own rows."""

    permission_classes: Sequence[type[BasePermission]] = (permissions.IsCustomer,)
    throttle_classes: Sequence[type[BaseThrottle]] = (permissions.ReadRate,)
    sending_actions: tuple[str, ...] = ()  # those that send something to WeChat Pay
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = DefaultContentNegotiation
    pagination_class = Pages
    filter_backends = ()
    versioning_class = None

    def get_throttles(self):
        sends = self.action in self.sending_actions
        return [permissions.SendRate()] if sends else super().get_throttles()

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):  # drf-spectacular looks for the model only
            return self.queryset.none()
        return self.queryset.filter(user=self.request.user)

    def get_exception_handler(self):
        return errors.handler
