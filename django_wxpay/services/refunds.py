"""Refunds: money back to the payer, never more than was paid, one at a time per order."""

import json
from datetime import timedelta

from django.db import IntegrityError
from django.db.models import Max
from django.utils import timezone

from .. import conf, signals
from ..client import fields
from ..client.errors import NotFound
from ..engine import (
    commands,
    discrepancies,
    holds,
    operations,
    outcomes,
    polling,
    queries,
    registry,
    remote,
    transactions,
)
from ..engine.facts import Applied, Fact, Known, differences, identity, move, named, number_of, refuse
from ..engine.numbers import new_number
from ..exceptions import NotAllowedNow, OperationPending, OrderNotPaid, RefundNotPossible, RefundTooLarge
from ..models import Action, Discrepancy, Operation, Order, Outcome, Refund, Source

State = Refund.State
MOST_REFUNDS = 50
WINDOW = timedelta(days=365)
WIRE_STATES = {"REFUNDCLOSE": State.CLOSED, "CLOSE": State.CLOSED}  # three spellings of one state
EVENT_STATES = {
    "REFUND.SUCCESS": State.SUCCESS, "REFUND.ABNORMAL": State.ABNORMAL, "REFUND.CLOSED": State.CLOSED,
}  # fmt: skip


# Asking


def plan_refund(order, *, amount, reference, reason="", source="", by=None):
    """Write down a refund of part or all of an order; `send_operations` asks WeChat Pay for it.

    amount: int, minor units, at most `order.refundable_amount`. reference: the shop's own name for this refund, at
    most 64 characters; the same again returns the same row. reason: shown to the payer, at most 80 characters.
    source: a `Refund.FundSource`, WeChat Pay's default (unsettled funds) when empty.

    Returns the `Refund` (CREATED). Refunds of one order are sent one at a time, a minute apart. Joins the caller's
    transaction; nothing is sent here. Raises InvalidField, OrderNotPaid, RefundTooLarge, RefundNotPossible (the
    51st, or after 365 days), ReferenceReused.
    """
    fields.amount("amount", amount)
    fields.text("reason", reason, 80, required=False)
    fields.text("reference", reference, 64)
    fields.choice("source", source, tuple(Refund.FundSource.values), required=False)
    wanted = {"amount": amount, "reason": reason, "source": source}
    try:
        with transactions.atomic():
            locked = Order.objects.select_for_update().get(pk=order.pk)
            if known := _asked_as(locked, reference, wanted):
                return known
            _refuse_impossible(locked)
            if not locked.reserve_refund(amount):
                raise RefundTooLarge(locked, amount)
            order.refund_reserved = locked.refund_reserved
            refund = Refund.objects.create(
                **wanted,
                order=locked,
                merchant=locked.merchant,
                mchid=locked.mchid,
                sub_mchid=locked.sub_mchid,
                appid=locked.appid,
                sub_appid=locked.sub_appid,
                reference=reference,
                currency=locked.currency,
                out_refund_no=new_number(),
            )
            return operations.plan(refund, Action.REFUND, _to_send(refund, locked), by=by)
    except IntegrityError:
        if known := _asked_as(order, reference, wanted):  # somebody used the reference at this very moment
            return known
        raise


def create(order, **asked):
    """Ask WeChat Pay to refund, now. Takes what `plan_refund` takes.

    Returns the `Refund`, usually PROCESSING: accepted is not yet refunded; the result comes as a notification or by
    polling. It is CREATED while another refund of this order has its turn; a worker sends it then. Raises what
    `plan_refund` raises (nothing was sent), APIError (refused, the amount is refundable again; but NOT_ENOUGH, too
    little of the merchant's own money, leaves it CREATED and is asked again hourly), OutcomeUnknown (it
    may have been accepted: polling finds out, a new refund must wait), RequestNotSent and RateLimited (not accepted
    yet: a worker sends it), CalledInTransaction (use `plan_refund`).

    Source: APIv3 manual, "Apply for a refund", POST /v3/global/refunds.
    """
    return operations.carry_out(plan_refund, order, **asked)


def give_up(refund, *, by=None):
    """Ask no more for a refund that WeChat Pay has surely not taken, so that it can be asked for otherwise.

    For a refund that waits after NOT_ENOUGH, say: give it up, then ask under a new reference with
    `source=REFUND_SOURCE_RECHARGE_FUNDS`. Returns the `Refund` (REFUSED); its amount is refundable again. Nothing is
    sent. Raises OperationPending (it may have been taken: its outcome must be known first), NotAllowedNow (it is
    accepted or over).
    """

    def work():
        order = Order.objects.select_for_update().get(pk=refund.order_id)
        row = Refund.objects.select_for_update().get(pk=refund.pk)
        pending = commands.open_of(row)
        if row.state != State.CREATED or pending is None:
            raise NotAllowedNow(f"Refund {row.number} is {row.state}: it cannot be given up.")
        if pending.busy_until is not None or not outcomes.give_up(pending):
            raise OperationPending(f"Refund {row.number} may have been taken; wait until its outcome is known.")
        fact = Fact(remote.merchant_of(row), {}, Source.STAFF, user=by)
        _end(row, State.REFUSED, fact, {"error_code": pending.error_code}, "given up", order=order)
        return row

    return transactions.run(work)


