from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine import registry
from ..exceptions import RefundTooLarge
from ..models import Action, Operation, Order, Refund
from ..services import attention, refunds
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .base import badge, error_of, link_to, shortened
from .facts import of_order, of_refund
from .filters import MerchantFilter, month
from .filters import attention as attention_filter
from .objects import ObjectAdmin, Part
from .operations import ReasonForm
from .outcomes import Done
from .queries import Query

DEFAULT_SOURCE = _("WeChat Pay’s default (unsettled funds)")
SHOWN = 5
MAY_BE_TAKEN = _("WeChat Pay may have taken it: wait until its outcome is known, or end its request by hand.")
WAITS = _(
    "there is too little money in this purse. WeChat Pay has taken nothing, and is asked again every hour under the "
    "same number. Do not refund the same again: to take another purse, give this refund up first."
)


class WhyForm(forms.Form):
    """The reason and the purse of a refund."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=80,
        required=False,
        help_text=_("Shown to the payer. Optional, at most 80 characters."),
        widget=forms.TextInput(attrs={"size": 60}),
    )
    source = forms.ChoiceField(
        label=_("Fund source"),
        choices=[("", DEFAULT_SOURCE), *Refund.FundSource.choices],
        required=False,
    )


class RefundForm(WhyForm):
    field_order = ["amount", "reason", "source"]

    def __init__(self, order: Order, data: Any = None) -> None:
        untouched = not order.refunds.exclude(state__in=Refund.GIVES_BACK).exists()
        super().__init__(data, initial={"amount": order.refundable_amount} if untouched else {})
        self.order = order
        remaining = amounts.in_words(order.refundable_amount, order.currency)
        sources = registry.product_of(order).refunds.sources
        source: Any = self.fields["source"]
        source.choices = [choice for choice in source.choices if choice[0] in ("", *sources)]
        self.fields["amount"] = amounts.AmountField(
            label=gettext("Amount in %(currency)s") % {"currency": order.currency},
            currency=order.currency,
            help_text=gettext("At most what remains: %(amount)s.") % {"amount": remaining},
        )
        self.order_fields(self.field_order)

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount > self.order.refundable_amount:
            raise forms.ValidationError(outcomes.of_error(RefundTooLarge(self.order, amount), self.order)[1])
        return amount


class RefundOrder(StaffAction):
    name = "refund"
    permission = "refund_order"
    label = _("Refund")
    heading = _("Refund this order?")
    button = _("Refund")
    tone = "danger"
    confirms = True
    list_heading = _("Refund these orders, all that remains of each?")
    list_form_class = WhyForm

    def why_not(self, row: Order) -> Any:
        if not row.is_paid:
            return _("The order is not paid: there is nothing to refund.")
        if not row.refundable_amount:
            return _("Nothing remains to refund: all of it is refunded, or being refunded.")
        return ""

    def why_not_now(self, row: Order) -> Any:
        problem = self.why_not(row)
        if problem and row.is_paid and attention.refunds_without_money().filter(order=row).exists():
            words = gettext("One of them waits for money: give it up on its own page, and refund from another source.")
            return f"{problem} {words}"
        return problem

    def facts(self, row: Order) -> list[tuple[Any, Any]]:
        refunded = amounts.in_words(row.refund_reserved, row.currency)
        remaining = amounts.in_words(row.refundable_amount, row.currency)
        return [
            *of_order(row),
            (_("Refunded or being refunded"), refunded),
            (_("Remains refundable"), remaining),
            *((_("Refund"), line) for line in _so_far(row)),
        ]

    def seen(self, row: Order) -> list[int]:
        newest = row.refunds.order_by("-pk").values_list("pk", flat=True).first()
        return [row.refund_reserved, newest or 0]

    def meanwhile(self, row: Order, seen: list[int]) -> list[Any]:
        return _so_far(row, after=seen[1]) or [_("What remains refundable is another amount now.")]

    def asked_facts(self, row: Order, asked: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [
            (_("To be refunded now"), amounts.in_words(asked["amount"], row.currency)),
            (_("Remains then"), amounts.in_words(row.refundable_amount - asked["amount"], row.currency)),
            (_("Reason"), asked["reason"]),
            (_("Fund source"), Refund.FundSource(asked["source"]).label if asked["source"] else DEFAULT_SOURCE),
        ]

    def button_for(self, row: Order, asked: dict[str, Any]) -> Any:
        return gettext("Refund %(amount)s") % {"amount": amounts.in_words(asked["amount"], row.currency)}

    def consequences(self, row: Order) -> list[Any]:
        return [
            _("WeChat Pay is asked to send this money back to the payer. It cannot be called back."),
            _("Accepted is not yet refunded: the result comes a little later and shows on the refund’s page."),
            _("Refunds of one order go one at a time, a minute apart; this one waits for its turn by itself."),
        ]

    def form(self, row: Order, data: Any = None) -> RefundForm:
        return RefundForm(row, data)

    def perform(self, row: Order, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        refund = refunds.create(row, **asked, seen_refundable=row.refundable_amount, reference=reference, by=by)
        return None if refund.operation else DONE_BEFORE

    def result(self, row: Order, reference: str) -> Done | None:
        refund = Refund.objects.filter(order_id=row.pk, reference=reference).first()
        if refund is None:
            return None
        level, words = _refund_in_words(refund)
        amount = amounts.in_words(refund.amount, refund.currency)
        report = gettext("Refund of %(amount)s: %(outcome)s") % {"amount": amount, "outcome": words}
        return Done(level, report, refund)

    def list_asked(self, row: Order) -> dict[str, Any]:
        return {"amount": row.refundable_amount}

    def list_facts(self, row: Order, asked: dict[str, Any]) -> Any:
        return amounts.in_words(asked["amount"], row.currency)

    def list_total(self, chosen: list[tuple[Order, dict[str, Any]]]) -> str:
        return amounts.sums((asked["amount"], row.currency) for row, asked in chosen)

    def plan(self, row: Order, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        refund = refunds.plan_refund(row, **asked, seen_refundable=row.refundable_amount, reference=reference, by=by)
        return None if refund.operation else DONE_BEFORE


def _so_far(order: Order, after: int = 0) -> list[str]:
    """The newest refunds of an order, one line each: how much, how it stands, by whom, when."""
    newest = list(order.refunds.filter(pk__gt=after).order_by("-pk")[:SHOWN])
    asked = Operation.objects.filter(subject=Refund.subject, object_id__in=[refund.pk for refund in newest])
    people = {one.object_id: one.requested_by for one in asked.select_related("requested_by")}
    lines = []
    for refund in newest:
        parts = [
            amounts.in_words(refund.amount, refund.currency),
            str(refund.get_state_display()),
            gettext("made elsewhere") if refund.foreign else str(people.get(refund.pk) or ""),
            date_format(timezone.localtime(refund.created_at), "DATETIME_FORMAT"),
            refund.reason,
        ]
        lines.append(" · ".join(filter(None, parts)))
    return lines


def _refund_in_words(refund: Refund) -> tuple[int, Any]:
    """(level, words) about a refund that was asked for."""
    if refund.state == Refund.State.SUCCESS:
        return messages.SUCCESS, _("the money is back with the payer.")
    if refund.state == Refund.State.PROCESSING:
        return messages.SUCCESS, _("WeChat Pay accepted it; the money is on its way back to the payer.")
    if refund.state == Refund.State.ABNORMAL:
        return messages.WARNING, _("the money could not be delivered; handle it in the merchant platform.")
    if refund.state == Refund.State.CLOSED:
        return messages.WARNING, _("closed, the money was not sent. A new refund is possible.")
    operation = Operation.objects.of(refund).filter(action=Action.REFUND).first()
    if operation is None:
        return messages.INFO, refund.get_state_display()
    if operation.state == Operation.State.PLANNED and operation.error_code in refunds.LATER:
        return messages.WARNING, WAITS
    return outcomes.of_operation(operation, (messages.SUCCESS, refund.get_state_display()))


class GiveUpRefund(StaffAction):
    name = "give_up"
    permission = "give_up_refund"
    label = _("Give up")
    heading = _("Give up this refund?")
    tone = "danger"
    form_class = ReasonForm

    def why_not(self, row: Refund) -> Any:
        if row.state == Refund.State.CREATED:
            return ""
        return _("Only a refund that WeChat Pay has not taken yet can be given up.")

    def why_not_now(self, row: Refund) -> Any:
        return self.why_not(row) or ("" if refunds.can_be_given_up(row) else MAY_BE_TAKEN)

    def facts(self, row: Refund) -> list[tuple[Any, Any]]:
        operation = Operation.objects.of(row).filter(action=Action.REFUND).first()
        return [
            *of_refund(row),
            (_("Reason"), row.reason),
            (_("Fund source"), row.get_source_display() or DEFAULT_SOURCE),
            (_("Error"), operation and error_of(operation)),
        ]

    def consequences(self, row: Refund) -> list[Any]:
        amount = amounts.in_words(row.amount, row.currency)
        return [
            _("WeChat Pay has surely not taken it, and is not asked for it any more. The payer gets nothing from it."),
            gettext("%(amount)s are refundable again, from another fund source, say.") % {"amount": amount},
        ]

    def button_for(self, row: Refund, asked: Any) -> Any:
        return gettext("Give up the refund of %(amount)s") % {"amount": amounts.in_words(row.amount, row.currency)}

    def perform(self, row: Refund, asked: dict[str, Any], *, reference: str, by: Any) -> Done:
        row = refunds.give_up(row, by=by, reason=asked["reason"])
        amount = amounts.in_words(row.amount, row.currency)
        words = gettext("The refund is given up: %(amount)s are refundable again.") % {"amount": amount}
        return Done(messages.SUCCESS, f"{words} {asked['reason']}", row)

    def result(self, row: Refund, reference: str) -> Done | None:
        """A refund is given up once, whatever form gave it up."""
        level, words = _refund_in_words(row)
        return Done(level, words, row) if row.state == Refund.State.REFUSED else None


class QueryRefund(Query):
    permission = "query_refund"
    heading = _("Ask WeChat Pay about this refund?")
    sync = staticmethod(refunds.sync)

    def facts(self, row: Refund) -> list[tuple[Any, Any]]:
        return [*of_refund(row), (_("Last confirmed"), row.synced_at)]

    def why_not(self, row: Refund) -> Any:
        return "" if row.out_refund_no else _("It has no out_refund_no to ask by.")


QUERY, GIVE_UP = QueryRefund(), GiveUpRefund()


@admin.register(Refund)
class RefundAdmin(ObjectAdmin):
    staff_actions = (QUERY, GIVE_UP)
    actions = ["query_selected"]
    list_display = ["number_shown", "state_badge", "amount_shown", "order_number", "reason", "origin", "created_at"]
    list_filter = [
        attention_filter(money=(_("waiting for the merchant’s money"), attention.refunds_without_money)),
        "state",
        "foreign",
        MerchantFilter,
        "created_at",
        month("created_at"),
    ]
    list_select_related = ["order"]
    search_fields = [
        f"{name}__exact"
        for name in ("out_refund_no", "refund_id", "reference", "order__out_trade_no", "order__transaction_id")
    ]
    search_help_text = _("Whole values: out_refund_no, refund_id, reference, or the order’s numbers.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("out_refund_no", "refund_id"), "order_link", ("reason", "reference"),
                    ("success_time", "payer_received"), ("source", "fund_source"), ("account", "channel"),
                    "promotions", ("origin", "error_code"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"),
                    ("exchange_rate", "exchange_rate_type"), ("created_at", "state_at"), ("synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def summary(self, row: Refund) -> list[Part]:
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("Amount"), amounts.in_words(row.amount, row.currency)),
            Part(_("Of"), amounts.in_words(row.order.amount_total, row.order.currency)),
        ]

    @admin.display(description=_("out_refund_no"), ordering="out_refund_no")
    def number_shown(self, row: Refund) -> Any:
        return shortened(row)

    @admin.display(description=_("order"))
    def order_number(self, row: Refund) -> Any:
        return shortened(row.order)

    @admin.display(description=_("amount"), ordering="amount")
    def amount_shown(self, row: Refund) -> Any:
        return amounts.in_words(row.amount, row.currency)

    @admin.display(description=_("order"))
    def order_link(self, row: Refund) -> Any:
        return link_to(row.order, site=self.admin_site)

    @admin.display(description=_("origin"), ordering="foreign")
    def origin(self, row: Refund) -> Any:
        return _("made elsewhere") if row.foreign else _("asked for here")

    @admin.display(description=_("returned to the payer"))
    def payer_received(self, row: Refund) -> Any:
        return amounts.in_words(row.payer_refund, row.payer_currency or row.currency) or self.empty_value_display

    @admin.display(description=_("promotions"))
    def promotions(self, row: Refund) -> Any:
        """Each promotion, and what of it this refund takes back."""
        shown = amounts.promotions(row.promotion_detail, row.currency, of="refund_amount")
        return shown or self.empty_value_display

    @admin.action(description=_("Query the selected refunds"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_query_permission(self, request: HttpRequest) -> bool:
        allowed: bool = self.may(request, QUERY.permission)
        return allowed
