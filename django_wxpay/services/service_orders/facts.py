"""What WeChat Pay says of a service order: applied here, whoever brought it.

Three words say where one stands: `state`, `state_description`, `collection.state`. Together they only go forward (a
`Place`), and amounts within one place only go down, so a message that comes late changes nothing. Each payment that
WeChat Pay collected becomes an `Order`, which is what can be refunded.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from ... import conf, signals
from ...client import Client
from ...client.answers import Answer
from ...engine import discrepancies, holds, polling, queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, move, named, number_of, plain_identity, refuse
from ...models import Action, Discrepancy, Operation, Outcome, ServiceOrder, SignPlanDetail, Source
from ..payscore.messages import tidy
from . import payments, times

State = ServiceOrder.State
Description = ServiceOrder.Description
Collection = ServiceOrder.Collection
PAID, CONFIRMED = "PAYSCORE.USER_PAID", "PAYSCORE.USER_CONFIRM"
DETAIL_STATES: dict[str, str] = {
    State.CREATED: SignPlanDetail.State.USING,
    State.DOING: SignPlanDetail.State.USING,
    State.DONE: SignPlanDetail.State.USED,
    State.REVOKED: SignPlanDetail.State.SIGN_PLAN_DETAIL_CANCEL,
}


def apply_service_order(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a service order: an answer, a query's answer, or a PAYSCORE.… notification.

    Paid is one that is DONE with a collection that says USER_PAID, or that costs nothing. Returns `Applied`; joins the
    caller's transaction.
    """
    fact = tidy(fact)
    rows = ServiceOrder.objects.select_for_update().filter(mchid=fact.mchid)
    row = named(rows, out_order_no=fact.data.get("out_order_no"))
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such service order")
    known = plain_identity(row) + [
        Known("out_order_no", row.out_order_no, always=True),
        number_of(row, "order_id"),
        Known("service_id", row.service_id, always=True),
    ]
    state = str(fact.data.get("state"))
    differing = differences(fact, known) + _odd_total(row, fact) + payments.others(row, fact)
    if not differing and state == State.DONE and not proves_end(row, fact):
        differing = [("collection.state", Collection.USER_PAID, fact.get("collection.state"))]
    if differing:
        return refuse(row, fact, differing)
    changes = {
        "order_id": fact.number("order_id"),
        "start_time": times.read(fact.get("time_range.start_time")),
    }
    before = _place(row.state, row.state_description, row.collection_state)
    applied = move(row, state, fact, changes, note=fact.words("state_description", 32))
    if applied.outcome in (Outcome.APPLIED, Outcome.SAME):
        current = applied.outcome == Outcome.APPLIED or not _is_older(row, fact, before)
        learned = _keep_up(row, fact) if current else False
        booked = payments.book(row, fact)
        if applied.outcome == Outcome.APPLIED or learned or booked:
            payments.tell_if_paid_twice(row)
        if row.is_paid:
            _look_for_the_rest(row, fact)
    if applied.outcome == Outcome.APPLIED:
        tell_sign_plan(row)
    return applied


def _odd_total(row: ServiceOrder, fact: Fact) -> list[tuple[str, Any, Any]]:
    """A total that cannot be: dearer than the one we know (at first: than what the user signed for) and never asked
    for, or less than what the message itself lists as collected. Whatever is cheaper was lowered elsewhere.
    """
    total = fact.whole("total_amount")
    if total is None:
        given = fact.data.get("total_amount")
        return [] if given is None else [("total_amount", "a whole number", given)]
    if total == row.total_amount:
        return []
    highest = row.detail.actual_price if row.total_amount is None else row.total_amount
    lowest = payments.collected(row, fact)
    if lowest <= total and (total <= highest or total in _asked_totals(row)):
        return []
    return [("total_amount", f"{lowest} to {highest}", total)]


def _asked_totals(row: ServiceOrder) -> set[Any]:
    asked = Operation.objects.of(row).filter(action__in=(Action.COMPLETE, Action.MODIFY))
    return {one.get("total_amount") for one in asked.values_list("fields", flat=True)}


def proves_end(row: ServiceOrder, fact: Fact) -> bool:
    """Whether a message that calls a service order DONE proves it: that it is paid, or that there is nothing to pay."""
    total = fact.whole("total_amount")
    if total is None:
        total = row.total_amount
    return fact.get("collection.state") == Collection.USER_PAID or total == 0


def _place(state: str, description: str, collection: str) -> int:
    """How far it is: 0 begun, 1 in use, 2 completed, 3 over."""
    if state in (State.DONE, State.REVOKED, State.EXPIRED) or collection == Collection.USER_PAID:
        return 3
    if description == Description.MCH_COMPLETE or collection == Collection.USER_PAYING:
        return 2
    return 1 if state == State.DOING or description == Description.USER_CONFIRM else 0