def _asked_as(order, reference, wanted):
    known = Refund.objects.filter(order_id=order.pk, reference=reference).first()
    return operations.refuse_reuse(known, reference, wanted) if known else None


def _refuse_impossible(order):
    if not order.is_paid:
        raise OrderNotPaid(f"Order {order.number} is {order.state}: only a paid order can be refunded.")
    if order.success_time is not None and order.success_time + WINDOW < timezone.now():
        raise RefundNotPossible(
            f"Order {order.number} was paid more than 365 days ago: WeChat Pay refunds it no more. "
            "Pay the customer back another way."
        )
    if order.refunds.exclude(state__in=Refund.GIVES_BACK).count() >= MOST_REFUNDS:
        raise RefundNotPossible(f"Order {order.number} has {MOST_REFUNDS} refunds already; WeChat Pay takes no more.")


def _to_send(refund, order):
    number = {"transaction_id": order.transaction_id} if order.transaction_id else {"out_trade_no": order.out_trade_no}
    return number | {
        "out_refund_no": refund.out_refund_no,
        "amount": refund.amount,
        "amount_total": order.amount_total,
        "currency": order.currency,
        "reason": refund.reason,
        "source": refund.source,
        "notify_url": remote.merchant_of(order).notify_url,
        "sub_mchid": order.sub_mchid,
        "sub_appid": order.sub_appid,
    }


@registry.command
class RefundOrder(commands.Command):
    action = Action.REFUND
    pause = timedelta(hours=1)

    def wait_until(self, operation, row):
        """One refund of an order at a time, a minute apart, in the order they were asked for."""
        Order.objects.select_for_update().get(pk=row.order_id)
        siblings = Refund.objects.filter(order_id=row.order_id).exclude(pk=row.pk).values_list("pk", flat=True)
        others = Operation.objects.filter(subject=Refund.subject, action=Action.REFUND, object_id__in=list(siblings))
        spacing = timedelta(seconds=conf.setting("REFUND_SPACING_SECONDS"))
        now = timezone.now()
        # One that was asked for and surely not taken waits for hours perhaps (NOT_ENOUGH): it lets others pass.
        ahead = others.open().filter(pk__lt=operation.pk).exclude(attempts__gt=0, busy_until__isnull=True)
        if ahead.exists():
            return now + min(spacing, timedelta(seconds=5))
        latest = others.aggregate(sent=Max("sent_at"), busy=Max("busy_until"))
        until = max(latest["sent"] + spacing, latest["busy"] or now) if latest["sent"] else now
        return until if until > now else None

    def lock(self, row):
        """The order first, as a notification about this refund does: the other way round they would deadlock."""
        Order.objects.select_for_update().get(pk=row.order_id)
        return super().lock(row)

    def send(self, client, operation, row):
        return registry.product_of(row.order).refunds.create(client, operation.fields)

    def answered(self, row, fact, operation):
        return apply_refund(fact)

    def refused(self, row, error, operation):
        if error.means("OUT_REFUND_NO_USED"):
            return Operation.State.UNKNOWN
        if error.means("NOT_ENOUGH"):  # of the merchant's money: the same number again, later
            return Operation.State.PLANNED
        if not row.is_final:
            _end(
                row,
                State.REFUSED,
                commands.refusal(row, operation, error),
                {"error_code": error.code[:64]},
                str(error),
            )
        return Operation.State.REFUSED

    def verdict(self, row, operation):
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.CREATED else Operation.State.DONE


# Recording


def apply_refund(fact):
    """Record what WeChat Pay says of a refund: the answer, a query's answer, a REFUND.… notification, a bill's row.

    A refund of a known order that was made elsewhere is adopted. Returns `Applied`; joins the caller's transaction.
    """
    row, order = _locked(fact)
    if row is None and order is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such refund, no such order")
    if row is None:
        return _adopt(order, fact)
    known = _identity(row, order, fact) + [
        Known("out_refund_no", row.out_refund_no, always=True),
        number_of(row, "refund_id"),
        number_of(row, "refund_id", path="id"),
        Known("transaction_id", order.transaction_id),
        Known("out_trade_no", order.out_trade_no),
        Known("amount.refund", row.amount, always=True),
        Known("amount.currency", row.currency, always=True),
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
        "channel": fact.words("channel", 16),
        "account": fact.words("recv_account", 64),
        "success_time": fact.time("success_time"),
    }
    return _end(row, WIRE_STATES.get(state, state), fact, changes, order=order)


def _locked(fact):
    """The refund and its order, locked in this order."""
    rows = Refund.objects.filter(mchid=fact.merchant.mchid)
    refund = _refund_of(rows.only("order_id", "out_refund_no", "refund_id"), fact)
    if refund is not None:
        order = Order.objects.select_for_update().get(pk=refund.order_id)
        return Refund.objects.select_for_update().get(pk=refund.pk), order
    order = _order_of(fact)
    if order is not None:  # while we waited for the order, somebody may have adopted this very refund
        refund = _refund_of(rows.filter(order=order).select_for_update(), fact)
    return refund, order


