"""What WeChat Pay says of a refund: applied here, whoever brought it. Refunds made elsewhere are adopted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.dispatch import Signal
from django.utils import timezone

from ... import conf, signals
from ...engine import discrepancies, polling, registry
from ...engine.facts import Applied, Fact, Known, differences, identity, move, named, number_of, refuse
from ...models import Discrepancy, Order, Outcome, Refund, Source

if TYPE_CHECKING:
    from ..orders.products import RefundCalls

State = Refund.State
WIRE_STATES = {"REFUNDCLOSE": State.CLOSED, "CLOSE": State.CLOSED}  # three spellings of one state
EVENT_STATES = {
    "REFUND.SUCCESS": State.SUCCESS, "REFUND.ABNORMAL": State.ABNORMAL, "REFUND.CLOSED": State.CLOSED,
}  # fmt: skip


def apply_refund(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a refund: the answer, a query's answer, a REFUND.… notification, a bill's row.

    A refund of a known order that was made elsewhere is adopted. Returns `Applied`; joins the caller's transaction.
    """
    row, order = _named(fact)
    if order is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such refund, no such order")
    if row is None:
        return _adopt(order, fact)
    known = [
        *_identity(row, fact),
        Known("out_refund_no", row.out_refund_no, always=True),
        number_of(row, "refund_id"),
        number_of(row, "refund_id", path="id"),
        Known("transaction_id", order.transaction_id),
        Known("out_trade_no", order.out_trade_no),
        Known("amount.refund", row.amount, always=True),
        Known("amount.currency", row.currency, always=_calls(order).names_currency),
        Known("amount.total", order.amount_total),
    ]
    if differing := differences(fact, known):
        return refuse(row, fact, differing)
    known_by_type = EVENT_STATES.get(fact.event_type, State.PROCESSING)  # the answer to our asking says no status
    state = str(fact.data.get("refund_status") or fact.data.get("status") or known_by_type)
    changes = {
        "refund_id": _refund_id(fact),
        "payer_refund": fact.whole("amount.payer_refund"),
        "payer_currency": fact.words("amount.payer_currency", 3),
        # The manual prints REFUND_SOURCE_REchARGE_FUNDS, too.
        "fund_source": (fact.words("fund_source", 30) or fact.words("funds_account", 30)).upper(),
        "exchange_rate": fact.whole("amount.exchange_rate.rate"),
        "exchange_rate_type": fact.words("amount.exchange_rate.type", 32),
        "promotion_detail": fact.several("promotion_detail", "refund_detail", "detail"),
        "channel": fact.words("channel", 16),
        "account": fact.words("recv_account", 64) or fact.words("user_received_account", 64),
        "success_time": fact.time("success_time"),
    }
    return end(row, WIRE_STATES.get(state, state), fact, changes)


def lock(refund: Refund) -> Refund:
    """The refund, locked afresh after its order, which is its `order`: the other way round two would deadlock."""
    order = Order.objects.select_for_update().get(pk=refund.order_id)
    row: Refund = Refund.objects.select_for_update().get(pk=refund.pk)
    row.order = order
    return row


def _named(fact: Fact) -> tuple[Refund | None, Order | None]:
    """The refund and the order that a message names, locked."""
    rows = Refund.objects.filter(mchid=fact.mchid)
    refund = _refund_of(rows.only("order_id", "out_refund_no", "refund_id"), fact)
    if refund is not None:
        refund = lock(refund)
        return refund, refund.order
    order = _order_of(fact)
    if order is not None:  # while we waited for the order, somebody may have adopted this very refund
        refund = _refund_of(order.refunds.select_for_update(), fact)
        if refund is not None:
            refund.order = order
    return refund, order


def _refund_of(rows: QuerySet[Refund], fact: Fact) -> Refund | None:
    return named(rows, out_refund_no=fact.data.get("out_refund_no")) or named(rows, refund_id=_refund_id(fact))


def _order_of(fact: Fact) -> Order | None:
    orders = Order.objects.select_for_update().filter(mchid=fact.mchid)
    return named(orders, out_trade_no=fact.data.get("out_trade_no")) or named(
        orders, transaction_id=fact.data.get("transaction_id")
    )


def _calls(order: Order) -> RefundCalls:
    """The family of refunds that an order's are of."""
    calls: RefundCalls = registry.product_of(order).refunds
    return calls


