"""Lowering the amount of a service order that is being collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField
from ...client.service_orders import REASON_LENGTH
from ...engine import operations, registry, transactions
from ...engine.facts import Applied, Fact
from ...engine.signatures import takes_what
from ...models import Action, Operation, Outcome, ServiceOrder
from . import items
from .asking import Ask
from .facts import learn
from .items import Item
from .paid_reports import refuse_unless_collecting

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


def plan_modification(
    order: ServiceOrder,
    *,
    payments: Sequence[Item | Mapping[str, Any]],
    reason: str,
    discounts: Sequence[Item | Mapping[str, Any]] = (),
    reference: str | None = None,
    by: User | None = None,
) -> ServiceOrder:
    """Write down a lower amount of a service order; `send_operations` asks WeChat Pay for it.

    payments, discounts: all of them anew, `Item`s or dicts of their values; their difference, in fen, must be less than
    what is being collected. reason: at most 50 characters. reference: a form's token; the same again plans nothing.
    Returns the `ServiceOrder`. Joins the caller's transaction; nothing is sent here. Raises InvalidField, NotAllowedNow
    (it is not being collected), OperationPending.
    """
    fields.text("reason", reason, REASON_LENGTH)
    with transactions.atomic():
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.MODIFY, reference):
            return row
        refuse_unless_collecting(row, "made cheaper")
        costs = items.bill(row, payments, discounts)
        if row.total_amount is not None and costs["total_amount"] >= row.total_amount:
            raise InvalidField(
                f"total_amount is {costs['total_amount']} fen: it must be less than the {row.total_amount} now.",
                field="total_amount",
            )
        to_send = costs | {
            "out_order_no": row.out_order_no,
            "service_id": row.service_id,
            "reason": reason,
            "sub_mchid": row.sub_mchid,
        }
        return operations.plan(row, Action.MODIFY, to_send, reference=reference, by=by)


@takes_what(plan_modification)
def modify(order: ServiceOrder, **asked: Any) -> ServiceOrder:
    """Lower the amount of a service order now. Takes what `plan_modification` takes.

    Returns the `ServiceOrder`. Raises what `plan_modification` raises (nothing was sent), APIError (refused: the old
    amount is collected), OutcomeUnknown (polling finds out which), CalledInTransaction.

    Source: APIv3 manual, PayScore, "Modify service order amount", POST /v3/payscore/serviceorder/{out_order_no}/modify.
    """
    return operations.carry_out(plan_modification, order, **asked)


@registry.command
class Modify(Ask):
    action = Action.MODIFY

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        return client.service_orders.modify(**operation.fields)

    def accepted(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        said = operation.fields
        learn(row, total_amount=said["total_amount"], post_payments=said["post_payments"])
        ServiceOrder.objects.filter(pk=row.pk).update(post_discounts=said["post_discounts"] or None)
        return Applied(Outcome.APPLIED, row)

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if row.total_amount == operation.fields["total_amount"]:
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_final else None
