"""Combined orders for a platform's front end: place one from an offer, let it be paid, see it paid, close it."""

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from .. import conf
from ..checkout import CombineOffer
from ..models import CombineOrder, Order
from ..services import checkout, combine_orders
from .base import CustomerViewSet
from .contracts import ERRORS, NothingSerializer, OfferSerializer
from .schema import extend_schema, extend_schema_field


class CombinedPartSerializer(serializers.ModelSerializer):
    """What one payee gets; amounts in fen."""

    class Meta:
        model = Order
        fields = ("out_trade_no", "state", "description", "amount_total", "refundable_amount", "success_time")
        read_only_fields = fields


class CombineOrderSerializer(serializers.ModelSerializer):
    """A combined order as its customer sees it; amounts in fen."""

    payment = serializers.SerializerMethodField(
        help_text=_("What wx.requestPayment takes, for one use; null when it is not asked for here, or cannot be paid.")
    )
    currency = serializers.CharField(read_only=True)
    orders = CombinedPartSerializer(many=True, read_only=True)

    class Meta:
        model = CombineOrder
        fields = (
            "combine_out_trade_no", "state", "payment", "amount_total", "currency", "time_expire", "synced_at",
            "created_at", "orders",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": {"type": "string"}})
    def get_payment(self, order):
        return self.context.get("payment")


class CombineOrderViewSet(CustomerViewSet):
    """The combined orders of the customer who asks."""

    queryset = CombineOrder.objects.prefetch_related("orders")
    serializer_class = CombineOrderSerializer
    lookup_field = "combine_out_trade_no"
    lookup_value_regex = "[0-9A-Za-z_-]{1,32}"
    sending_actions = ("create", "payment", "close")

    @extend_schema(responses=CombineOrderSerializer(many=True))
    def list(self, request):
        """The customer's combined orders, newest first, as last heard of."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        request=OfferSerializer, responses={201: CombineOrderSerializer, 202: CombineOrderSerializer, **ERRORS}
    )
    def create(self, request):
        """Place an offer, or find what was placed; another attempt when that was closed.

        201: `payment` is what wx.requestPayment takes. 200: paid already. 202: it is still being placed, or a failed
        payment is being closed: ask again in a moment.
        """
        asked = OfferSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        offer = CombineOffer.of(conf.checkout().combine_offer(request, asked.validated_data["offer"]))
        return self._to_be_paid(checkout.open_combine_order(request.user, offer), made=201)

    @extend_schema(responses={200: CombineOrderSerializer, 404: ERRORS[404]})
    def retrieve(self, request, combine_out_trade_no):
        """The combined order, confirmed with WeChat Pay (at most once in three seconds), without `payment`.

        What the front end was told when the payer came back proves nothing: ask here.
        """
        return Response(self.get_serializer(combine_orders.status(self.get_object())).data)

    @extend_schema(request=NothingSerializer, responses={200: CombineOrderSerializer, 202: CombineOrderSerializer})
    @action(detail=True, methods=["post"])
    def payment(self, request, combine_out_trade_no):
        """The same order with `payment`, fresh; 202 while there is none yet."""
        return self._to_be_paid(self.get_object(), made=200)

    @extend_schema(
        request=NothingSerializer, responses={200: CombineOrderSerializer, 202: CombineOrderSerializer, **ERRORS}
    )
    @action(detail=True, methods=["post"])
    def close(self, request, combine_out_trade_no):
        """The customer gives up. 200: it is closed. 202: asked for, and being confirmed; he may be paying."""
        order = checkout.close_combine_order(self.get_object(), by=request.user)
        return Response(self.get_serializer(order).data, status=200 if order.is_final else 202)

    def _to_be_paid(self, order, made):
        payment = checkout.payment_of(order)
        status = made if payment else 200 if order.is_final or order.is_expired else 202
        return Response(self.get_serializer(order, context={"payment": payment}).data, status=status)
