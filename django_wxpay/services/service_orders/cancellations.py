"""Cancelling a service order: its service is not used, and not charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import WxPayError
from ...client.service_orders import REASON_LENGTH
from ...engine import commands, operations, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow
from ...models import Action, Operation, ServiceOrder
from .asking import CANCELLED_ALREADY, Ask, reason_of
from .facts import tell_sign_plan
from .paid_reports import refuse_if_just_reported

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = ServiceOrder.State


def plan_cancellation(
    order: ServiceOrder, *, reason: str, reference: str | None = None, by: User | None = None
) -> ServiceOrder:
    """Write down that a service order shall end unpaid; `send_operations` asks WeChat Pay for it.

    The service is used up by it: it cannot be started again. reason: at most 50 characters. reference: a form's token;
    the same again plans nothing. Returns the `ServiceOrder`. Joins the caller's transaction; nothing is sent here.
    Raises InvalidField, NotAllowedNow (it is over: refund what was paid; or it was just reported as paid elsewhere),
    OperationPending.
    """
    fields.text("reason", reason, REASON_LENGTH)
    with transactions.atomic():
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.CANCEL, reference) or row.state == State.REVOKED:
            return row
        if row.state not in (State.CREATED, State.DOING):
            raise NotAllowedNow(
                f"Service order {row.number} is {row.state}: it cannot be cancelled. What was paid can be refunded. "
                "Nothing was sent."
            )
        refuse_if_just_reported(row, "cancelled")
        to_send = {
            "out_order_no": row.out_order_no,
            "service_id": row.service_id,
            "reason": reason,
            "sub_mchid": row.sub_mchid,
        }
        return operations.plan(row, Action.CANCEL, to_send, reference=reference, by=by)


@takes_what(plan_cancellation)
def cancel(order: ServiceOrder, **asked: Any) -> ServiceOrder:
    """Cancel a service order now. Takes what `plan_cancellation` takes.

    Returns the `ServiceOrder` (REVOKED). Raises what `plan_cancellation` raises (nothing was sent), APIError (refused;
    while a deduction is running it is asked again after some minutes; one that is being collected WeChat Pay may refuse
    to cancel: lower its amount with `modify`, or `report_paid`), OutcomeUnknown (polling finds out),
    CalledInTransaction.

    Source: APIv3 manual, PayScore, "Cancel service order", POST /v3/payscore/serviceorder/{out_order_no}/cancel.
    """
    return operations.carry_out(plan_cancellation, order, **asked)


@registry.command
class Cancel(Ask):
    action = Action.CANCEL

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        return client.service_orders.cancel(**operation.fields)

    def accepted(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        applied = move(row, State.REVOKED, fact, {}, note=operation.fields["reason"])
        tell_sign_plan(row)
        return applied

    def refused(self, row: ServiceOrder, error: WxPayError, operation: Operation) -> str:
        if error.code == "ORDER_CANCELED" or reason_of(error) == CANCELLED_ALREADY:
            self.accepted(row, commands.refusal(row, operation, error), operation)
            if row.state == State.REVOKED:
                return Operation.State.DONE
        return super().refused(row, error, operation)

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if row.state == State.REVOKED:
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_final else None
