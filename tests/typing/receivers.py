from __future__ import annotations

from typing import Any

from django.apps import AppConfig

from django_wxpay import signals
from django_wxpay.models import Contract, Discrepancy, Order, Transition
from django_wxpay.services import orders


def charge_the_first_month(sender: type[Contract], row: Contract, transition: Transition, **kwargs: Any) -> None:
    orders.plan_deduction(
        row, amount=3800, currency="HKD", description="The first month", reference=f"member-{row.pk}-1"
    )


def thank(row: Order, transition: Transition, **kwargs: object) -> str:
    return f"{transition.pk}: thank you for {row.amount_total} {row.currency}"


def tell_somebody(*, row: Discrepancy, **kwargs: object) -> None:
    print(row.kind, row.ours, row.theirs)


def log(sender: type[object], row: object, transition: Transition, **kwargs: object) -> None:
    print(transition.subject, transition.from_state, transition.to_state, transition.created_at.isoformat())


class Shop(AppConfig):
    name = "shop"

    def ready(self) -> None:
        signals.contract_signed.connect(charge_the_first_month, dispatch_uid="shop")
        signals.order_paid.connect(thank)
        signals.discrepancy_found.connect(tell_somebody)
        signals.state_changed.connect(log, sender=Order)
