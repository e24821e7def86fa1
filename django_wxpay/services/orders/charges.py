"""What asking for a payment has in common, whichever way it is asked."""

from __future__ import annotations

from ...client.errors import WxPayError
from ...engine import commands
from ...engine.facts import move
from ...models import Operation, Order

State = Order.State
# These say that the number is known there: a query tells the truth.
QUERY_FIRST = ("ORDER_PAID", "OUT_TRADE_NO_USED", "ORDER_CLOSED", "ORDER_REVERSED")


class Charge(commands.Command):
    """A command after which an order is paid, or refused, or still open."""

    def refused(self, row: Order, error: WxPayError, operation: Operation) -> str:
        if error.means(*QUERY_FIRST):
            return Operation.State.UNKNOWN
        if not row.is_final:
            changes = {"error_code": error.code[:64]}
            move(row, State.REFUSED, commands.refusal(row, operation, error), changes, note=str(error)[:256])
        return Operation.State.REFUSED

    def verdict(self, row: Order, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.CREATED else Operation.State.DONE
