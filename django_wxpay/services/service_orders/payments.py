"""The payments of a service order: each that WeChat Pay collected is an `Order`, what was paid elsewhere is not."""

from __future__ import annotations

from typing import Any, cast

from ...client.texts import hide
from ...engine import discrepancies
from ...engine.facts import Fact, move
from ...models import Action, Discrepancy, Operation, Order, ServiceOrder
from . import times

ELSEWHERE = "MCH"  # paid_type: through the merchant's own channel


def others(row: ServiceOrder, fact: Fact) -> list[tuple[str, Any, Any]]:
    """Payments that cannot be this service order's: without a plausible amount, or known as another one's."""
    found: list[tuple[str, Any, Any]] = []
    for place, one in enumerate(_collected(row, fact)):
        where = f"collection.details[{place}]"
        amount = one.whole("amount")
        if amount is None or amount <= 0:
            found.append((f"{where}.amount", "a positive integer", one.get("amount")))
            continue
        number = one.number("transaction_id") or ""
        if len(number) > 32:
            found.append((f"{where}.transaction_id", "a text of 32 characters at most", number))
            continue
        order = Order.objects.filter(mchid=row.mchid, transaction_id=number).first()
        if order is not None and (order.service_order_id, order.amount_total) != (row.pk, amount):
            found.append((f"{where}.amount", order.amount_total, amount))
    return found


def book(row: ServiceOrder, fact: Fact) -> bool:
    """Keep each payment that a locked service order lists, once, as an order that is paid; whether one is new."""
    booked = False
    for one in _collected(row, fact):
        number = one.number("transaction_id")
        known = set(row.orders.values_list("transaction_id", "attempt"))
        if number in {transaction_id for transaction_id, _ in known}:
            continue
        used = {attempt for _, attempt in known}
        seq = one.whole("seq") or 0
        order = Order.objects.create(
            merchant=row.merchant, mchid=row.mchid, sub_mchid=row.sub_mchid, appid=row.appid, sub_appid=row.sub_appid,
            product=Order.Product.PAYSCORE, service_order=row, user=row.user, reference=row.out_order_no,
            attempt=seq if 0 < seq < 32767 and seq not in used else max(used, default=0) + 1, transaction_id=number,
            description=row.service_introduction, amount_total=cast(int, one.whole("amount")), currency=row.currency,
            close_after=None,
        )  # fmt: skip
        changes = {
            "success_time": times.read(one.get("paid_time")),
            "payer_openid": fact.words("openid", 128),
            "payer_sub_openid": fact.words("sub_openid", 128),
            "promotion_detail": one.several("promotion_detail"),
            "bank_type": fact.words("collection.bank_type", 32),
        }
        move(order, Order.State.SUCCESS, fact, changes)
        booked = True
    return booked


def collected(row: ServiceOrder, fact: Fact) -> int:
    """What a message lists as collected by WeChat Pay, in fen."""
    return sum(one.whole("amount") or 0 for one in _collected(row, fact))


def paid_here(row: ServiceOrder) -> int:
    """What WeChat Pay collected for a service order, in fen."""
    return sum(row.orders.values_list("amount_total", flat=True))


def paid_elsewhere(row: ServiceOrder) -> int:
    """What WeChat Pay lists as paid another way, in fen."""
    listed = [one for one in row.collection_details or () if isinstance(one, dict)]
    amounts = [one.get("amount") for one in listed if one.get("paid_type") == ELSEWHERE]
    return sum(amount for amount in amounts if isinstance(amount, int))


def tell_if_paid_twice(row: ServiceOrder) -> None:
    """Tell a person when a locked service order was paid through WeChat Pay and another way as well, or too much."""
    here, elsewhere = paid_here(row), paid_elsewhere(row)
    if not here:
        return
    reported = Operation.objects.of(row).filter(action=Action.REPORT_PAID).exists()
    total = row.total_amount
    if elsewhere or reported or (total is not None and here > total):
        ours = f"to be paid: {total}; {'reported as paid elsewhere' if reported else ''}".rstrip("; ")
        theirs = f"collected: {here}; paid elsewhere: {elsewhere} (fen). Refund one of them."
        discrepancies.record(Discrepancy.Kind.PAID_TWICE, row, ours=ours, theirs=theirs)


def _collected(row: ServiceOrder, fact: Fact) -> list[Fact]:
    """What WeChat Pay says that it collected: each entry with a number of its own."""
    told = fact.get("collection.details")
    entries = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    return [
        Fact(row.mchid, hide(one), fact.source)
        for one in entries
        if one.get("paid_type") != ELSEWHERE and isinstance(one.get("transaction_id"), str) and one["transaction_id"]
    ]
