"""Reversals: making sure that an unpaid order will never be paid."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from ... import conf
from ...client import Client
from ...client.answers import Answer
from ...client.errors import RequestNotSent, WxPayError
from ...engine import commands, failures, operations, queries, registry, remote, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, OrderPaid
from ...models import Action, Operation, Order, Outcome

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

logger = logging.getLogger(__name__)
State = Order.State
AGAIN_AFTER = timedelta(hours=1)
PROVED_DEAD = frozenset({State.CLOSED, State.REVOKED, State.PAYERROR})


def plan_reversal(order: Order, *, reference: str | None = None, by: User | None = None) -> Order:
    """Write down that an unpaid order shall never be paid; `send_operations` asks WeChat Pay for it.

    reference: a form's token; the same again plans nothing. An earlier request without an outcome gives way once no
    request of it can be under way, which is also later than the 15 seconds WeChat Pay wants between a quick payment
    and its reversal. Returns the `Order`, with nothing planned when it is proved dead already. Joins
    the caller's transaction; nothing is sent here. Raises OrderPaid (refund it), OperationPending, NotAllowedNow (a
    part of a combined order: close that).
    """
    with transactions.atomic():
        row = Order.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.REVERSE, reference) or row.state in PROVED_DEAD:
            return row
        if row.is_paid:
            raise OrderPaid(f"Order {row.out_trade_no} is paid ({row.state}): refund it. Nothing was sent.")
        if row.combine_order_id is not None:
            raise NotAllowedNow(f"Order {row.out_trade_no} is part of a combined order: close that. Nothing was sent.")
        to_send = {"out_trade_no": row.out_trade_no, "sub_mchid": row.sub_mchid}
        earlier = (Action.DEDUCT, Action.PAY)
        return operations.plan(row, Action.REVERSE, to_send, reference=reference, by=by, supersede=earlier)


@takes_what(plan_reversal)
def reverse(order: Order, **asked: Any) -> Order:
    """Close an unpaid order now, for good. Takes what `plan_reversal` takes.

    Returns the `Order` (CLOSED or REVOKED). Raises what `plan_reversal` raises (nothing was sent), OrderPaid (WeChat
    Pay says that it is paid), APIError (not now: a worker asks again), OutcomeUnknown (polling finds out),
    CalledInTransaction.

    Source: APIv3 manual, "Reverse", POST /v3/global/papay/transactions/out-trade-no/{…}/reverse for deductions,
    POST /v3/global/micropay/transactions/out-trade-no/{…}/reverse for quick payments.
    """
    row = operations.carry_out(plan_reversal, order, **asked)
    if row.is_paid:
        raise OrderPaid(f"Order {row.out_trade_no} turns out to be paid: refund it.")
    return row


def close_expired(limit: int = 100) -> int:
    """Reverse orders that have no outcome after their product's time; returns how many were asked for.

    Each is looked at again an hour later, whether it could be asked for or not: none stands in the others' way.
    """
    now = timezone.now()
    late = Q()
    for product in registry.products(Order.subject):
        if product.expires:
            before = now - timedelta(seconds=conf.setting(product.expires))
            late |= Q(product=product.name, created_at__lte=before)
    due = Order.objects.open().filter(late, close_after__lte=now).exclude(mchid__in=remote.slowed())
    asked = 0
    for order in due.order_by("close_after")[:limit]:
        Order.objects.filter(pk=order.pk, close_after=order.close_after).update(close_after=now + AGAIN_AFTER)
        try:
            asked += transactions.run(partial(plan_reversal, order)).operation is not None
        except WxPayError as error:
            logger.info("not reversed out_trade_no=%s: %s", order.out_trade_no, error)
        except Exception as error:
            failures.log(logger, error, "reversal broke out_trade_no=%s", order.out_trade_no)
    return asked


@registry.command
class Reverse(commands.Command):
    action = Action.REVERSE
    harmless = True
    pause = timedelta(seconds=5)  # a payer who is still at it, say

    def send(self, client: Client, operation: Operation, row: Order) -> Answer | None:
        product = registry.product_of(row)
        if product.queried_first and queries.query(row):
            row.refresh_from_db()
            if self.verdict(row, operation) is not None:
                return None
        answer: Answer = product.reverse(client, operation.fields)
        return answer

    def answered(self, row: Order, fact: Fact, operation: Operation) -> Applied:
        if fact.data:  # 202: it is being looked at; only an empty answer means done
            return Applied(Outcome.REFUSED, row, "not reversed yet")
        return move(row, registry.product_of(row).reversed_to, fact, {}, note="reversed")

    def refused(self, row: Order, error: WxPayError, operation: Operation) -> str:
        if error.means("ORDER_NOT_EXIST"):  # it never arrived, and no request of it can be under way any more
            if not row.is_final:
                move(
                    row,
                    State.REFUSED,
                    commands.refusal(row, operation, error),
                    {},
                    note="never arrived at WeChat Pay",
                )
            return Operation.State.DONE
        if error.means("ORDER_PAID", "ORDER_CLOSED", "ORDER_REVERSED"):
            return Operation.State.UNKNOWN
        if isinstance(error, RequestNotSent):
            return Operation.State.REFUSED
        return Operation.State.PLANNED  # too early, or the payer is at it: not now, but it must end some day

    def verdict(self, row: Order, operation: Operation) -> str | None:
        if row.state in PROVED_DEAD:
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_paid else None
