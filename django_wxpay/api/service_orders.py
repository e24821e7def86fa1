"""Service orders for a shop's front end: what was used, and whether it is paid."""

from rest_framework import serializers
from rest_framework.response import Response

from ..models import ServiceOrder
from ..services import service_orders
from .base import CustomerViewSet
from .contracts import ERRORS
from .schema import OpenApiParameter, extend_schema


class ServiceOrderSerializer(serializers.ModelSerializer):
    """A service order as its customer sees it; amounts in fen."""

    merchant_sign_plan_no = serializers.CharField(source="sign_plan.merchant_sign_plan_no", read_only=True)
    plan_detail_no = serializers.IntegerField(source="detail.plan_detail_no", read_only=True)
    currency = serializers.CharField(read_only=True)
    is_paid = serializers.BooleanField(read_only=True)

    class Meta:
        model = ServiceOrder
        fields = (
            "out_order_no", "merchant_sign_plan_no", "plan_detail_no", "service_introduction", "state",
            "state_description", "is_paid", "total_amount", "paid_amount", "currency", "start_time", "end_time",
            "synced_at", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class ServiceOrderViewSet(CustomerViewSet):
    """The service orders of the customer who asks."""

    queryset = ServiceOrder.objects.select_related("sign_plan", "detail")
    serializer_class = ServiceOrderSerializer
    lookup_field = "out_order_no"
    lookup_value_regex = "[0-9A-Za-z_*|-]{1,32}"

    @extend_schema(
        parameters=[OpenApiParameter("merchant_sign_plan_no", description="Only those of this sign plan")],
        responses=ServiceOrderSerializer(many=True),
    )
    def list(self, request):
        """The customer's service orders, newest first, as last heard of."""
        rows = self.get_queryset()
        if number := request.query_params.get("merchant_sign_plan_no"):
            rows = rows.filter(sign_plan__merchant_sign_plan_no=number)
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={200: ServiceOrderSerializer, 404: ERRORS[404]})
    def retrieve(self, request, out_order_no):
        """The service order, confirmed with WeChat Pay (at most once in three seconds)."""
        return Response(self.get_serializer(service_orders.status(self.get_object())).data)
