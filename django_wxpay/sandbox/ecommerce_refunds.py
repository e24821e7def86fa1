"""Refunds of what individual payees got: one part of a combined order each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import special
from .engine.answers import ConnectionClosed, LostAnswer, Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.fields import BOTH, Field, group, integer, one_of, text, url
from .engine.protocol import APPID, Call
from .engine.store import Row
from .orders import COMBINE, NUMBER, fingerprint

if TYPE_CHECKING:
    from .emulator import Sandbox

_AMOUNT = group(Field("refund", integer(1), BOTH), Field("total", integer(1), BOTH), Field("currency", one_of("CNY")))
_AUTH_ID = Field("individual_auth_id", text(32), BOTH)
_CREATE = (
    _AUTH_ID,
    Field("sp_appid", APPID, BOTH, BOTH),
    Field("combine_transaction_id", text(32), BOTH),
    Field("transaction_id", text(32), BOTH),
    Field("out_trade_no", NUMBER),
    Field("out_refund_no", text(64, pattern=r"[0-9A-Za-z_\-|*@]+"), BOTH),
    Field("reason", text(80)),
    Field("amount", _AMOUNT, BOTH),
    Field("notify_url", url()),
    Field("funds_account", one_of("AVAILABLE", "UNSETTLED", "PREPAID"), BOTH),
)


class EcommerceRefunds:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store
        self._refunds = sandbox.refunds

    def create(self, call: Call) -> Reply:
        """POST /v3/ecommerce/refunds/apply: the answer has no status."""
        asked = call.body(*_CREATE)
        if asked["sp_appid"] != call.merchant.appid:
            raise Refused(400, "APPID_MCHID_NOT_MATCH", "sp_appid is not bound to the merchant number")
        if known := self._find(call, "out_refund_no", asked["out_refund_no"]):
            if known["fingerprint"] != fingerprint(asked):
                raise Refused(400, "INVALID_REQUEST", "out_refund_no was used with other parameters")
            return ok(self._accepted(known))
        self._refunds.must_be_new(call.merchant.mchid, asked["out_refund_no"])
        order = self._order_of(call, asked)
        amount = {"currency": "CNY"} | asked["amount"]
        self._refunds.check(order, amount)
        outcome = special.of_refund(amount["refund"])
        if self._store.count_try(call.merchant.mchid, f"refund {asked['out_refund_no']}") > 1 and outcome.first_only:
            outcome = special.ORDINARY_REFUND
        if outcome.accepted:
            self._refunds.check_pace(order)
            made = self._refunds.make(
                order,
                asked["out_refund_no"],
                amount["refund"],
                outcome,
                reason=asked.get("reason"),
                fund_source=asked["funds_account"],
                notify_url=asked.get("notify_url"),
                fingerprint=fingerprint(asked),
            )
        if outcome.answer == "refused":
            assert outcome.refused is not None
            raise Refused(*outcome.refused, f"special amount: {outcome.says}")
        reply = ok(self._accepted(made))
        if outcome.answer == "lost":
            reply.cut = LostAnswer()
        elif outcome.answer == "closed":
            reply.cut = ConnectionClosed("the connection was closed before anything was done")
        return reply

    def query(self, call: Call, *, out_refund_no: str = "", refund_id: str = "") -> Reply:
        """GET …/out-refund-no/{out_refund_no}, or …/id/{refund_id}."""
        asked = call.query(_AUTH_ID)
        name = "out_refund_no" if out_refund_no else "refund_id"
        row = self._find(call, name, out_refund_no or refund_id)
        if not row or row["individual_auth_id"] != asked["individual_auth_id"]:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "the refund does not exist")
        shown = {
            **self._accepted(row),
            "transaction_id": row["transaction_id"],
            "out_trade_no": row["out_trade_no"],
            "status": row["status"],
            "channel": "ORIGINAL",
            "user_received_account": "balance",
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "funds_account": row["fund_source"] if row["fund_source"] != "PREPAID" else None,
        }
        return ok({name: value for name, value in shown.items() if value is not None})

    def payload(self, row: Row, order: Row) -> dict[str, Any]:
        """Return what a notification says of a refund."""
        told = {
            "mchid": order["mchid"],
            "individual_auth_id": order["individual_auth_id"],
            **{name: row[name] for name in ("transaction_id", "out_trade_no", "refund_id", "out_refund_no")},
            "refund_status": row["status"],
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "user_received_account": "balance",
            "amount": {
                "total": row["total"],
                "refund": row["refund"],
                "payer_total": row["total"],
                "payer_refund": row["payer_refund"],
            },
        }
        return {name: value for name, value in told.items() if value is not None}

    def _find(self, call: Call, name: str, number: str) -> Row | None:
        return self._store.one(
            "SELECT refunds.*, orders.individual_auth_id FROM refunds JOIN orders USING (transaction_id) "
            f"WHERE refunds.mchid = ? AND refunds.{name} = ? AND product = ?",
            call.merchant.mchid,
            number,
            COMBINE,
        )

    def _order_of(self, call: Call, asked: dict[str, Any]) -> Row:
        order = self._store.one(
            "SELECT * FROM orders WHERE transaction_id = ? AND mchid = ? AND product = ?",
            asked["transaction_id"],
            call.merchant.mchid,
            COMBINE,
        )
        if not order or asked.get("out_trade_no", order["out_trade_no"]) != order["out_trade_no"]:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "the order does not exist")
        whole = self._sandbox.combine_orders.get(order["combine_out_trade_no"], mchid=order["mchid"])
        if asked["combine_transaction_id"] != whole["combine_transaction_id"]:
            raise Refused(400, "INVALID_REQUEST", "combine_transaction_id is not the order's")
        if asked["individual_auth_id"] != order["individual_auth_id"]:
            raise Refused(400, "INVALID_REQUEST", "individual_auth_id is not the order's")
        return order

    def _accepted(self, row: Row) -> dict[str, Any]:
        return {
            "refund_id": row["refund_id"],
            "out_refund_no": row["out_refund_no"],
            "create_time": rfc3339(row["created_at"]),
            "amount": {
                "refund": row["refund"],
                "payer_refund": row["payer_refund"],
                "discount_refund": 0,
                "currency": "CNY",
            },
        }
