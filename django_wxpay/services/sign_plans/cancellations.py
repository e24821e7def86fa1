"""Cancelling sign plans: what is not used of them never will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import WxPayError
from ...engine import commands, operations, queries, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, OperationPending
from ...models import Action, Operation, SignPlan
from . import renewals
from .facts import apply_sign_plan

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = SignPlan.State


def plan_cancellation(
    sign_plan: SignPlan, *, reason: str, reference: str | None = None, by: User | None = None
) -> SignPlan:
    """Write down that a sign plan shall end; `send_operations` asks WeChat Pay for it.

    Services that are not used cannot be used any more; a service order that was started goes on, and is completed or
    cancelled as ever. reason: at most 128 characters, the user may see it. reference: a form's token; the same again
    plans nothing. Returns the `SignPlan`. Joins the caller's transaction; nothing is sent here. Raises InvalidField,
    NotAllowedNow, OperationPending (a service order is being started: its outcome must be known first).
    """
    fields.text("stop_reason", reason, 128)
    with transactions.atomic():
        row = renewals.lock(sign_plan)
        if operations.asked_before(row, Action.CANCEL_SIGN_PLAN, reference):
            return row
        if row.state not in (State.SIGNED, State.UNSIGNED):
            raise NotAllowedNow(f"Sign plan {row.number} is {row.state}: there is nothing to cancel. Nothing was sent.")
        starting = row.service_orders.filter(state="PLANNED").first()
        if starting is not None:
            raise OperationPending(
                f"Service order {starting.number} of sign plan {row.number} is being started. Nothing was sent. Wait "
                "until its outcome is known."
            )
        to_send = {"merchant_sign_plan_no": row.number, "stop_reason": reason, "sub_mchid": row.sub_mchid}
        return operations.plan(row, Action.CANCEL_SIGN_PLAN, to_send, reference=reference, by=by)


@takes_what(plan_cancellation)
def cancel(sign_plan: SignPlan, **asked: Any) -> SignPlan:
    """Cancel a sign plan now. Takes what `plan_cancellation` takes.

    Returns the `SignPlan` (SIGN_PLAN_CANCEL). Raises what `plan_cancellation` raises (nothing was sent), APIError
    (refused), OutcomeUnknown (it may be cancelled: polling finds out), CalledInTransaction.

    Source: APIv3 manual, PayScore plan, "Stop user sign plan",
    POST /v3/payscore/sign-plan/user-sign-plans/merchant-sign-plan-no/{merchant_sign_plan_no}/stop.
    """
    return operations.carry_out(plan_cancellation, sign_plan, **asked)


@registry.command
class CancelSignPlan(commands.Command):
    action = Action.CANCEL_SIGN_PLAN
    harmless = True

    def lock(self, row: SignPlan) -> SignPlan:
        return renewals.lock(row)

    def send(self, client: Client, operation: Operation, row: SignPlan) -> Answer | None:
        if operation.attempts > 1 and queries.query(row):  # it may be cancelled by now, and is not to be twice
            row.refresh_from_db()
            if self.verdict(row, operation) is not None:
                return None
        return client.sign_plans.cancel(**operation.fields)

    def answered(self, row: SignPlan, fact: Fact, operation: Operation) -> Applied:
        if fact.data:
            return apply_sign_plan(fact)
        changes = {
            "cancel_sign_type": SignPlan.CancelType.MERCHANT,
            "cancel_sign_time": timezone.now(),
            "cancel_reason": operation.fields["stop_reason"],
        }
        return move(row, State.SIGN_PLAN_CANCEL, fact, changes)

    def refused(self, row: SignPlan, error: WxPayError, operation: Operation) -> str:
        return Operation.State.REFUSED

    def verdict(self, row: SignPlan, operation: Operation) -> str | None:
        if row.state == State.SIGN_PLAN_CANCEL:
            return Operation.State.DONE
        return Operation.State.REFUSED if row.is_final else None