def _refund_id(fact: Fact) -> str | None:
    return fact.number("refund_id") or fact.number("id")


def _identity(row: Order | Refund, fact: Fact) -> list[Known]:
    """Notifications name the merchant; answers and queries of refunds do not."""
    if fact.source == Source.NOTIFICATION:
        return identity(row, appid=False)
    return [known._replace(always=False) for known in identity(row, appid=False)]


def end(row: Refund, state: str, fact: Fact, changes: Mapping[str, Any], note: str = "") -> Applied:
    """Move a locked refund, and with it what its order, locked too, has left to refund."""
    before, order = row.state, row.order
    applied = move(row, state, fact, dict(changes), note=note[:256])
    if applied.outcome != Outcome.APPLIED:
        return applied
    if state in Refund.GIVES_BACK and before not in Refund.GIVES_BACK:
        order.change_reserved(-row.amount)
    elif before in Refund.GIVES_BACK and state not in Refund.GIVES_BACK:
        order.change_reserved(row.amount)  # it happened, whatever we thought
        _tell_if_too_much(order)
    if state == State.SUCCESS:
        _mark_refunded(order, row, fact)
    if state == State.ABNORMAL:
        discrepancies.record(
            Discrepancy.Kind.ABNORMAL, row, ours=before,
            theirs="The money could not be delivered. Handle it in the merchant platform, or pay back otherwise.",
        )  # fmt: skip
    return applied


def _mark_refunded(order: Order, refund: Refund, fact: Fact) -> None:
    """A refund's success proves that the order was paid. What we lack of the payment, a query tells."""
    if not order.is_dead and order.state != Order.State.REFUND:
        move(order, Order.State.REFUND, fact, {}, note=f"refund {refund.number}")
    if order.is_dead or order.success_time is None:
        polling.recheck(order)


def _adopt(order: Order, fact: Fact) -> Applied:
    """Somebody refunded elsewhere, in the merchant platform perhaps. It happened: recorded without a cap."""
    amount = fact.whole("amount.refund")
    known = [
        *_identity(order, fact),
        Known("out_trade_no", order.out_trade_no),
        Known("transaction_id", order.transaction_id),
        Known("amount.currency", order.currency, always=_calls(order).names_currency),
        Known("amount.total", order.amount_total),
        *(number_of(Refund(), name) for name in ("out_refund_no", "refund_id")),
        number_of(Refund(), "refund_id", path="id"),
    ]
    differing = differences(fact, known)
    if amount is None or amount <= 0:
        differing.append(("amount.refund", "a positive integer", fact.get("amount.refund")))
    if not _refund_id(fact) and not fact.number("out_refund_no"):
        differing.append(("refund_id", "a number", None))
    if differing or amount is None:
        return refuse(order, fact, differing)
    Refund.objects.create(
        order=order,
        merchant=order.merchant,
        mchid=order.mchid,
        sub_mchid=order.sub_mchid,
        appid=order.appid,
        sub_appid=order.sub_appid,
        out_refund_no=fact.number("out_refund_no"),
        refund_id=_refund_id(fact),
        amount=amount,
        currency=order.currency,
        foreign=True,
        next_poll_at=timezone.now() + timedelta(seconds=conf.setting("REFUND_POLL_SECONDS")),  # should its state be odd
    )
    order.change_reserved(amount)
    _tell_if_too_much(order)
    return apply_refund(fact)


def _tell_if_too_much(order: Order) -> None:
    if order.refund_reserved > order.amount_total:
        discrepancies.record(
            Discrepancy.Kind.REFUND_EXCEEDS, order,
            ours=f"{order.amount_total} {order.currency}", theirs=f"{order.refund_reserved} {order.currency}",
        )  # fmt: skip


def _signal(old: str, new: str) -> Signal | None:
    if new == State.SUCCESS:
        return signals.refund_succeeded
    return signals.refund_failed if new in (State.CLOSED, State.ABNORMAL, State.REFUSED) else None


registry.subject(
    registry.Subject(
        model=Refund,
        apply=apply_refund,
        events=tuple(registry.Event(event_type, "out_refund_no") for event_type in EVENT_STATES),
        signal=_signal,
        confirmed=Refund.GIVES_BACK,
        # NOT_ENOUGH lasts for two days, a bank for five; ABNORMAL is told at once.
        patience={State.CREATED: timedelta(days=3), State.PROCESSING: timedelta(days=7)},
    )
)
