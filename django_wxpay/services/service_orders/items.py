"""What a service costs: items, discounts, and what is the most that may be asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...client.errors import InvalidField
from ...client.service_orders import bill_of
from ...engine import remote
from ...models import ServiceOrder, SignPlanDetail


@dataclass(frozen=True)
class Item:
    """One line of what a service costs, or of what is taken off. amount: fen."""

    name: str
    amount: int
    description: str = ""
    count: int | None = None


def of_detail(detail: SignPlanDetail) -> tuple[list[Item], list[Item]]:
    """The items and discounts of a service at its own price.

    A free one is its original price and the same amount off: an item of 0 fen may be refused.
    """
    name = detail.plan_detail_name
    if detail.actual_price:
        return [Item(name, detail.actual_price)], []
    off = [Item(detail.plan_discount_description or name, detail.original_price)] if detail.original_price else []
    return [Item(name, detail.original_price)], off


def bill(
    order: ServiceOrder,
    payments: Sequence[Item | Mapping[str, Any]],
    discounts: Sequence[Item | Mapping[str, Any]],
) -> dict[str, Any]:
    """What is sent of a service's cost: post_payments, post_discounts and total_amount, their difference.

    Raises InvalidField for what cannot be, and when it is more than the user signed for or the service may charge.
    """
    listed, off = [_as_sent(item) for item in payments], [_as_sent(item) for item in discounts]
    total = sum(_amount(item) for item in listed) - sum(_amount(item) for item in off)
    made = bill_of(listed, off, max(total, 0))
    signed = order.detail.actual_price
    if total > signed:
        raise InvalidField(
            f"total_amount is {total} fen, more than the {signed} that the user signed for this service.",
            field="total_amount",
        )
    most = remote.merchant_of(order).options["RISK_AMOUNT_MAX"]
    if most and total > most:
        raise InvalidField(f"total_amount is {total} fen, the service allows {most}.", field="total_amount")
    return {"post_discounts": [], **made}


def _as_sent(item: Item | Mapping[str, Any]) -> dict[str, Any]:
    one = item if isinstance(item, Item) else Item(**item)
    sent: dict[str, Any] = {"name": one.name, "amount": one.amount}
    if one.description:
        sent["description"] = one.description
    if one.count is not None:
        sent["count"] = one.count
    return sent


def _amount(item: Mapping[str, Any]) -> int:
    amount = item["amount"]
    return amount if isinstance(amount, int) else 0  # refused, with its name, where the whole is looked at
