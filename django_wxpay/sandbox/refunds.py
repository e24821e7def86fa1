"""Refunds of any payment: create, query one, query all."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from . import promotions, special
from .engine import money
from .engine.answers import ConnectionClosed, LostAnswer, Refused, Reply, ok
from .engine.clock import compact_day, rfc3339
from .engine.fields import BOTH, Field, currency, group, integer, one_of, query_integer, text, url
from .engine.protocol import WITH_BOTH, WITH_NUMBERS, Call, Party
from .engine.store import Row
from .orders import COMBINE, NUMBER, PAYSCORE, REFUND, SUCCESS, fingerprint
from .recharge import RECHARGE

if TYPE_CHECKING:
    from .emulator import Sandbox

MAXIMUM_PER_ORDER = 50
WINDOW_SECONDS = 365 * 86400
PACE_SECONDS = 60
DELAY_SECONDS = 2
# The same list under two names: in a list of refunds the manual calls it otherwise.
PROMOTIONS, PROMOTIONS_LISTED = "promotion_detail", "refund_detail"
PROCESSING, ABNORMAL, CLOSED = "PROCESSING", "ABNORMAL", "CLOSED"
UNSETTLED = "REFUND_SOURCE_UNSETTLED_FUNDS"
MAINLAND = (PAYSCORE, COMBINE)

_TRANSACTION_ID = Field("transaction_id", text(32))
_OUT_TRADE_NO = Field("out_trade_no", text(32))
_CREATE = (
    *WITH_BOTH,
    _TRANSACTION_ID,
    Field("out_trade_no", NUMBER),
    Field("out_refund_no", text(64, pattern=r"[0-9A-Za-z_\-|*@]+"), BOTH),
    Field(
        "amount",
        group(Field("refund", integer(1), BOTH), Field("total", integer(1), BOTH), Field("currency", currency, BOTH)),
        BOTH,
    ),
    Field("reason", text(80)),
    Field("source", one_of(UNSETTLED, RECHARGE)),
    Field("notify_url", url()),
)


class Refunds:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def create(self, call: Call) -> Reply:
        """POST /v3/global/refunds."""
        asked = call.body(*_CREATE)
        party = call.party(asked)
        _one_number(asked)
        if known := self._by_number(party.mchid, asked["out_refund_no"]):
            if known["fingerprint"] != fingerprint(asked):
                raise Refused(400, "OUT_REFUND_NO_USED", "out_refund_no was used with other parameters")
            return ok(self._accepted(known))
        order = self._order_of(call, party, asked)
        self.check(order, asked["amount"])
        outcome = special.of_refund(asked["amount"]["refund"])
        if self._store.count_try(party.mchid, f"refund {asked['out_refund_no']}") > 1 and outcome.first_only:
            outcome = special.ORDINARY_REFUND
        if outcome.accepted:
            self.check_pace(order)
            if asked.get("source") == RECHARGE:
                self._sandbox.recharge.must_hold(asked["amount"]["refund"], order["mchid"], order["sub_mchid"])
            made = self.make(
                order,
                asked["out_refund_no"],
                asked["amount"]["refund"],
                outcome,
                reason=asked.get("reason"),
                fund_source=asked.get("source", UNSETTLED),
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

    def query(self, call: Call, *, refund_id: str = "", out_refund_no: str = "") -> Reply:
        """GET /v3/global/refunds/id/{refund_id} or …/out-refund-no/{out_refund_no}."""
        party = call.party(call.query(*WITH_NUMBERS))
        if refund_id:
            row = self._store.one("SELECT * FROM refunds WHERE refund_id = ?", refund_id)
        else:
            row = self._by_number(party.mchid, out_refund_no)
        if not row or (row["mchid"], row["sub_mchid"]) != (party.mchid, party.sub_mchid):
            raise Refused(404, "REFUND_NOT_EXISTS", "the refund does not exist")
        order_numbers = {"transaction_id": row["transaction_id"], "out_trade_no": row["out_trade_no"]}
        return ok({**self._shown(row), **order_numbers})

    def query_all(self, call: Call) -> Reply:
        """GET /v3/global/refunds?…: all refunds of one order, oldest first, in pages."""
        asked = call.query(
            *WITH_NUMBERS,
            _TRANSACTION_ID,
            _OUT_TRADE_NO,
            Field("offset", query_integer(0), BOTH),
            Field("count", query_integer(1, 20), BOTH),
        )
        party = call.party(asked)
        _one_number(asked)
        order = self._order_of(call, party, asked)
        refunds = self.of_order(order)
        page = refunds[asked["offset"] : asked["offset"] + asked["count"]]
        identity = self._sandbox.identity(order)
        return ok(
            {
                "id": order["transaction_id"],
                **{name: identity.get(name) for name in ("mchid", "sp_mchid", "sub_mchid")},
                "out_trade_no": order["out_trade_no"],
                "amount": {name: order[name] for name in ("total", "currency", "payer_total", "payer_currency")},
                "data": [self._shown(row, PROMOTIONS_LISTED) for row in page],
                "total_num": len(refunds),
                "current_total_num": len(page),
            }
        )

    # What happens beside the API

    def make(self, order: Row, out_refund_no: str, amount: int, outcome: special.Refund, **more: Any) -> Row:
        """Write a refund down and mark its order as refunded."""
        now = self._sandbox.clock.now()
        wait = self._sandbox.clock.delay(outcome.wait or DELAY_SECONDS)
        settles = outcome.status != PROCESSING
        more.setdefault("made_elsewhere", 0)
        before = sum(row["refund"] for row in self.of_order(order) if row["status"] != CLOSED)
        promotion = promotions.of_refund(order["promotion"], order["total"], before=before, refund=amount)
        made = self._store.insert(
            "refunds",
            refund_id=f"5030000000{compact_day(now)}{secrets.randbelow(10**11):011d}",
            transaction_id=order["transaction_id"],
            mchid=order["mchid"],
            sub_mchid=order["sub_mchid"],
            out_trade_no=order["out_trade_no"],
            out_refund_no=out_refund_no,
            refund=amount,
            total=order["total"],
            currency=order["currency"],
            payer_refund=money.charged(amount - promotions.worth(promotion, "refund_amount"), order["currency"]),
            promotion=promotion,
            status=PROCESSING,
            created_at=now,
            due_at=now + wait if settles else None,
            due_status=outcome.status if settles else None,
            due_next=outcome.then or None,
            **more,
        )
        self._store.update("orders", "transaction_id", order["transaction_id"], trade_state=REFUND)
        return self.get(made["refund_id"])

    def make_elsewhere(
        self, number: str, amount: int, *, reason: str | None = None, notify_url: str | None = None, mchid: str = ""
    ) -> Row:
        """Refund an order as a person does in the merchant platform. Without a notify_url nobody is told."""
        with self._store.transaction():
            order = self._sandbox.orders.get(number, mchid=mchid)
            self.check(order, {"refund": amount, "total": order["total"], "currency": order["currency"]})
            return self.make(
                order,
                f"platform{compact_day(self._sandbox.clock.now())}{secrets.randbelow(10**10):010d}",
                amount,
                special.of_refund(amount),
                reason=reason,
                fund_source=UNSETTLED,
                notify_url=notify_url,
                made_elsewhere=1,
                fingerprint="",
            )

    def finish(self, number: str, status: str) -> Row:
        """Bring a refund to SUCCESS, ABNORMAL or CLOSED now."""
        if status not in (SUCCESS, ABNORMAL, CLOSED):
            raise Refused(400, "PARAM_ERROR", "status is SUCCESS, ABNORMAL or CLOSED")
        with self._store.transaction():
            row = self.get(number)
            if row["status"] in (SUCCESS, CLOSED):
                raise Refused(409, "INVALID_REQUEST", f"the refund is {row['status']}")
            self._become(row, status, self._sandbox.clock.now())
            return self.get(row["refund_id"])

    def settle(self, now: float) -> None:
        for row in self._store.all("SELECT * FROM refunds WHERE due_at <= ? ORDER BY due_at", now):
            self._become(row, row["due_status"], row["due_at"])

    def next_due(self) -> float | None:
        row = self._store.one("SELECT MIN(due_at) AS moment FROM refunds")
        return row["moment"] if row else None

    def get(self, number: str) -> Row:
        row = self._store.one(
            "SELECT * FROM refunds WHERE refund_id = ? OR out_refund_no = ? ORDER BY created_at DESC", number, number
        )
        if not row:
            raise Refused(404, "REFUND_NOT_EXISTS", f"no refund {number}")
        return row

    def of_order(self, order: Row) -> list[Row]:
        return self._store.all(
            "SELECT * FROM refunds WHERE transaction_id = ? ORDER BY created_at, rowid", order["transaction_id"]
        )

    # Rules

    def check(self, order: Row, amount: dict[str, Any]) -> None:
        if order["trade_state"] not in (SUCCESS, REFUND):
            raise Refused(400, "INVALID_REQUEST", f"the order is {order['trade_state']}: nothing to refund")
        if amount["total"] != order["total"] or amount["currency"] != order["currency"]:
            raise Refused(400, "INVALID_REQUEST", "amount.total or amount.currency is not the order's")
        if self._sandbox.clock.now() - (order["success_at"] or order["created_at"]) > WINDOW_SECONDS:
            # The mainland's lists have no word of its own for this.
            status, code = (400, "INVALID_REQUEST") if order["product"] in MAINLAND else (403, "TRADE_OVERDUE")
            raise Refused(status, code, "the order was paid more than 365 days ago")
        living = [row for row in self.of_order(order) if row["status"] != CLOSED]
        if len(living) >= MAXIMUM_PER_ORDER:
            raise Refused(400, "INVALID_REQUEST", f"an order takes at most {MAXIMUM_PER_ORDER} refunds")
        if sum(row["refund"] for row in living) + amount["refund"] > order["total"]:
            raise Refused(400, "INVALID_REQUEST", "the sum of the refunds would exceed the order's total")

    def must_be_new(self, mchid: str, out_refund_no: str) -> None:
        """Refuse a number that another refund of the merchant has, of whatever product or sub-merchant."""
        if self._by_number(mchid, out_refund_no):
            raise Refused(400, "INVALID_REQUEST", "out_refund_no was used for another order")

    def check_pace(self, order: Row) -> None:
        since = self._sandbox.clock.now() - self._sandbox.clock.delay(PACE_SECONDS)
        if any(row["created_at"] > since and not row["made_elsewhere"] for row in self.of_order(order)):
            raise Refused(429, "FREQUENCY_LIMITED", "refunds of one order must be at least a minute apart")

    def _become(self, row: Row, status: str, moment: float) -> None:
        following = row["due_next"] if row["due_next"] != status else None
        self._store.update(
            "refunds",
            "refund_id",
            row["refund_id"],
            status=status,
            success_at=moment if status == SUCCESS else None,
            due_at=moment + self._sandbox.clock.delay(special.REFUND_LATER_SECONDS) if following else None,
            due_status=following,
            due_next=None,
        )
        self._tell(self.get(row["refund_id"]))

    def _tell(self, row: Row) -> None:
        if row["notify_url"]:
            self._sandbox.notifications.tell(
                row["mchid"],
                f"REFUND.{row['status']}",
                row["notify_url"],
                self.payload(row),
                about=row["refund_id"],
            )

    # Shapes

    def payload(self, row: Row) -> dict[str, Any]:
        """Return what a notification says of a refund."""
        order = self._sandbox.orders.get(row["transaction_id"])
        if order["product"] == PAYSCORE:
            return self._sandbox.domestic_refunds.payload(row, order)
        if order["product"] == COMBINE:
            return self._sandbox.ecommerce_refunds.payload(row, order)
        identity = self._sandbox.identity(order)
        return {
            **{name: identity.get(name) for name in ("mchid", "sp_mchid", "sub_mchid")},
            "transaction_id": row["transaction_id"],
            "out_trade_no": row["out_trade_no"],
            "refund_id": row["refund_id"],
            "out_refund_no": row["out_refund_no"],
            "refund_status": row["status"],
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "recv_account": "balance",
            "fund_source": row["fund_source"],
            "amount": {
                "total": row["total"],
                "refund": row["refund"],
                "currency": row["currency"],
                "payer_total": order["payer_total"],
                "payer_refund": row["payer_refund"],
                "payer_currency": order["payer_currency"],
                "exchange_rate": money.exchange_rate(row["currency"]),
            },
        }

    def _accepted(self, row: Row, name: str = PROMOTIONS) -> dict[str, Any]:
        return {
            "id": row["refund_id"],
            "out_refund_no": row["out_refund_no"],
            "create_time": rfc3339(row["created_at"]),
            "amount": self._amount(row),
            name: row["promotion"],
        }

    def _shown(self, row: Row, name: str = PROMOTIONS) -> dict[str, Any]:
        return {
            **self._accepted(row, name),
            "channel": "ORIGINAL",
            "recv_account": "balance",
            "fund_source": row["fund_source"],
            "success_time": rfc3339(row["success_at"]) if row["success_at"] else None,
            "status": "REFUNDCLOSE" if row["status"] == CLOSED else row["status"],
        }

    def _amount(self, row: Row) -> dict[str, Any]:
        return {
            "refund": row["refund"],
            "currency": row["currency"],
            "payer_refund": row["payer_refund"],
            "payer_currency": money.WALLET,
            "exchange_rate": money.exchange_rate(row["currency"]),
        }

    def _by_number(self, mchid: str, out_refund_no: str) -> Row | None:
        return self._store.one("SELECT * FROM refunds WHERE mchid = ? AND out_refund_no = ?", mchid, out_refund_no)

    def _order_of(self, call: Call, party: Party, asked: dict[str, Any]) -> Row:
        return self._sandbox.orders.find(
            call,
            party,
            transaction_id=asked.get("transaction_id", ""),
            out_trade_no=asked.get("out_trade_no", ""),
        )


def _one_number(asked: dict[str, Any]) -> None:
    if not asked.get("transaction_id") and not asked.get("out_trade_no"):
        detail = {"field": "/out_trade_no", "value": "", "issue": "is required", "location": "body"}
        raise Refused(400, "PARAM_ERROR", "transaction_id or out_trade_no is required", detail=detail)
