"""Completing a service: what it costs is told, and WeChat Pay collects it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField
from ...engine import operations, registry, transactions
from ...engine.facts import Applied, Fact
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow
from ...models import Action, Operation, Outcome, ServiceOrder
from . import items, times
from .asking import Ask
from .facts import Collection, Description, learn
from .items import Item

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = ServiceOrder.State


def plan_completion(
    order: ServiceOrder,
    *,
    payments: Sequence[Item | Mapping[str, Any]] | None = None,
    discounts: Sequence[Item | Mapping[str, Any]] | None = None,
    end_time: datetime | None = None,
    end_location: str = "",
    profit_sharing: bool | None = None,
    goods_tag: str = "",
    reference: str | None = None,
    by: User | None = None,
) -> ServiceOrder:
    """Write down that a service is over and what it costs; `send_operations` tells WeChat Pay, which collects it.

    payments, discounts: `Item`s (or dicts of their values), by default the price that the user signed; their difference
    is collected, in fen, and may be less than that price, never more. end_time: aware, not before the start and not in
    the future; one within the last CLOCK_MARGIN_SECONDS is sent as that long ago, which is also the default.
    profit_sharing: whether the payment will be split. goods_tag: a coupon's tag. reference: a form's token; the same
    again plans nothing.

    Returns the `ServiceOrder`. Joins the caller's transaction; nothing is sent here. Raises InvalidField (it begins
    later, for one), NotAllowedNow (it is not in use), OperationPending.
    """
    fields.text("location.end_location", end_location, 50, required=False)
    fields.text("goods_tag", goods_tag, 32, required=False)
    with transactions.atomic():
        row = ServiceOrder.objects.select_for_update().get(pk=order.pk)
        if operations.asked_before(row, Action.COMPLETE, reference):
            return row
        if not row.is_running:
            raise NotAllowedNow(
                f"Service order {row.number} is {row.state} {row.state_description}: only one in use can be completed. "
                "Nothing was sent."
            )
        own, off = items.of_detail(row.detail)
        costs = items.bill(
            row,
            own if payments is None else payments,
            (off if payments is None else ()) if discounts is None else discounts,
        )
        to_send = costs | {
            "out_order_no": row.out_order_no,
            "service_id": row.service_id,
            "time_range": _time_range(row, end_time),
            "location": {"end_location": end_location} if end_location else None,
            "profit_sharing": profit_sharing,
            "goods_tag": goods_tag,
            "sub_mchid": row.sub_mchid,
        }
        return operations.plan(row, Action.COMPLETE, to_send, reference=reference, by=by)


@takes_what(plan_completion)
def complete(order: ServiceOrder, **asked: Any) -> ServiceOrder:
    """Complete a service now. Takes what `plan_completion` takes.

    Returns the `ServiceOrder`: being collected, or finished already when it is free; only `is_paid` says that it is
    paid, which comes as a notification or by polling. Raises what `plan_completion` raises (nothing was sent), APIError
    (refused, nothing is collected), OutcomeUnknown (it may be collected: polling finds out), CalledInTransaction.

    Source: APIv3 manual, PayScore, "Complete service order", POST /v3/payscore/serviceorder/{out_order_no}/complete.
    """
    return operations.carry_out(plan_completion, order, **asked)


def _time_range(row: ServiceOrder, end_time: datetime | None) -> dict[str, str]:
    latest = (timezone.now() - times.margin()).replace(microsecond=0)
    end = latest if end_time is None else min(times.past("time_range.end_time", end_time), latest)
    if row.start_time is None:
        return {"end_time": times.written(end)}
    if row.start_time > timezone.now():
        raise InvalidField(
            f"The service begins at {timezone.localtime(row.start_time):%Y-%m-%d %H:%M:%S}: it cannot be over yet.",
            field="time_range.end_time",
        )
    if end_time is not None and end_time < row.start_time:
        raise InvalidField("time_range.end_time is before the start.", field="time_range.end_time")
    return {"start_time": times.written(row.start_time), "end_time": times.written(max(end, row.start_time))}


@registry.command
class Complete(Ask):
    action = Action.COMPLETE

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        return client.service_orders.complete(**operation.fields)

    def accepted(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        said = operation.fields
        learn(
            row,
            state_description=Description.MCH_COMPLETE,
            collection_state=Collection.USER_PAYING if said["total_amount"] else "",
            total_amount=said["total_amount"],
            post_payments=said["post_payments"],
            post_discounts=said["post_discounts"] or None,
        )
        return Applied(Outcome.APPLIED, row)

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if row.state in (State.REVOKED, State.EXPIRED, State.REFUSED):
            return Operation.State.REFUSED
        if row.state != State.DONE and not row.is_collecting:
            return None
        done = row.total_amount in (None, operation.fields["total_amount"])
        return Operation.State.DONE if done else Operation.State.REFUSED
