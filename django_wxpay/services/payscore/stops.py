"""Stopping plans: nobody signs them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...client import Client
from ...client.answers import Answer
from ...client.errors import WxPayError
from ...engine import commands, operations, queries, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow
from ...models import Action, Operation, PayscorePlan
from .facts import State, apply_payscore_plan

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


def plan_stop(plan: PayscorePlan, *, reference: str | None = None, by: User | None = None) -> PayscorePlan:
    """Write down that nobody shall sign a plan any more; `send_operations` asks WeChat Pay for it.

    Who has signed it uses its services to the end. A plan that is stopped stays so. reference: a form's token; the
    same again plans nothing. Returns the `PayscorePlan`, with nothing planned when it is stopped already. Joins the
    caller's transaction; nothing is sent here. Raises NotAllowedNow (it never came about), OperationPending.
    """
    with transactions.atomic():
        row = PayscorePlan.objects.select_for_update().get(pk=plan.pk)
        if operations.asked_before(row, Action.STOP_PLAN, reference) or row.state == State.STOP:
            return row
        if row.state != State.NORMAL:
            raise NotAllowedNow(f"Plan {row.number} is {row.state}: there is nothing to stop. Nothing was sent.")
        to_send = {"merchant_plan_no": row.merchant_plan_no, "sub_mchid": row.sub_mchid}
        return operations.plan(row, Action.STOP_PLAN, to_send, reference=reference, by=by)


@takes_what(plan_stop)
def stop_plan(plan: PayscorePlan, **asked: Any) -> PayscorePlan:
    """Stop a plan now. Takes what `plan_stop` takes.

    Returns the `PayscorePlan` (STOP). Raises what `plan_stop` raises (nothing was sent), APIError (refused),
    OutcomeUnknown (it may be stopped: polling finds out), CalledInTransaction.

    Source: APIv3 manual, PayScore plan, "Stop payscore plan",
    POST /v3/payscore/plan/payscore-plans/merchant-plan-no/{merchant_plan_no}/stop.
    """
    return operations.carry_out(plan_stop, plan, **asked)


@registry.command
class StopPlan(commands.Command):
    action = Action.STOP_PLAN
    harmless = True

    def send(self, client: Client, operation: Operation, row: PayscorePlan) -> Answer | None:
        # What a second stop is answered with, no page says: one that was stopped before is not stopped again.
        if queries.query(row):
            row.refresh_from_db()
            if self.verdict(row, operation) is not None:
                return None
        return client.payscore.stop(**operation.fields)

    def answered(self, row: PayscorePlan, fact: Fact, operation: Operation) -> Applied:
        return apply_payscore_plan(fact) if fact.data else move(row, State.STOP, fact, {})

    def refused(self, row: PayscorePlan, error: WxPayError, operation: Operation) -> str:
        return Operation.State.REFUSED

    def verdict(self, row: PayscorePlan, operation: Operation) -> str | None:
        return Operation.State.DONE if row.state == State.STOP else None
