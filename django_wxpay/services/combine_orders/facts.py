"""What WeChat Pay says of a combined order and all its parts: applied here, in one transaction, whoever brought it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.dispatch import Signal

from ... import signals
from ...client import Client
from ...client.answers import Answer
from ...client.texts import hide
from ...engine import holds, operations, polling, queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, move, named, number_of, refuse
from ...exceptions import OperationPending
from ...models import Action, CombineOrder, Order, Outcome, Source
from ..orders.facts import PAID, was_refunded

State = CombineOrder.State
Part = dict[str, Any]
# What the parts have in common, and what the whole is then. The last words are other payments'.
OPEN = frozenset({Order.State.NOTPAY, Order.State.USERPAYING, "ACCEPT"})
WHOLE = (
    (frozenset({Order.State.SUCCESS, Order.State.REFUND}), State.SUCCESS),
    (frozenset({Order.State.CLOSED, Order.State.REVOKED}), State.CLOSED),
    (frozenset({Order.State.PAYERROR}), State.PAYERROR),
    (OPEN, State.NOTPAY),
)


def apply_combine_order(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a combined order: a query's answer, or a TRANSACTION.SUCCESS notification.

    Returns `Applied` of the whole; joins the caller's transaction. Locks the whole, then its orders, the oldest first.
    Where one part does not fit, nothing of any moves.
    """
    row = lock(fact)
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such combined order")
    orders = locked_orders(row)
    told = _told(fact)
    known = [
        Known("combine_mchid", row.mchid, always=True),
        Known("combine_appid", row.appid),
        Known("combine_out_trade_no", row.combine_out_trade_no, always=True),
        number_of(row, "combine_transaction_id"),
        Known("combine_payer_info.openid", hide(row.openid)),
    ]
    differing = differences(fact, known) + _other_parts(row, orders, told)
    states = {str(part.get("trade_state")) for part in told}
    whole = next((state for words, state in WHOLE if states and states <= words), None)
    if not differing and whole is None:
        unknown = sorted(word for word in states if word not in Order.State.values)
        if unknown:
            return move(row, unknown[0], fact, {})  # moves nothing, and a person is told
        differing = [("sub_orders.trade_state", "one and the same", ", ".join(sorted(states)))]
    if differing or whole is None:
        return refuse(row, fact, differing)
    applied = move(row, whole, fact, {"combine_transaction_id": fact.number("combine_transaction_id")})
    if applied.outcome in (Outcome.APPLIED, Outcome.SAME):
        _move_parts(row, orders, told, fact)
        if whole == State.PAYERROR:
            _close(row)
    return applied


def lock(fact: Fact) -> CombineOrder | None:
    rows = CombineOrder.objects.select_for_update().filter(mchid=fact.mchid)
    return named(rows, combine_out_trade_no=fact.data.get("combine_out_trade_no"))


def locked_orders(row: CombineOrder) -> list[Order]:
    """Its orders, locked after it, the oldest first."""
    return list(row.orders.select_for_update().order_by("pk"))


def _told(fact: Fact) -> list[Part]:
    listed = fact.data.get("sub_orders")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _other_parts(row: CombineOrder, orders: list[Order], told: list[Part]) -> list[tuple[str, Any, Any]]:
    """Where a message speaks of other parts than were ordered: their numbers, payees and amounts, byte for byte."""
    ours = {order.out_trade_no: order for order in orders}
    found: list[tuple[str, Any, Any]] = []
    for place, part in enumerate(told):
        number = part.get("out_trade_no")
        order = ours.pop(number, None) if isinstance(number, str) else None
        if order is None:
            found.append((f"sub_orders[{place}].out_trade_no", "one of this combined order", number))
            continue
        paid = part.get("trade_state") in Order.PAID
        known = [
            Known("mchid", row.mchid),
            Known("individual_auth_id", order.individual_auth_id),
            number_of(order, "transaction_id", always=paid),
            Known("amount.total_amount", order.amount_total, always=paid),
            Known("amount.currency", order.currency, always=paid),
        ]
        differing = differences(Fact(row.mchid, part, Source.QUERY), known)
        if paid and not part.get("transaction_id"):
            differing.append(("transaction_id", "a number", part.get("transaction_id")))
        found += [(f"sub_orders[{place}].{path}", mine, theirs) for path, mine, theirs in differing]
    found += [("sub_orders.out_trade_no", number, None) for number in ours]
    return found


