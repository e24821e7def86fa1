"""Telling WeChat Pay that the user paid another way, so that it collects no more."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...client import Client
from ...client.answers import Answer
from ...engine import operations, registry, transactions
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow
from ...models import Action, Operation, ServiceOrder
from . import times
from .asking import Ask

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = ServiceOrder.State


def plan_paid_report(
    order: ServiceOrder, *, paid_time: datetime, reference: str | None = None, by: User | None = None
) -> ServiceOrder:
    """Write down that a service order was paid elsewhere; `send_operations` tells WeChat Pay.

    paid_time: aware, not in the future. reference: a form's token; the same again plans nothing. Returns the
    `ServiceOrder`. Joins the caller's transaction; nothing is sent here. Raises InvalidField, NotAllowedNow (it is not
    being collected, or was just reported), OperationPending. Should a deduction win the race, the user has paid twice:
    a discrepancy tells.
    """
    paid_time = times.past("paid_time", paid_time)
    with transactions.atomic():
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.REPORT_PAID, reference):
            return row
        refuse_unless_collecting(row, "reported as paid elsewhere")
        to_send = {
            "out_order_no": row.out_order_no,
            "service_id": row.service_id,
            "paid_time": times.written(paid_time),
            "sub_mchid": row.sub_mchid,
        }
        return operations.plan(row, Action.REPORT_PAID, to_send, reference=reference, by=by)


@takes_what(plan_paid_report)
def report_paid(order: ServiceOrder, **asked: Any) -> ServiceOrder:
    """Report a service order as paid elsewhere now. Takes what `plan_paid_report` takes.

    Returns the `ServiceOrder` (DONE, or DOING until a query has told). Raises what `plan_paid_report` raises (nothing
    was sent), APIError (refused; while a deduction is running it is asked again after some minutes), OutcomeUnknown
    (polling finds out), CalledInTransaction.

    Source: APIv3 manual, PayScore, "Synchronise service order", POST /v3/payscore/serviceorder/{out_order_no}/sync.
    """
    return operations.carry_out(plan_paid_report, order, **asked)


def refuse_unless_collecting(row: ServiceOrder, what: str) -> None:
    if not row.is_collecting:
        raise NotAllowedNow(
            f"Service order {row.number} is {row.state} {row.state_description}: only one that is being collected can "
            f"be {what}. Nothing was sent."
        )
    refuse_if_just_reported(row, what)


def refuse_if_just_reported(row: ServiceOrder, what: str) -> None:
    if was_just_reported(row):
        raise NotAllowedNow(
            f"Service order {row.number} was reported as paid elsewhere, and has not been queried since: it cannot be "
            f"{what} now. Nothing was sent."
        )


def was_just_reported(order: ServiceOrder) -> bool:
    """Whether WeChat Pay took a report of a payment elsewhere, and has not been asked since what became of it."""
    reports = Operation.objects.of(order).filter(action=Action.REPORT_PAID, state=Operation.State.DONE)
    return reports.filter(finished_at__gt=order.synced_at or order.created_at).exists()


@registry.command
class ReportPaid(Ask):
    action = Action.REPORT_PAID

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        return client.service_orders.sync(**operation.fields)

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if not row.is_final:
            return None
        collected = row.state != State.DONE or row.orders.exists()  # the deduction won
        return Operation.State.REFUSED if collected else Operation.State.DONE
