"""What WeChat Pay says of an order: applied here, whoever brought it."""

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from ...client.errors import NotFound
from ...engine import polling, remote, transactions
from ...engine.facts import Applied, Fact, Known, differences, identity, move, named, refuse
from ...models import Contract, Order, Outcome, Refund, Source

State = Order.State
PROVES_PAYMENT = Order.PAID


def apply_order(fact):
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
        Known("transaction_id", row.transaction_id),
        Known("id", row.transaction_id),
        Known("amount.total", row.amount_total, always=paid),
        Known("amount.currency", row.currency, always=paid),
        Known("contract_id", row.charged_contract),
    ]
    if differing := differences(fact, known):
        return refuse(row, fact, differing)
    if state == State.SUCCESS and row.state not in Order.PAID and _was_refunded(row):
        state = State.REFUND  # its refund's success came first, and a refunded order never counts as merely paid
    changes = {
        "transaction_id": fact.data.get("transaction_id") or fact.data.get("id"),
        "payer_total": fact.whole("amount.payer_total"),
        "payer_currency": fact.words("amount.payer_currency", 3),
        "trade_type": fact.words("trade_type", 16),
        "bank_type": fact.words("bank_type", 32),
        "success_time": fact.time("success_time"),
    }
    return move(row, state, fact, changes, note=fact.words("trade_state_desc", 256))


def _locked(fact):
    """The order, with WeChat Pay's number of its contract: a subquery, for a join could not be locked everywhere."""
    contract_id = Contract.objects.filter(pk=OuterRef("contract")).values("contract_id")
    rows = Order.objects.select_for_update().annotate(charged_contract=Subquery(contract_id))
    return named(rows.filter(mchid=fact.merchant.mchid), out_trade_no=fact.data.get("out_trade_no"))


def _was_refunded(row):
    return row.refund_reserved > 0 and row.refunds.filter(state=Refund.State.SUCCESS).exists()


def query(order):
    """Ask WeChat Pay about an order; returns the client's Answer. Applies nothing."""
    with remote.client_of(order) as client:
        return QUERIES[order.product](client, order)


QUERIES = {
    Order.Product.PAPAY: lambda client, order: client.orders.query_deduction(
        out_trade_no=order.out_trade_no, sub_mchid=order.sub_mchid
    ),
    Order.Product.MICROPAY: lambda client, order: client.orders.query_payment(
        out_trade_no=order.out_trade_no, sub_mchid=order.sub_mchid
    ),
}


def look(order):
    """Query and apply; True when WeChat Pay knows the order, False when it verifiably does not.

    Raises what the client raises (an unsigned "not found" is a NotFound).
    """
    begun_at = timezone.now()
    try:
        answer = query(order)
    except NotFound as error:
        if not error.verified:
            raise
        polling.not_there(order, begun_at)  # the operation's own rule decides whether to send again
        return False
    transactions.run(lambda: apply_order(Fact.from_answer(order, answer, source=Source.QUERY, begun_at=begun_at)))
    return True


def sync(order):
    """Query WeChat Pay and record what it says; returns the refreshed row.

    Raises APIError, OutcomeUnknown. That WeChat Pay does not know the order (yet) is no error.

    Source: APIv3 manual, "Query order", GET /v3/global/papay/transactions/out-trade-no/{out_trade_no} for deductions,
    GET /v3/global/transactions/out-trade-no/{out_trade_no} for quick payments.
    """
    try:
        look(order)
    except NotFound:
        polling.put_off(order)
    order.refresh_from_db()
    return order
