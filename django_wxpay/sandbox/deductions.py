"""Auto-debit: deduct from a signed contract, query, reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import special
from .engine.answers import Refused, Reply, no_content, ok
from .engine.fields import BOTH, Field, group, ip, text, url
from .engine.protocol import WITH_APPIDS, WITH_SUB_MCHID, Call
from .orders import AMOUNT, CLOSED, NUMBER, PAPAY, REFUND, SUCCESS

if TYPE_CHECKING:
    from .emulator import Sandbox

_DEDUCTION = (
    *WITH_APPIDS,
    Field("description", text(128), BOTH),
    Field("attach", text(127)),
    Field("notify_url", url(), BOTH),
    Field("out_trade_no", NUMBER, BOTH),
    Field("goods_tag", text(32)),
    Field("merchant_category_code", text(4, shortest=4, pattern=r"[0-9]{4}"), BOTH),
    Field("contract_id", text(64), BOTH),
    Field("amount", AMOUNT, BOTH),
    Field("scene_info", group(Field("device_id", text(32)), Field("device_ip", ip()))),
)


class Deductions:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._orders = sandbox.orders

    def deduct(self, call: Call) -> Reply:
        """POST /v3/global/papay/transactions."""
        asked = call.body(*_DEDUCTION)
        party = call.party(asked)
        if reply := self._orders.repeated(party, asked):
            return reply
        contract = self._sandbox.contracts.for_deduction(party, asked["contract_id"])
        return self._orders.pay(
            party,
            asked,
            special.of_payment(asked["amount"]["total"]),
            product=PAPAY,
            trade_type="AUTH",
            openid=contract["openid"],
            contract_id=contract["contract_id"],
            notify_url=asked["notify_url"],
        )

    def query(self, call: Call, *, transaction_id: str = "", out_trade_no: str = "") -> Reply:
        """GET /v3/global/papay/transactions/{transaction_id} or …/out-trade-no/{out_trade_no}."""
        party = call.party(call.query(*WITH_SUB_MCHID))
        order = self._orders.find(call, party, transaction_id=transaction_id, out_trade_no=out_trade_no, product=PAPAY)
        return ok(self._orders.shown(order))

    def reverse(self, call: Call, out_trade_no: str) -> Reply:
        """POST /v3/global/papay/transactions/out-trade-no/{out_trade_no}/reverse: closes what is not paid."""
        party = call.party(call.body(*WITH_SUB_MCHID))
        order = self._orders.find(call, party, out_trade_no=out_trade_no, product=PAPAY)
        if order["trade_state"] in (SUCCESS, REFUND):
            raise Refused(400, "ORDER_PAID", "the deduction was paid: refund it")
        self._orders.reverse(order, CLOSED)
        return no_content()
