"""What staff fill in about a service order: what it costs, when it was over or paid, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import ServiceOrder
from ..services.service_orders import Item, items
from . import amounts
from .items import ItemsField

CURRENCY = ServiceOrder.currency
ITEMS_HELP = _("One line each: the name, a space, the amount in yuan, like Lesson 1 100.00")


def _in_zone() -> str:
    return gettext("Times are in %(zone)s.") % {"zone": timezone.get_current_timezone_name()}


IN_ZONE: Any = lazy(_in_zone, str)()  # read when a page is made


class MomentField(forms.DateTimeField):
    """A moment that is over, as browsers let people choose it; its clean value is text, RFC 3339, "" for none."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})

    def clean(self, value: Any) -> str:
        moment = super().clean(value)
        if moment and moment > timezone.now():
            raise ValidationError(_("It is in the future."))
        return moment.isoformat() if moment else ""


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=50,
        help_text=_("Goes to WeChat Pay; the customer may see it."),
        widget=forms.TextInput(attrs={"size": 50}),
    )


class PaidForm(forms.Form):
    paid_time = MomentField(label=_("Paid at"), help_text=IN_ZONE)


class BillForm(forms.Form):
    """What a service costs; prefilled with `costs`, its items and discounts. Its clean value has their `total`, too."""

    payments = ItemsField(label=_("Items"), help_text=ITEMS_HELP)
    discounts = ItemsField(
        label=_("Discounts"), required=False, help_text=_("Written likewise, and taken off."), rows=2
    )

    def __init__(self, row: ServiceOrder, costs: Sequence[Sequence[Item]], data: Any = None) -> None:
        lines = [[{"name": one.name, "amount": one.amount} for one in listed] for listed in costs]
        super().__init__(data, initial={"payments": lines[0], "discounts": lines[1]})
        self.row = row

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or {}
        if "payments" not in asked or "discounts" not in asked:
            return asked
        names = [one["name"] for one in asked["discounts"]]
        asked["total"] = sum(one["amount"] for one in asked["payments"])
        asked["total"] -= sum(one["amount"] for one in asked["discounts"])
        if len(set(names)) < len(names):
            self.add_error("discounts", _("Each discount needs a name of its own."))
        elif asked["total"] < 0:
            self.add_error("discounts", _("The discounts are more than the items."))
        elif problem := self.too_much(asked["total"]):
            self.add_error("payments", problem)
        return asked

    def too_much(self, total: int) -> str:
        """Why it cannot come to so much, "" when it can."""
        signed = self.row.detail.actual_price
        words = gettext("It comes to %(total)s: only %(most)s were signed for this service.")
        return words % _in_words(total=total, most=signed) if total > signed else ""


class CompletionForm(BillForm):
    end_time = MomentField(
        label=_("Ended at"), required=False, help_text=format_lazy("{} {}", _("Now when it is left empty."), IN_ZONE)
    )
    end_location = forms.CharField(label=_("Ended in"), max_length=50, required=False)
    goods_tag = forms.CharField(label=_("Coupon tag"), max_length=32, required=False)
    profit_sharing = forms.BooleanField(label=_("The payment will be split later"), required=False)

    def __init__(self, row: ServiceOrder, data: Any = None) -> None:
        super().__init__(row, items.of_detail(row.detail), data)

    def clean_end_time(self) -> str:
        ended: str = self.cleaned_data["end_time"]
        if ended and self.row.start_time and datetime.fromisoformat(ended) < self.row.start_time:
            raise ValidationError(_("It is before the start."))
        return ended


class ModificationForm(BillForm, ReasonForm):
    field_order = ["payments", "discounts", "reason"]

    def __init__(self, row: ServiceOrder, data: Any = None) -> None:
        costs = [
            [
                Item(str(one.get("name") or ""), one["amount"])
                for one in listed or ()
                if isinstance(one, dict) and isinstance(one.get("amount"), int)
            ]
            for listed in (row.post_payments, row.post_discounts)
        ]
        super().__init__(row, costs, data)

    def too_much(self, total: int) -> str:
        now = self.row.total_amount
        if now is None or total < now:
            return super().too_much(total)
        return gettext("It comes to %(total)s: it must be less than the %(now)s now.") % _in_words(total=total, now=now)


def _in_words(**sums: int) -> dict[str, Any]:
    return {name: amounts.in_words(amount, CURRENCY) for name, amount in sums.items()}