def _is_older(row: ServiceOrder, fact: Fact, known: int) -> bool:
    """Whether a message about the state that we know tells an earlier part of it."""
    told = _place(row.state, fact.words("state_description", 32), fact.words("collection.state", 32))
    total, listed = fact.whole("total_amount"), fact.several("collection.details") or []
    if told != known:
        return told < known
    raised = total is not None and row.total_amount is not None and total > row.total_amount
    return raised or len(listed) < len(row.collection_details or [])


def _look_for_the_rest(row: ServiceOrder, fact: Fact) -> None:
    """Of one that is called paid: when its payments do not add up, one query may list them, else people must know."""
    known = payments.paid_here(row) + payments.paid_elsewhere(row)
    if known >= (row.total_amount or 0):
        return
    if fact.source != Source.QUERY:
        polling.plan_query(row)
        return
    discrepancies.record(
        Discrepancy.Kind.MISMATCH,
        row,
        ours=f"to be paid: {row.total_amount}",
        theirs=f"USER_PAID, but the payments listed come to {known} (fen). Look it up at WeChat Pay.",
    )


def _keep_up(row: ServiceOrder, fact: Fact) -> bool:
    """Learn where a locked service order stands, and what it costs; returns whether anything is new."""
    return learn(
        row,
        state_description=fact.words("state_description", 32),
        collection_state=fact.words("collection.state", 32),
        total_amount=fact.whole("total_amount"),
        paying_amount=fact.whole("collection.paying_amount"),
        paid_amount=fact.whole("collection.paid_amount"),
        post_payments=fact.several("post_payments"),
        post_discounts=fact.several("post_discounts"),
        collection_details=fact.several("collection.details"),
        end_time=times.read(fact.get("time_range.end_time")),
        end_location=fact.words("location.end_location", 50),
    )


def learn(row: ServiceOrder, **values: Any) -> bool:
    """Write what was learned of a locked service order; what the message leaves out stays. Whether anything is new.

    One that is completed by this is asked about soon, however long it was in use.
    """
    values = {name: value for name, value in values.items() if value not in (None, "") and value != getattr(row, name)}
    if values.get("state_description") == Description.MCH_COMPLETE and row.completed_at is None:
        now = timezone.now()
        values |= {"completed_at": now, "next_poll_at": now + _first_pause()}
    if values:
        ServiceOrder.objects.filter(pk=row.pk).update(**values)
        for name, value in values.items():
            setattr(row, name, value)
    return bool(values)


def tell_sign_plan(row: ServiceOrder) -> None:
    """Take the service of the sign plan along; what the sign plan is now, a query tells."""
    if row.state in DETAIL_STATES:
        row.detail.advance(DETAIL_STATES[row.state])
    sign_plan = row.sign_plan
    # After the commit: a sign plan is locked before its service orders, never after.
    transactions.on_commit(lambda: polling.plan_query(sign_plan))


def query(client: Client, order: ServiceOrder) -> Answer:
    return client.service_orders.query(
        service_id=order.service_id, out_order_no=order.out_order_no, sub_mchid=order.sub_mchid
    )


def sync(order: ServiceOrder) -> ServiceOrder:
    """Query WeChat Pay and record what it says; returns the refreshed row. Raises APIError, OutcomeUnknown.

    Source: APIv3 manual, PayScore, "Query service order", GET /v3/payscore/serviceorder.
    """
    return queries.sync(order)


def _not_there(order: ServiceOrder, begun_at: datetime) -> None:
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will."""

    def work() -> bool:
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if row.state != State.PLANNED or not holds.nothing_comes(row, begun_at):
            return False
        move(row, State.REFUSED, Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at), {}, note="never arrived")
        return True

    if not transactions.run(work):
        polling.not_there(order, begun_at)


# What the engine must know


def _signal(old: str, new: str) -> Signal | None:
    if new == State.DONE:
        return signals.service_order_paid
    return signals.service_order_closed if new in (State.REVOKED, State.EXPIRED, State.REFUSED) else None


def _first_pause() -> timedelta:
    return timedelta(seconds=conf.setting("SERVICE_ORDER_POLL_SECONDS"))


def _pause(order: ServiceOrder, state: str) -> timedelta:
    """Half of the time since it was completed (or begun), up to six hours: payment notices end after four."""
    since: datetime = order.completed_at or order.created_at
    return min(max((timezone.now() - since) / 2, _first_pause()), polling.LONGEST)


registry.subject(
    registry.Subject(
        model=ServiceOrder,
        apply=apply_service_order,
        events=(registry.Event(PAID, "out_order_no"), registry.Event(CONFIRMED, "out_order_no")),
        signal=_signal,
        confirmed=frozenset({State.REVOKED, State.EXPIRED, State.REFUSED}),
        # A course may last for months; a deduction that nobody can pay is tried for ever: then people decide.
        patience={State.PLANNED: timedelta(days=1), State.CREATED: timedelta(days=2), State.DOING: timedelta(days=30)},
    )
)
registry.product(
    registry.Product(
        subject=ServiceOrder.subject,
        name="",
        regions=frozenset({"mainland"}),
        query=query,
        not_there=_not_there,
        advance=sync,
        pause=_pause,
    )
)
