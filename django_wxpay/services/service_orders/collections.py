"""Asking WeChat Pay to try a collection now: the user has put money in, say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...client import Client
from ...client.answers import Answer
from ...engine import operations, registry, transactions
from ...engine.signatures import takes_what
from ...models import Action, Operation, ServiceOrder
from .asking import Ask
from .paid_reports import refuse_unless_collecting

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


def plan_collection(order: ServiceOrder, *, reference: str | None = None, by: User | None = None) -> ServiceOrder:
    """Write down that the collection of a service order shall be tried; `send_operations` asks WeChat Pay for it.

    WeChat Pay tries by itself, too, without end. reference: a form's token; the same again plans nothing. Returns the
    `ServiceOrder`. Joins the caller's transaction; nothing is sent here. Raises NotAllowedNow (it is not being
    collected), OperationPending.
    """
    with transactions.atomic():
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.COLLECT, reference):
            return row
        refuse_unless_collecting(row, "collected")
        to_send = {"out_order_no": row.out_order_no, "service_id": row.service_id, "sub_mchid": row.sub_mchid}
        return operations.plan(row, Action.COLLECT, to_send, reference=reference, by=by)


@takes_what(plan_collection)
def collect(order: ServiceOrder, **asked: Any) -> ServiceOrder:
    """Ask for a collection now. Takes what `plan_collection` takes.

    Returns the `ServiceOrder`; whether it is paid comes as a notification or by polling. Raises what `plan_collection`
    raises (nothing was sent), APIError (refused), OutcomeUnknown (it may be collected, once; polling finds out),
    CalledInTransaction.

    Source: APIv3 manual, PayScore, "Pay service order", POST /v3/payscore/serviceorder/{out_order_no}/pay.
    """
    return operations.carry_out(plan_collection, order, **asked)


@registry.command
class Collect(Ask):
    action = Action.COLLECT

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        return client.service_orders.pay(**operation.fields)

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if row.is_paid:
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_final else None
