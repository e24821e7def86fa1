"""Refunds of the mainland's payments: the same rules, other words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import special
from .engine.answers import ConnectionClosed, LostAnswer, Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.fields import BOTH, Field, group, integer, one_of, text, url
from .engine.protocol import Call, Party
from .engine.store import Row
from .mainland import SUB_MCHID
from .orders import NUMBER, PAYSCORE, fingerprint

if TYPE_CHECKING:
    from .emulator import Sandbox

_AMOUNT = group(
    Field("refund", integer(1), BOTH), Field("total", integer(1), BOTH), Field("currency", one_of("CNY"), BOTH)
)
_CREATE = (
    *SUB_MCHID,
    Field("transaction_id", text(32)),
    Field("out_trade_no", NUMBER),
    Field("out_refund_no", text(64, pattern=r"[0-9A-Za-z_\-|*@]+"), BOTH),
    Field("reason", text(80)),
    Field("notify_url", url()),
    Field("funds_account", one_of("AVAILABLE", "UNSETTLED")),
    Field("amount", _AMOUNT, BOTH),
)


class DomesticRefunds:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store
        self._refunds = sandbox.refunds

    def create(self, call: Call) -> Reply:
        """POST /v3/refund/domestic/refunds."""
        asked = call.body(*_CREATE)
        party = call.party(asked)
        if known := self._by_number(party, asked["out_refund_no"]):
            if known["fingerprint"] != fingerprint(asked):
                raise Refused(400, "INVALID_REQUEST", "out_refund_no was used with other parameters")
            return ok(self._shown(known))
        self._refunds.must_be_new(party.mchid, asked["out_refund_no"])
        order = self._order_of(party, asked)
        self._refunds.check(order, asked["amount"])
        outcome = special.of_refund(asked["amount"]["refund"])
        if self._store.count_try(party.mchid, f"refund {asked['out_refund_no']}") > 1 and outcome.first_only:
            outcome = special.ORDINARY_REFUND
        if outcome.accepted:
            self._refunds.check_pace(order)
            made = self._refunds.make(
                order,
                asked["out_refund_no"],
                asked["amount"]["refund"],
                outcome,
                reason=asked.get("reason"),
                fund_source=asked.get("funds_account", "AVAILABLE"),
                notify_url=asked.get("notify_url"),
                fingerprint=fingerprint(asked),
            )
        if outcome.answer == "refused":
            assert outcome.refused is not None
            raise Refused(*outcome.refused, f"special amount: {outcome.says}")
        reply = ok(self._shown(made))
        if outcome.answer == "lost":
            reply.cut = LostAnswer()
        elif outcome.answer == "closed":
            reply.cut = ConnectionClosed("the connection was closed before anything was done")
        return reply

    def query(self, call: Call, out_refund_no: str) -> Reply:
        """GET /v3/refund/domestic/refunds/{out_refund_no}."""
        party = call.party(call.query(*SUB_MCHID))
        if row := self._by_number(party, out_refund_no):
            return ok(self._shown(row))
        raise Refused(404, "RESOURCE_NOT_EXISTS", "the refund does not exist")

    def payload(self, row: Row, order: Row) -> dict[str, Any]:
        """Return what a notification says of a refund."""
        identity = self._sandbox.identity(order)
        numbers = ("transaction_id", "out_trade_no", "refund_id", "out_refund_no")
        return {
            **{name: identity.get(name) for name in ("mchid", "sp_mchid", "sub_mchid")},
            **{name: row[name] for name in numbers},
            "refund_status": row["status"],
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "user_received_account": "balance",
            "amount": {name: value for name, value in self._amount(row).items() if name in _TOLD},
        }

    def _by_number(self, party: Party, out_refund_no: str) -> Row | None:
        return self._store.one(
            "SELECT refunds.* FROM refunds JOIN orders USING (transaction_id) "
            "WHERE refunds.mchid = ? AND refunds.sub_mchid = ? AND out_refund_no = ? AND product = ?",
            party.mchid,
            party.sub_mchid,
            out_refund_no,
            PAYSCORE,
        )

    def _order_of(self, party: Party, asked: dict[str, Any]) -> Row:
        if ("transaction_id" in asked) == ("out_trade_no" in asked):
            raise Refused(400, "PARAM_ERROR", "give exactly one of transaction_id and out_trade_no")
        name = "transaction_id" if "transaction_id" in asked else "out_trade_no"
        order = self._store.one(
            f"SELECT * FROM orders WHERE {name} = ? AND mchid = ? AND sub_mchid = ? AND product = ?",
            asked[name],
            party.mchid,
            party.sub_mchid,
            PAYSCORE,
        )
        if not order:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "the order does not exist")
        return order

    def _shown(self, row: Row) -> dict[str, Any]:
        return {
            "refund_id": row["refund_id"],
            "out_refund_no": row["out_refund_no"],
            "transaction_id": row["transaction_id"],
            "out_trade_no": row["out_trade_no"],
            "channel": "ORIGINAL",
            "user_received_account": "balance",
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "create_time": rfc3339(row["created_at"]),
            "status": row["status"],
            "funds_account": row["fund_source"],
            "amount": self._amount(row),
        }

    def _amount(self, row: Row) -> dict[str, Any]:
        return {
            "total": row["total"],
            "refund": row["refund"],
            "payer_total": row["total"],
            "payer_refund": row["payer_refund"],
            "settlement_refund": row["refund"],
            "settlement_total": row["total"],
            "discount_refund": 0,
            "currency": "CNY",
        }


_TOLD = ("total", "refund", "payer_total", "payer_refund")