def _move_parts(row: CombineOrder, orders: list[Order], told: list[Part], fact: Fact) -> None:
    parts = {part["out_trade_no"]: part for part in told}
    for order in orders:
        one = Fact(
            row.mchid, parts[order.out_trade_no], fact.source, begun_at=fact.begun_at, event_type=fact.event_type
        )
        state = str(one.data["trade_state"])
        if state == "ACCEPT":
            state = Order.State.NOTPAY
        if state == Order.State.SUCCESS and order.state not in Order.PAID and was_refunded(order):
            state = Order.State.REFUND
        changes = {
            "transaction_id": one.number("transaction_id"),
            "payer_total": one.whole("amount.payer_amount"),
            "payer_currency": one.words("amount.payer_currency", 3),
            "payer_openid": fact.words("combine_payer_info.openid", 128),
            "promotion_detail": one.several("promotion_detail"),
            "trade_type": one.words("trade_type", 16),
            "bank_type": one.words("bank_type", 32),
            "success_time": one.time("success_time"),
        }
        applied = move(order, state, one, changes)
        if order.is_final and applied.outcome in (Outcome.APPLIED, Outcome.SAME):
            confirmed_with_the_whole(order)


def confirmed_with_the_whole(order: Order) -> None:
    """The query that confirms the whole confirms its parts."""
    Order.objects.filter(pk=order.pk).update(next_poll_at=None, recheck_after=None)


def _close(row: CombineOrder) -> None:
    """A payment that failed is closed, so that another can be made."""
    try:
        operations.plan(row, Action.CLOSE, named_parts(row))
    except OperationPending:
        pass  # it is being closed already


def named_parts(row: CombineOrder) -> dict[str, Any]:
    """How a combined order is named when it is closed: with each of its orders as it was sent."""
    return {
        "combine_out_trade_no": row.combine_out_trade_no,
        "sub_orders": [
            {"out_trade_no": order.out_trade_no, "individual_auth_id": order.individual_auth_id}
            for order in row.orders.order_by("pk")
        ],
    }


def end_together(row: CombineOrder, state: str, fact: Fact, *, note: str = "", error_code: str = "") -> Applied:
    """Move a locked combined order and its orders to one state; what they are is learned from no message of theirs."""
    bare = Fact(fact.mchid, {}, fact.source, begun_at=fact.begun_at, user=fact.user)
    changes = {"error_code": error_code}
    applied = move(row, state, fact, changes, note=note)
    if applied.outcome in (Outcome.APPLIED, Outcome.SAME):
        for order in locked_orders(row):
            if move(order, state, bare, changes, note=note).outcome == Outcome.APPLIED and order.is_final:
                confirmed_with_the_whole(order)
    return applied


def query(client: Client, order: CombineOrder) -> Answer:
    return client.combine_orders.query(combine_out_trade_no=order.combine_out_trade_no)


def sync(order: CombineOrder) -> CombineOrder:
    """Query WeChat Pay and record what it says, of each of its orders, too; returns the refreshed row.

    Raises APIError, OutcomeUnknown. That WeChat Pay does not know it (yet) is no error.

    Source: APIv3 manual, "Payments to individuals", GET /v3/combine-transactions/out-trade-no/{combine_out_trade_no}.
    """
    return queries.sync(order)


def _not_there(order: CombineOrder, begun_at: datetime) -> None:
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will."""

    def work() -> bool:
        row = CombineOrder.objects.select_for_update().get(pk=order.pk)
        if row.state != State.CREATED or not holds.nothing_comes(row, begun_at):
            return False
        end_together(row, State.REFUSED, Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at), note="never arrived")
        return True

    if not transactions.run(work):
        polling.not_there(order, begun_at)


# What the engine must know


def _signal(old: str, new: str) -> Signal | None:
    if new == State.SUCCESS:
        return signals.combine_order_paid
    return signals.combine_order_closed if new in (State.CLOSED, State.REFUSED) else None


registry.subject(
    registry.Subject(
        model=CombineOrder,
        apply=apply_combine_order,
        events=(
            registry.Event(PAID, "combine_out_trade_no", belongs=lambda payload: "combine_out_trade_no" in payload),
        ),
        signal=_signal,
        confirmed=CombineOrder.FINAL,  # the guide asks for a query whether a message came or not
        patience=dict.fromkeys((State.CREATED, State.NOTPAY, State.PAYERROR), timedelta(days=1)),
    )
)
registry.product(
    registry.Product(
        subject=CombineOrder.subject,
        name="",
        regions=frozenset({"mainland"}),
        query=query,
        not_there=_not_there,
        advance=sync,
        pause=polling.growing("COMBINE_ORDER_POLL_SECONDS"),
    )
)
