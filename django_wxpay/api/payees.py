"""Individual payees for a platform's front end: whether the person who asks is authorised, else what lets him sign."""

from rest_framework import serializers
from rest_framework.response import Response

from .. import conf
from ..checkout import PayeeOffer
from ..models import PayeeAuthorization
from ..services import payees
from .base import CustomerViewSet, StrictSerializer
from .contracts import ERRORS
from .schema import extend_schema, extend_schema_field


class NothingSerializer(StrictSerializer):
    """Nothing is named by the front end: the shop knows who asks."""


class PayeeSerializer(serializers.ModelSerializer):
    """A payee as he sees himself."""

    sign = serializers.SerializerMethodField(
        help_text="What requestSign of the mini program takes, for one use. null for who is authorised."
    )

    class Meta:
        model = PayeeAuthorization
        fields = ("payee_no", "state", "sign", "operation_time", "synced_at", "created_at")
        read_only_fields = fields

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": {"type": "string"}})
    def get_sign(self, payee):
        return self.context.get("sign")


class PayeeViewSet(CustomerViewSet):
    """The payee that the person who asks is."""

    queryset = PayeeAuthorization.objects.all()
    serializer_class = PayeeSerializer
    lookup_field = "payee_no"
    lookup_value_regex = "[0-9A-Za-z_-]{1,32}"
    sending_actions = ("create",)

    @extend_schema(responses=PayeeSerializer(many=True))
    def list(self, request):
        """The person's rows, newest first, as last heard of; without anything to sign."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(request=NothingSerializer, responses={200: PayeeSerializer, 202: PayeeSerializer, **ERRORS})
    def create(self, request):
        """Ask WeChat Pay whether he is authorised; if not, `sign` is what requestSign takes.

        202: WeChat Pay gave no answer, so there is nothing to sign yet: ask again in a moment.
        """
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        offer = PayeeOffer.of(conf.checkout().payee_offer(request))
        return self._confirmed(payees.enrol(**vars(offer), user=request.user))

    @extend_schema(responses={200: PayeeSerializer, 202: PayeeSerializer, 404: ERRORS[404]})
    def retrieve(self, request, payee_no):
        """The same of one row. What the front end was told when he came back proves nothing: ask here."""
        return self._confirmed(self.get_object())

    def _confirmed(self, payee):
        payee = payees.status(payee)
        if payee.synced_at is None:
            return Response(self.get_serializer(payee).data, status=202)
        sign = payees.sign_params(payee) if payee.openid else None
        return Response(self.get_serializer(payee, context={"sign": sign}).data)
