"""What the requests about a service order have in common, whichever way it is to go."""

from __future__ import annotations

from datetime import timedelta

from ...client.errors import WxPayError
from ...engine import commands, polling, transactions
from ...engine.facts import Applied, Fact, Known, differences, refuse
from ...models import Operation, Outcome, ServiceOrder
from ..payscore.messages import tidy
from .facts import apply_service_order, proves_end

State = ServiceOrder.State
DEDUCTION_RUNNING, CANCELLED_ALREADY = "271316754", "271302333"  # the number at the end of a refusal's Request-ID


class Ask(commands.Command):
    """A request that may be repeated with the same values, and that is not possible while a deduction is running."""

    harmless = True
    pause = timedelta(minutes=3)

    def answered(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        """Record an answer. What it leaves out (the collection; a partner's is empty) a query tells soon."""
        told = tidy(fact)
        if told.data.get("state") and (told.data["state"] != State.DONE or proves_end(row, told)):
            return apply_service_order(told)
        if differing := differences(fact, [Known("out_order_no", row.out_order_no)]):
            return refuse(row, fact, differing)
        applied = self.accepted(row, fact, operation)
        polling.plan_query(row)
        return applied

    def accepted(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        """Record what a 2xx by itself proves."""
        return Applied(Outcome.APPLIED, row)

    def refused(self, row: ServiceOrder, error: WxPayError, operation: Operation) -> str:
        """Its state is not what we thought, perhaps: codes and texts of that differ, so a query tells."""
        if reason_of(error) == DEDUCTION_RUNNING:
            return Operation.State.PLANNED
        transactions.on_commit(lambda: polling.plan_query(row))
        return Operation.State.REFUSED


def reason_of(error: WxPayError) -> str:
    """The number at the end of a Request-ID, by which WeChat Pay tells its reasons apart; "" for none."""
    return str(getattr(error, "request_id", "") or "").rpartition("-")[2]
