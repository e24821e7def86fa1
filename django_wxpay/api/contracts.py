"""Contracts for a shop's front end: open one from an offer, see whether it is signed, end it."""

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from .. import conf
from ..checkout import ContractOffer
from ..models import Contract
from ..services import checkout, contracts
from .base import CustomerViewSet, ErrorSerializer, StrictSerializer
from .schema import OpenApiResponse, extend_schema, extend_schema_field


class OfferSerializer(StrictSerializer):
    """What a customer sends: the key of an offer, nothing else."""

    offer = serializers.CharField(max_length=64, help_text=_("The key of an offer of this shop."))


class NothingSerializer(StrictSerializer):
    """An empty body."""


class ContractSerializer(serializers.ModelSerializer):
    """A contract as its customer sees it."""

    launch = serializers.SerializerMethodField(
        help_text=_("What opens WeChat Pay for the signature: for a mini program the argument of "
                    "wx.navigateToMiniProgram, else session_id or sign_url. null when there is nothing to sign.")
    )  # fmt: skip
    pending = serializers.SerializerMethodField(
        help_text=_("What is being asked of WeChat Pay right now (SIGN, TERMINATE), or null.")
    )

    class Meta:
        model = Contract
        fields = (
            "out_contract_code", "state", "launch", "pending", "plan_id", "channel", "expired_time", "signed_time",
            "contract_expire_time", "terminated_time", "synced_at", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": True})
    def get_launch(self, contract):
        return contract.launch_params()

    @extend_schema_field({"type": "string", "nullable": True, "enum": ["SIGN", "TERMINATE", None]})
    def get_pending(self, contract):
        return self.context["pending"].get(contract.pk)


ERRORS = {
    status: OpenApiResponse(ErrorSerializer, description=meaning)
    for status, meaning in {
        400: "A field is not accepted",
        404: "No such offer, or not this customer's contract",
        409: "Not possible now, or refused by WeChat Pay",
        429: "Too often",
        503: "WeChat Pay is out of reach; see Retry-After",
    }.items()
}


class ContractViewSet(CustomerViewSet):
    """The contracts of the customer who asks."""

    queryset = Contract.objects.all()
    serializer_class = ContractSerializer
    lookup_field = "out_contract_code"
    lookup_value_regex = "[0-9A-Za-z_*-]{1,32}"
    sending_actions = ("create", "terminate")

    @extend_schema(responses=ContractSerializer(many=True))
    def list(self, request):
        """The customer's contracts, newest first, as last heard of."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self._shown(page, many=True))

    @extend_schema(request=OfferSerializer, responses={201: ContractSerializer, 202: ContractSerializer, **ERRORS})
    def create(self, request):
        """Open a contract from an offer, or find the one that is there.

        201: `launch` opens WeChat Pay. 200: signed already. 202: the session is still being opened, ask for the
        contract's state in a moment.
        """
        asked = OfferSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        offer = ContractOffer.of(conf.checkout().contract_offer(request, asked.validated_data["offer"]))
        contract = checkout.open_contract(request.user, offer)
        if contract.state != Contract.State.PENDING:
            return Response(self._shown(contract))
        return Response(self._shown(contract), status=201 if contract.can_launch else 202)

    @extend_schema(responses={200: ContractSerializer, 404: ERRORS[404]})
    def retrieve(self, request, out_contract_code):
        """The contract, confirmed with WeChat Pay (at most once in three seconds).

        What the mini program was told when it came back proves nothing: ask here.
        """
        return Response(self._shown(contracts.status(self.get_object())))

    @extend_schema(request=None, responses={200: ContractSerializer, 202: ContractSerializer, **ERRORS})
    @action(detail=True, methods=["post"])
    def terminate(self, request, out_contract_code):
        """End the contract. 200: it has ended. 202: asked for, and being confirmed."""
        NothingSerializer(data=request.data or {}).is_valid(raise_exception=True)
        contract = checkout.end_contract(self.get_object(), by=request.user)
        return Response(self._shown(contract), status=200 if contract.is_final else 202)

    def _shown(self, shown, many=False):
        pending = checkout.pending_actions(shown if many else [shown])
        return self.get_serializer(shown, many=many, context={"pending": pending}).data
