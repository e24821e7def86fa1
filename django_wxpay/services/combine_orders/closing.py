"""Closing: making sure that an unpaid combined order will never be paid."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from ...client import Client
from ...client.answers import Answer
from ...client.errors import NotFound, RequestNotSent, WxPayError
from ...engine import commands, failures, operations, queries, registry, remote, transactions
from ...engine.facts import Applied, Fact
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, OrderPaid
from ...models import Action, CombineOrder, Operation, Outcome
from .facts import end_together, named_parts

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

logger = logging.getLogger(__name__)
State = CombineOrder.State
AGAIN_AFTER = timedelta(hours=1)


def plan_closing(order: CombineOrder, *, reference: str | None = None, by: User | None = None) -> CombineOrder:
    """Write down that an unpaid combined order shall never be paid; `send_operations` asks WeChat Pay for it.

    reference: a form's token; the same again plans nothing. Returns the `CombineOrder`, with nothing planned when it is
    closed already. Joins the caller's transaction; nothing is sent here. Raises OrderPaid (refund its orders),
    NotAllowedNow (it was refused: there is nothing to close), OperationPending.
    """
    with transactions.atomic():
        row = CombineOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.CLOSE, reference) or row.state == State.CLOSED:
            return row
        if row.is_paid:
            raise OrderPaid(f"Combined order {row.number} is paid: refund its orders. Nothing was sent.")
        if row.state == State.REFUSED:
            raise NotAllowedNow(f"Combined order {row.number} was refused: there is nothing to close.")
        return operations.plan(row, Action.CLOSE, named_parts(row), reference=reference, by=by, supersede=("PREPAY",))


@takes_what(plan_closing)
def close(order: CombineOrder, **asked: Any) -> CombineOrder:
    """Close an unpaid combined order now, for good. Takes what `plan_closing` takes.

    It is queried first. Returns the `CombineOrder` (CLOSED). Raises what `plan_closing` raises (nothing was sent),
    OrderPaid (WeChat Pay says that it is paid), APIError (not now: a worker asks again), OutcomeUnknown (the payer is
    paying, or there was no answer: polling finds out), CalledInTransaction.

    Source: APIv3 manual, "Payments to individuals",
    POST /v3/combine-transactions/out-trade-no/{combine_out_trade_no}/close.
    """
    row = operations.carry_out(plan_closing, order, **asked)
    if row.is_paid:
        raise OrderPaid(f"Combined order {row.number} turns out to be paid: refund its orders.")
    return row


def close_expired(limit: int = 100) -> int:
    """Close combined orders whose time is over; returns how many were asked for.

    Each is looked at again an hour later, whether it could be asked for or not: none stands in the others' way.
    """
    now = timezone.now()
    due = CombineOrder.objects.open().filter(close_after__lte=now).exclude(mchid__in=remote.slowed())
    asked = 0
    for order in due.order_by("close_after")[:limit]:
        again = CombineOrder.objects.filter(pk=order.pk, close_after=order.close_after)
        again.update(close_after=now + AGAIN_AFTER)
        try:
            asked += transactions.run(partial(plan_closing, order)).operation is not None
        except WxPayError as error:
            logger.info("not closed combine_out_trade_no=%s: %s", order.number, error)
        except Exception as error:
            failures.log(logger, error, "closing broke combine_out_trade_no=%s", order.number)
    return asked


@registry.command
class Close(commands.Command):
    action = Action.CLOSE
    harmless = True
    pause = timedelta(seconds=5)  # a payer who is still at it, say

    def send(self, client: Client, operation: Operation, row: CombineOrder) -> Answer | None:
        if queries.query(row):
            row.refresh_from_db()
            if self.verdict(row, operation) is not None:
                return None
        return client.combine_orders.close(**operation.fields)

    def answered(self, row: CombineOrder, fact: Fact, operation: Operation) -> Applied:
        if fact.data:
            return Applied(Outcome.REFUSED, row, "not closed yet")
        return end_together(row, State.CLOSED, fact, note="closed")

    def refused(self, row: CombineOrder, error: WxPayError, operation: Operation) -> str:
        if isinstance(error, NotFound):  # it never arrived, and no request of it can be under way any more
            if row.state == State.CREATED:
                fact = commands.refusal(row, operation, error)
                end_together(row, State.REFUSED, fact, note="never arrived at WeChat Pay")
            return Operation.State.DONE
        if error.means("ORDER_PAID", "ORDER_CLOSED"):
            return Operation.State.UNKNOWN
        if isinstance(error, RequestNotSent):
            return Operation.State.REFUSED
        return Operation.State.PLANNED  # not now, but it must end some day

    def verdict(self, row: CombineOrder, operation: Operation) -> str | None:
        if row.state in (State.CLOSED, State.REFUSED):
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_paid else None
