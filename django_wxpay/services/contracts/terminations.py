"""Terminating: a signed contract ends, and is charged no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import WxPayError
from ...engine import commands, discrepancies, operations, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import ContractNotSigned, DeductionPending
from ...models import Action, Contract, Discrepancy, Operation, Outcome
from .facts import State

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

DEFAULT_NOTE = "Terminated by the merchant"


def plan_termination(
    contract: Contract, *, note: str = "", reference: str | None = None, by: User | None = None
) -> Contract:
    """Write down that a signed contract shall end; `send_operations` asks WeChat Pay for it.

    note: at most 256 characters, a default is sent when empty. reference: a form's token; the same again plans
    nothing. Returns the `Contract`. Joins the caller's transaction; nothing is sent here.
    Raises ContractNotSigned, DeductionPending (a deduction's outcome must be known first), OperationPending.
    """
    note = note or DEFAULT_NOTE
    fields.text("termination_note", note, 256)
    with transactions.atomic():
        row = Contract.objects.select_for_update().get(pk=contract.pk)
        if operations.asked_before(row, Action.TERMINATE, reference):
            return row
        if row.state != State.SIGNED:
            raise ContractNotSigned(f"Contract {row.out_contract_code} is {row.state}: there is nothing to terminate.")
        pending = row.orders.open().first()
        if pending is not None:
            raise DeductionPending(
                f"The deduction {pending.out_trade_no} of contract {row.out_contract_code} has no outcome yet "
                f"({pending.state}). Nothing was sent. Wait until it is known, or reverse it first."
            )
        to_send = {
            "contract_id": row.contract_id, "termination_note": note,
            "sub_mchid": row.sub_mchid, "sub_appid": row.sub_appid,
        }  # fmt: skip
        return operations.plan(row, Action.TERMINATE, to_send, reference=reference, by=by)


@takes_what(plan_termination)
def terminate(contract: Contract, **asked: Any) -> Contract:
    """Terminate a contract now. Takes what `plan_termination` takes.

    Returns the `Contract` (TERMINATED). Raises what `plan_termination` raises (nothing was sent), APIError
    (refused), OutcomeUnknown (it may be terminated; polling finds out), CalledInTransaction.

    Source: APIv3 manual, auto-debit, "Terminate contract", POST /v3/global/papay/contracts/{contract_id}/terminate.
    """
    return operations.carry_out(plan_termination, contract, **asked)


@registry.command
class Terminate(commands.Command):
    action = Action.TERMINATE
    harmless = True

    def send(self, client: Client, operation: Operation, row: Contract) -> Answer:
        return client.contracts.terminate(**operation.fields)

    def answered(self, row: Contract, fact: Fact, operation: Operation) -> Applied:
        if fact.data:  # only an empty answer means done
            return Applied(Outcome.REFUSED, row, "not proved by the answer")
        note = operation.fields["termination_note"]
        return move(row, State.TERMINATED, fact, {"termination_note": note, "terminated_time": timezone.now()})

    def refused(self, row: Contract, error: WxPayError, operation: Operation) -> str:
        # "None, or terminated already": a query tells.
        return Operation.State.UNKNOWN if error.means("CONTRACT_NOT_EXIST") else Operation.State.REFUSED

    def missing(self, row: Contract, operation: Operation) -> str:
        """Neither here nor terminated: there is nothing to end, and our SIGNED is not WeChat Pay's."""
        theirs = "CONTRACT_NOT_EXIST: WeChat Pay knows no such contract."
        discrepancies.record(Discrepancy.Kind.MISMATCH, row, ours=row.state, theirs=theirs)
        return Operation.State.REFUSED

    def verdict(self, row: Contract, operation: Operation) -> str | None:
        return Operation.State.DONE if row.state == State.TERMINATED else None
