"""PayScore plans for a shop's front end: sign one from an offer, see each of its services, cancel it."""

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from .. import conf
from ..checkout import SignPlanOffer
from ..models import SignPlan, SignPlanDetail
from ..services import checkout, sign_plans
from .base import CustomerViewSet, StrictSerializer
from .contracts import ERRORS, OfferSerializer
from .schema import OpenApiParameter, extend_schema, extend_schema_field

CLIENTS = ("mini_program", "h5", "app")


class ReasonSerializer(StrictSerializer):
    """Why a customer cancels."""

    reason = serializers.CharField(max_length=128)


class SignPlanDetailSerializer(serializers.ModelSerializer):
    """One service of a sign plan; prices in fen."""

    class Meta:
        model = SignPlanDetail
        fields = (
            "plan_detail_no", "plan_detail_name", "merchant_plan_detail_no", "state", "original_price", "actual_price",
            "plan_discount_description", "actual_pay_price", "use_time", "complete_time", "cancel_time",
        )  # fmt: skip
        read_only_fields = fields


class SignPlanSerializer(serializers.ModelSerializer):
    """A sign plan as its customer sees it; prices in fen."""

    launch = serializers.SerializerMethodField(
        help_text=_("What opens WeChat Pay for the signature: the argument of wx.openBusinessView, or what ?client=h5 "
                    "or app wants. null when there is nothing to sign.")
    )  # fmt: skip
    pending = serializers.SerializerMethodField(
        help_text=_("What is being asked of WeChat Pay right now (SIGN_PLAN, CANCEL_SIGN_PLAN), or null.")
    )
    details = SignPlanDetailSerializer(many=True, read_only=True)

    class Meta:
        model = SignPlan
        fields = (
            "merchant_sign_plan_no", "state", "launch", "pending", "plan_name", "deduction_quantity", "currency",
            "total_original_price", "total_actual_price", "package_expires", "plan_over_time", "sign_time",
            "cancel_sign_time", "cancel_sign_type", "synced_at", "created_at", "details",
        )  # fmt: skip
        read_only_fields = fields

    currency = serializers.CharField(read_only=True)

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": True})
    def get_launch(self, sign_plan):
        return sign_plan.launch_params(self.context["client"])

    @extend_schema_field({"type": "string", "nullable": True, "enum": ["SIGN_PLAN", "CANCEL_SIGN_PLAN", None]})
    def get_pending(self, sign_plan):
        return self.context["pending"].get(sign_plan.pk)


CLIENT = OpenApiParameter("client", enum=CLIENTS, description="What `launch` is for; mini_program by default")


class SignPlanViewSet(CustomerViewSet):
    """The sign plans of the customer who asks."""

    queryset = SignPlan.objects.prefetch_related("details")
    serializer_class = SignPlanSerializer
    lookup_field = "merchant_sign_plan_no"
    lookup_value_regex = "[0-9A-Za-z_*-]{1,32}"
    sending_actions = ("create", "cancel")

    @extend_schema(parameters=[CLIENT], responses=SignPlanSerializer(many=True))
    def list(self, request):
        """The customer's sign plans with each of their services, newest first, as last heard of."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self._shown(page, many=True))

    @extend_schema(
        parameters=[CLIENT],
        request=OfferSerializer,
        responses={201: SignPlanSerializer, 202: SignPlanSerializer, **ERRORS},
    )
    def create(self, request):
        """Make an offer ready to be signed, or find the sign plan that is there.

        201: `launch` opens WeChat Pay, for two hours. 200: signed already. 202: it is still being opened, ask for its
        state in a moment.
        """
        asked = OfferSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        offer = SignPlanOffer.of(conf.checkout().sign_plan_offer(request, asked.validated_data["offer"]))
        sign_plan = checkout.open_sign_plan(request.user, offer)
        if sign_plan.state not in (SignPlan.State.PLANNED, SignPlan.State.UNSIGNED):
            return Response(self._shown(sign_plan))
        return Response(self._shown(sign_plan), status=201 if sign_plan.can_launch else 202)

    @extend_schema(parameters=[CLIENT], responses={200: SignPlanSerializer, 404: ERRORS[404]})
    def retrieve(self, request, merchant_sign_plan_no):
        """The sign plan, confirmed with WeChat Pay (at most once in three seconds).

        What the front end was told when it came back proves nothing: ask here.
        """
        return Response(self._shown(sign_plans.status(self.get_object())))

    @extend_schema(request=ReasonSerializer, responses={200: SignPlanSerializer, 202: SignPlanSerializer, **ERRORS})
    @action(detail=True, methods=["post"])
    def cancel(self, request, merchant_sign_plan_no):
        """Cancel what is left of it. 200: it has ended. 202: asked for, and being confirmed."""
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        sign_plan = checkout.end_sign_plan(self.get_object(), by=request.user, **asked.validated_data)
        return Response(self._shown(sign_plan), status=200 if sign_plan.is_final else 202)

    def _shown(self, shown, many=False):
        client = self.request.query_params.get("client", CLIENTS[0])
        if client not in CLIENTS:
            raise serializers.ValidationError({"client": [_("One of {names}.").format(names=", ".join(CLIENTS))]})
        context = {"pending": checkout.pending_actions(shown if many else [shown]), "client": client}
        return self.get_serializer(shown, many=many, context=context).data