def _refund_of(rows, fact):
    return named(rows, out_refund_no=fact.data.get("out_refund_no")) or named(rows, refund_id=_refund_id(fact))


def _order_of(fact):
    orders = Order.objects.select_for_update().filter(mchid=fact.merchant.mchid)
    return named(orders, out_trade_no=fact.data.get("out_trade_no")) or named(
        orders, transaction_id=fact.data.get("transaction_id")
    )


def _refund_id(fact):
    return fact.number("refund_id") or fact.number("id")


def _identity(row, order, fact):
    """Notifications name the merchant; answers and queries of refunds do not."""
    if fact.source == Source.NOTIFICATION:
        return identity(row, appid=False)
    return [known._replace(always=False) for known in identity(row, appid=False)]


def _end(row, state, fact, changes, note="", order=None):
    """Move a refund, and with it what its order has left to refund."""
    before = row.state
    applied = move(row, state, fact, changes, note=note[:256])
    if applied.outcome != Outcome.APPLIED:
        return applied
    order = order or Order.objects.select_for_update().get(pk=row.order_id)
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


def _mark_refunded(order, refund, fact):
    """A refund's success proves that the order was paid. What we lack of the payment, a query tells."""
    if not order.is_dead and order.state != Order.State.REFUND:
        move(order, Order.State.REFUND, fact, {}, note=f"refund {refund.number}")
    if order.is_dead or order.success_time is None:
        polling.recheck(order)


def _adopt(order, fact):
    """Somebody refunded elsewhere, in the merchant platform perhaps. It happened: recorded without a cap."""
    amount = fact.whole("amount.refund")
    known = _identity(order, order, fact) + [
        Known("out_trade_no", order.out_trade_no),
        Known("transaction_id", order.transaction_id),
        Known("amount.currency", order.currency, always=True),
        Known("amount.total", order.amount_total),
        *(number_of(Refund(), name) for name in ("out_refund_no", "refund_id")),
        number_of(Refund(), "refund_id", path="id"),
    ]
    differing = differences(fact, known)
    if amount is None or amount <= 0:
        differing.append(("amount.refund", "a positive integer", fact.get("amount.refund")))
    if not _refund_id(fact) and not fact.number("out_refund_no"):
        differing.append(("refund_id", "a number", None))
    if differing:
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


def _tell_if_too_much(order):
    if order.refund_reserved > order.amount_total:
        discrepancies.record(
            Discrepancy.Kind.REFUND_EXCEEDS, order,
            ours=f"{order.amount_total} {order.currency}", theirs=f"{order.refund_reserved} {order.currency}",
        )  # fmt: skip


# Confirming


def sync(refund):
    """Query WeChat Pay and record what it says; returns the refreshed row.

    Raises APIError, OutcomeUnknown. That WeChat Pay does not know the refund (yet) is no error.

    Source: APIv3 manual, "Query a single refund", GET /v3/global/refunds/out-refund-no/{out_refund_no}.
    """
    return queries.sync(refund)


def sync_all(order):
    """Query every refund of an order, adopt those made elsewhere; returns the order's `Refund`s.

    Raises APIError, OutcomeUnknown; what was read before stays recorded.

    Source: APIv3 manual, "Query all refunds", GET /v3/global/refunds.
    """
    begun_at = timezone.now()
    merchant = remote.merchant_of(order)
    with remote.client_of(order) as client:
        entries = registry.product_of(order).refunds.query_all(client, order)
        try:
            for entry in entries:
                payload = entry | {"out_trade_no": order.out_trade_no}
                fact = Fact(
                    merchant, payload, Source.QUERY, text=json.dumps(payload, ensure_ascii=False), begun_at=begun_at
                )
                transactions.run(lambda fact=fact: apply_refund(fact))
        except NotFound:
            pass
    return list(order.refunds.all())


def poll(limit=100):
    """Query refunds that are due; returns how many."""
    return polling.poll(Refund.objects.all(), sync, limit)


def _not_there(refund, begun_at):
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will be."""

    def work():
        order = Order.objects.select_for_update().get(pk=refund.order_id)
        row = Refund.objects.select_for_update().get(pk=refund.pk)
        if row.state != State.CREATED or not holds.nothing_comes(row, begun_at):
            return False
        fact = Fact(remote.merchant_of(row), {}, Source.QUERY, begun_at=begun_at)
        _end(row, State.REFUSED, fact, {}, "never arrived at WeChat Pay", order=order)
        return True

    if not transactions.run(work):
        polling.not_there(refund, begun_at)


# What the engine must know


def _signal(old, new):
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
    )
)
registry.product(
    registry.Product(
        subject=Refund.subject,
        name="",
        regions=frozenset({"global", "mainland"}),  # its order's product decides when it is planned
        query=lambda client, refund: registry.product_of(refund.order).refunds.query(client, refund),
        not_there=_not_there,
        advance=sync,
        pause=polling.growing("REFUND_POLL_SECONDS"),
    )
)
