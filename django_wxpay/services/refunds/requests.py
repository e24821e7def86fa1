"""Asking for refunds, and asking no more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.db.models import Max, Q
from django.utils import timezone

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import APIError, WxPayError
from ...engine import commands, operations, references, registry, remote, transactions
from ...engine.facts import Applied, Fact
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...exceptions import (
    NotAllowedNow,
    OperationPending,
    OrderNotPaid,
    RefundedMeanwhile,
    RefundNotPossible,
    RefundTooLarge,
    RefundWaits,
)
from ...models import Action, Operation, Order, Refund
from .facts import apply_refund, end, lock

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = Refund.State
MOST_REFUNDS = 50
WINDOW = timedelta(days=365)
IN_DOUBT_FOR = timedelta(hours=1)
LATER = ("NOT_ENOUGH",)  # of the merchant's own money: the same number again, later


def plan_refund(
    order: Order,
    *,
    amount: int,
    reference: str,
    reason: str = "",
    source: Refund.FundSourceWord = "",
    seen_refundable: int | None = None,
    by: User | None = None,
) -> Refund:
    """Write down a refund of part or all of an order; `send_operations` asks WeChat Pay for it.

    amount: int, minor units, at most `order.refundable_amount`. reference: the shop's own name for this refund, at
    most 64 characters; the same again returns the same row. reason: shown to the payer, at most 80 characters.
    source: a `Refund.FundSource` of the order's region, WeChat Pay's default when empty. seen_refundable: what whoever
    asks saw of `order.refundable_amount`; when it is another by now, nothing is written down.

    Returns the `Refund` (CREATED). Refunds of one order are sent one at a time, a minute apart. Joins the caller's
    transaction; nothing is sent here. Raises InvalidField, OrderNotPaid, RefundTooLarge, RefundNotPossible (the
    51st, or after 365 days), RefundedMeanwhile, OperationPending (a refund that was given up may have been made after
    all: it is being queried), ReferenceReused.
    """
    fields.amount("amount", amount)
    fields.text("reason", reason, 80, required=False)
    fields.text("reference", reference, 64)
    fields.choice("source", source, registry.product_of(order).refunds.sources, required=False)
    wanted: dict[str, Any] = {"amount": amount, "reason": reason, "source": source}
    try:
        with transactions.atomic():
            locked = Order.objects.select_for_update().get(pk=order.pk)
            if known := _asked_as(locked, reference, wanted):
                return known
            _refuse_impossible(locked)
            _refuse_in_doubt(locked)
            if seen_refundable not in (None, locked.refundable_amount):
                raise RefundedMeanwhile(
                    f"Of order {locked.number} {locked.refundable_amount} remain refundable, not {seen_refundable} any "
                    f"more ({locked.currency}, minor units). Nothing was sent. Look at its refunds, then ask again."
                )
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


@takes_what(plan_refund)
def create(order: Order, **asked: Any) -> Refund:
    """Ask WeChat Pay to refund, now. Takes what `plan_refund` takes.

    Returns the `Refund`, usually PROCESSING: accepted is not yet refunded; the result comes as a notification or by
    polling. It is CREATED while another refund of this order has its turn; a worker sends it then. Raises what
    `plan_refund` raises (nothing was sent), APIError (refused, the amount is refundable again), RefundWaits (not
    accepted, too little of the merchant's own money: CREATED, and asked again hourly; never refund under another
    reference, but `give_up` this one first), OutcomeUnknown (it may have been accepted: polling finds out, a new refund
    must wait), RequestNotSent and RateLimited (not accepted yet: a worker sends it), CalledInTransaction (use
    `plan_refund`).

    Source: APIv3 manual, "Apply for a refund", POST /v3/global/refunds.
    """
    try:
        return operations.carry_out(plan_refund, order, **asked)
    except APIError as error:
        waiting = order.refunds.filter(reference=asked["reference"], state=State.CREATED).first()
        if waiting is None or not error.verified or not error.means(*LATER):
            raise
        raise RefundWaits(waiting) from error


def give_up(refund: Refund, *, by: User | None = None, reason: str = "") -> Refund:
    """Ask no more for a refund that WeChat Pay has surely not taken, so that it can be asked for otherwise.

    For a refund that waits after NOT_ENOUGH, say: give it up, then ask under a new reference with
    `source=REFUND_SOURCE_RECHARGE_FUNDS`. Returns the `Refund` (REFUSED); its amount is refundable again. Nothing is
    sent. by, reason: who and why, for the next reader. Raises OperationPending (it may have been taken: its outcome
    must be known first), NotAllowedNow (it is accepted or over), CalledInTransaction.
    """
    refund.refresh_from_db()
    pending = commands.open_of(refund)
    if pending is None or refund.state != State.CREATED:
        raise NotAllowedNow(f"Refund {refund.number} is {refund.state}: it cannot be given up.")
    if pending.busy_until is None:
        pending = operations.end(pending, by=by, reason=reason.strip() or "given up")
    if pending.state != Operation.State.REFUSED:
        raise OperationPending(f"Refund {refund.number} may have been taken; wait until its outcome is known.")
    refund.refresh_from_db()
    return refund


def can_be_given_up(refund: Refund) -> bool:
    """Whether it is asked for, and WeChat Pay has surely not taken it so far."""
    pending = commands.open_of(refund)
    return refund.state == State.CREATED and pending is not None and pending.busy_until is None


def _asked_as(order: Order, reference: str, wanted: Mapping[str, Any]) -> Refund | None:
    known = Refund.objects.filter(order_id=order.pk, reference=reference).first()
    return references.refuse_reuse(known, reference, Action.REFUND, on_row=wanted) if known else None


def _refuse_in_doubt(order: Order) -> None:
    """What a refund gave back is not spent again while WeChat Pay says that it was made after all."""
    doubted = order.refunds.filter(state__in=Refund.GIVES_BACK, contradicted_at__isnull=False).first()
    if doubted is not None:
        raise OperationPending(
            f"Refund {doubted.number} is {doubted.state}, but WeChat Pay has said otherwise since: it is being "
            "queried. Nothing was sent. Ask again when it is settled."
        )


def _refuse_impossible(order: Order) -> None:
    if not order.is_paid:
        raise OrderNotPaid(f"Order {order.number} is {order.state}: only a paid order can be refunded.")
    if order.success_time is not None and order.success_time + WINDOW < timezone.now():
        raise RefundNotPossible(
            f"Order {order.number} was paid more than 365 days ago: WeChat Pay refunds it no more. "
            "Pay the customer back another way."
        )
    if order.refunds.exclude(state__in=Refund.GIVES_BACK).count() >= MOST_REFUNDS:
        raise RefundNotPossible(f"Order {order.number} has {MOST_REFUNDS} refunds already; WeChat Pay takes no more.")


def _to_send(refund: Refund, order: Order) -> dict[str, Any]:
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
        **registry.product_of(order).refunds.about(order),
    }


@registry.command
class RefundOrder(commands.Command):
    action = Action.REFUND
    pause = timedelta(hours=1)

    def wait_until(self, operation: Operation, row: Refund) -> datetime | None:
        """One refund of an order at a time, a minute apart, in the order they were asked for."""
        Order.objects.select_for_update().get(pk=row.order_id)
        siblings = Refund.objects.filter(order_id=row.order_id).exclude(pk=row.pk).values_list("pk", flat=True)
        others = Operation.objects.filter(subject=Refund.subject, action=Action.REFUND, object_id__in=list(siblings))
        spacing = timedelta(seconds=conf.setting("REFUND_SPACING_SECONDS"))
        now = timezone.now()
        # What may be open for days lets others pass: without money (NOT_ENOUGH) at once, in doubt after an hour.
        over = Q(busy_until__isnull=True) | Q(busy_until__lte=now - IN_DOUBT_FOR)
        if others.open().filter(pk__lt=operation.pk).exclude(over, attempts__gt=0).exists():
            return now + min(spacing, timedelta(seconds=5))
        latest = others.aggregate(sent=Max("sent_at"), busy=Max("busy_until"))
        until = max(latest["sent"] + spacing, latest["busy"] or now) if latest["sent"] else now
        return until if until > now else None

    def lock(self, row: Refund) -> Refund:
        return lock(row)

    def send(self, client: Client, operation: Operation, row: Refund) -> Answer:
        answer: Answer = registry.product_of(row.order).refunds.create(client, operation.fields)
        return answer

    def answered(self, row: Refund, fact: Fact, operation: Operation) -> Applied:
        return apply_refund(fact)

    def refused(self, row: Refund, error: WxPayError, operation: Operation) -> str:
        if error.means("OUT_REFUND_NO_USED"):
            return Operation.State.UNKNOWN
        if error.means(*LATER):
            return Operation.State.PLANNED
        if not row.is_final:
            fact = commands.refusal(row, operation, error)
            end(row, State.REFUSED, fact, {"error_code": (error.code or operation.error_code)[:64]}, str(error))
        return Operation.State.REFUSED

    def verdict(self, row: Refund, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.CREATED else Operation.State.DONE
