"""The till: a cashier scans a payment code, and asks how it went until there is an end."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers
from rest_framework.response import Response

from .. import conf
from ..checkout import QuickPayOffer
from ..models import Action, Order
from ..services import checkout, orders
from . import permissions
from .base import CustomerViewSet, StrictSerializer
from .contracts import ERRORS
from .schema import extend_schema, extend_schema_field

State = Order.State
BAD_CODE = ("AUTH_CODE_INVALID", "AUTH_CODE_EXPIRE", "AUTHCODEEXPIRE", "INVALID_FIELD")


class ScanSerializer(StrictSerializer):
    """What a till sends."""

    auth_code = serializers.CharField(max_length=64, write_only=True, help_text=gettext_lazy("The scanned code."))
    amount = serializers.IntegerField(help_text=gettext_lazy("In the currency's minor unit."))
    currency = serializers.CharField(max_length=3)
    reference = serializers.CharField(
        max_length=64, help_text=gettext_lazy("The till's own name for this scan; the same again charges nothing.")
    )


class QuickPaymentSerializer(serializers.ModelSerializer):
    """A quick payment as the cashier sees it."""

    outcome = serializers.SerializerMethodField(help_text=gettext_lazy("PAID, NOT_PAID or WAIT."))
    instruction = serializers.SerializerMethodField(help_text=gettext_lazy("What to do, and to say to the payer."))

    class Meta:
        model = Order
        fields = (
            "out_trade_no", "reference", "state", "outcome", "instruction", "amount_total", "currency", "error_code",
            "success_time", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "string", "enum": ["PAID", "NOT_PAID", "WAIT"]})
    def get_outcome(self, order):
        if order.is_paid:
            return "PAID"
        if order.contradicted_at is not None:
            return "WAIT"
        return "NOT_PAID" if order.is_dead else "WAIT"

    @extend_schema_field({"type": "string"})
    def get_instruction(self, order):
        return instruction(order, self.context["pending"].get(order.pk))


def instruction(order, pending=None):
    """What the cashier does and says, in one or two sentences."""
    if order.is_paid:
        return _("Paid. Hand over the goods.")
    if order.contradicted_at is not None:
        return _("No answer yet. Hand nothing over yet, do not scan again, and wait.")
    if order.state == State.REFUSED:
        return _refused(order.error_code)
    if order.state == State.PAYERROR:
        return _("The payment failed. Nothing was charged. Ask for another way to pay, or scan a new code.")
    if order.is_dead:
        return _("Cancelled. If the phone shows a payment, the money goes back by itself. You may scan a new code.")
    if pending == Action.REVERSE:
        return _("Not paid in time: the payment is being cancelled. Hand nothing over yet, and do not scan again.")
    if order.state == State.USERPAYING:
        return _("The payer is asked for the password. Ask the payer to confirm on the phone, and wait.")
    return _("No answer yet. Hand nothing over yet, do not scan again, and wait.")


def _refused(code):
    if code in BAD_CODE:
        return _("The code is too old or not valid. Nothing was charged. Ask the payer for a fresh code and scan it.")
    if code in ("NOT_ENOUGH", "NOTENOUGH"):
        return _("Not enough money. Nothing was charged. Ask for another way to pay.")
    if not code:
        return _("The payment was not sent. Nothing was charged. Scan a new code.")
    return _("Refused by WeChat Pay ({code}). Nothing was charged. Ask for another way to pay.").format(code=code)


class QuickPaymentViewSet(CustomerViewSet):
    """Quick payments, for staff who may take them."""

    queryset = Order.objects.filter(product=Order.Product.MICROPAY)
    serializer_class = QuickPaymentSerializer
    permission_classes = (permissions.IsCashier,)
    throttle_classes = (permissions.TillRate,)
    lookup_field = "out_trade_no"
    lookup_value_regex = "[0-9A-Za-z_*-]{1,32}"

    def get_queryset(self):
        return self.queryset

    @extend_schema(
        request=ScanSerializer, responses={200: QuickPaymentSerializer, 201: QuickPaymentSerializer, **ERRORS}
    )
    def create(self, request):
        """Charge a scanned code. Read `outcome`; while it is WAIT, ask for the state each second or two.

        Answers after one call to WeChat Pay at most. 201 also when it was refused: `outcome` says so. 200: this very
        scan is known already, and was not charged again: has its payer got the goods?
        """
        scanned = ScanSerializer(data=request.data)
        scanned.is_valid(raise_exception=True)
        asked = scanned.validated_data
        offer = QuickPayOffer.of(conf.checkout().quick_pay_offer(request, asked["amount"], asked["currency"]))
        order = orders.pay_by_code(**asked, **vars(offer), user=None, by=request.user)
        shown = self._shown(order)
        if order.was_known and order.is_paid:
            shown["instruction"] = _("Paid already, by this very scan. Hand over the goods, unless you have.")
        return Response(shown, status=200 if order.was_known else 201)

    @extend_schema(responses={200: QuickPaymentSerializer, 404: ERRORS[404]})
    def retrieve(self, request, out_trade_no):
        """How it went so far. Asking does the one thing that is due: a query, or the reversal when the time is over."""
        return Response(self._shown(orders.status(self.get_object())))

    def _shown(self, order):
        return self.get_serializer(order, context={"pending": checkout.pending_actions([order])}).data
