"""What WeChat Pay says of an order: applied here, whoever brought it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import OuterRef, Subquery
from django.dispatch import Signal

from ... import signals
from ...engine import polling, queries, registry
from ...engine.facts import Applied, Fact, Known, differences, identity, move, named, number_of, refuse
from ...models import Contract, Order, Outcome, Refund

State = Order.State
PROVES_PAYMENT = Order.PAID
PAID = "TRANSACTION.SUCCESS"  # combined orders are told by the same type


def apply_order(fact: Fact) -> Applied:
    """Record what WeChat Pay says of an order: an answer, a query's answer, or a TRANSACTION.SUCCESS notification.

    Returns `Applied`; joins the caller's transaction.
    """
    row = _locked(fact)
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such order")
    state = str(fact.data.get("trade_state"))
    paid = state in PROVES_PAYMENT
    known = identity(row) + [
        Known("out_trade_no", row.out_trade_no, always=True),
        number_of(row, "transaction_id"),
        number_of(row, "transaction_id", path="id"),
        Known("amount.total", row.amount_total, always=paid),
        Known("amount.currency", row.currency, always=paid),
        Known("contract_id", row.charged_contract),
    ]
    if differing := differences(fact, known):
        return refuse(row, fact, differing)
    if state == State.SUCCESS and row.state not in Order.PAID and was_refunded(row):
        state = State.REFUND  # its refund's success came first, and a refunded order never counts as merely paid
    changes = {
        "transaction_id": fact.number("transaction_id") or fact.number("id"),
        "payer_total": fact.whole("amount.payer_total"),
        "payer_currency": fact.words("amount.payer_currency", 3),
        "payer_openid": fact.words("payer.openid", 128) or fact.words("payer.sp_openid", 128),
        "payer_sub_openid": fact.words("payer.sub_openid", 128),
        "exchange_rate": fact.whole("amount.exchange_rate.rate"),
        "exchange_rate_type": fact.words("amount.exchange_rate.type", 32),
        "promotion_detail": fact.several("promotion_detail", "detail"),
        "trade_type": fact.words("trade_type", 16),
        "bank_type": fact.words("bank_type", 32),
        "success_time": fact.time("success_time"),
    }
    applied = move(row, state, fact, changes, note=fact.words("trade_state_desc", 256))
    if applied.outcome == Outcome.APPLIED and row.lacks_refund:
        polling.recheck(row)  # whoever polls it then looks for the refund
    return applied


def _locked(fact: Fact) -> Any:
    """The order, with WeChat Pay's number of its contract: a subquery, for a join could not be locked everywhere."""
    contract_id = Contract.objects.filter(pk=OuterRef("contract")).values("contract_id")
    rows = Order.objects.select_for_update().annotate(charged_contract=Subquery(contract_id))
    rows = rows.filter(mchid=fact.mchid)
    if fact.data.get("out_trade_no"):
        return named(rows, out_trade_no=fact.data["out_trade_no"])
    return named(rows, transaction_id=fact.data.get("transaction_id"))


def was_refunded(row: Order) -> bool:
    """Whether we know of a refund of it that succeeded."""
    return row.refund_reserved > 0 and row.refunds.filter(state=Refund.State.SUCCESS).exists()


def sync(order: Order) -> Order:
    """Query WeChat Pay and record what it says; returns the refreshed row.

    Raises APIError, OutcomeUnknown. That WeChat Pay does not know the order (yet) is no error.

    Source: APIv3 manual, "Query order", GET /v3/global/papay/transactions/out-trade-no/{out_trade_no} for deductions,
    GET /v3/global/transactions/out-trade-no/{out_trade_no} for quick payments.
    """
    return queries.sync(order)


def _signal(old: str, new: str) -> Signal | None:
    if new in Order.PAID and old not in Order.PAID:
        return signals.order_paid
    if new in Order.DEAD and old not in Order.DEAD:
        return signals.order_closed
    return None


registry.subject(
    registry.Subject(
        model=Order,
        apply=apply_order,
        events=(registry.Event(PAID, "out_trade_no", belongs=lambda payload: "combine_out_trade_no" not in payload),),
        signal=_signal,
        confirmed=Order.DEAD,  # the guides ask for one query after a message that closes a payment
        patience=dict.fromkeys((State.CREATED, State.NOTPAY, State.USERPAYING), timedelta(days=1)),
    )
)
