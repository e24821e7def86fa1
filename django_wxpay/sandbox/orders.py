"""Payments: what all products share.

An order moves by itself only when a special amount said so (`settle`); otherwise it is paid when it is made.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from . import promotions, special, users
from .engine import money
from .engine.answers import ConnectionClosed, LostAnswer, Refused, Reply, ok
from .engine.clock import compact_day, rfc3339
from .engine.fields import BOTH, Field, currency, group, integer, text
from .engine.protocol import Call, Party
from .engine.store import Row

if TYPE_CHECKING:
    from .emulator import Sandbox

PAPAY, MICROPAY, PAYSCORE, COMBINE = "papay", "micropay", "payscore", "combine"
SUCCESS, REFUND, NOTPAY, CLOSED = "SUCCESS", "REFUND", "NOTPAY", "CLOSED"
PAYERROR, USERPAYING, REVOKED = "PAYERROR", "USERPAYING", "REVOKED"
DESCRIPTIONS = {
    SUCCESS: "paid",
    REFUND: "refunded in part or in full",
    NOTPAY: "not paid",
    CLOSED: "closed",
    PAYERROR: "payment failed",
    USERPAYING: "the user is paying",
    REVOKED: "reversed",
}
NUMBER = text(32, pattern=r"[0-9A-Za-z_\-*]+")
AMOUNT = group(Field("total", integer(1), BOTH), Field("currency", currency))
DEFAULT_CURRENCY = "CNY"


class Orders:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    def pay(
        self,
        party: Party,
        asked: dict[str, Any],
        outcome: special.Payment,
        **order: Any,
    ) -> Reply:
        """Make the order, or not, as the outcome says, and answer accordingly."""
        times = self._store.count_try(party.mchid, asked["out_trade_no"])
        if outcome.first_only and times > 1:
            outcome = special.ORDINARY_PAYMENT
        shown: dict[str, Any] = {}
        if outcome.state:
            shown = self.shown(self._make(party, asked, outcome, **order))
        if outcome.answer == "refused":
            assert outcome.refused is not None
            raise Refused(*outcome.refused, f"special amount or code: {outcome.says}")
        reply = ok(shown)
        if outcome.answer == "lost":
            reply.cut = LostAnswer()
        elif outcome.answer == "closed":
            reply.cut = ConnectionClosed("the connection was closed before anything was done")
        return reply

    def by_number(self, mchid: str, out_trade_no: str) -> Row | None:
        return self._store.one("SELECT * FROM orders WHERE mchid = ? AND out_trade_no = ?", mchid, out_trade_no)

    def find(
        self, call: Call, party: Party, *, transaction_id: str = "", out_trade_no: str = "", product: str = ""
    ) -> Row:
        """Return the caller's order by either number; ``transaction_id`` wins."""
        if transaction_id:
            call.in_path("transaction_id", transaction_id, 32)
            row = self._store.one("SELECT * FROM orders WHERE transaction_id = ?", transaction_id)
        else:
            call.in_path("out_trade_no", out_trade_no, 32)
            row = self.by_number(party.mchid, out_trade_no)
        if (
            not row
            or (row["mchid"], row["sub_mchid"]) != (party.mchid, party.sub_mchid)
            or product not in ("", row["product"])
        ):
            raise Refused(404, "ORDER_NOT_EXIST", "the order does not exist")
        return row

    def get(self, number: str, *, mchid: str = "") -> Row:
        """Return an order by either number, whoever owns it (for the control API)."""
        row = self._store.one(
            "SELECT * FROM orders WHERE (transaction_id = ? OR out_trade_no = ?) AND ? IN ('', mchid) "
            "ORDER BY created_at DESC",
            number,
            number,
            mchid,
        )
        if not row:
            raise Refused(404, "ORDER_NOT_EXIST", f"no order {number}")
        return row

    def user_pays(self, number: str, *, mchid: str = "") -> Row:
        """Let the user finish paying an order that waits."""
        return self._user_ends(number, mchid, SUCCESS)

    def user_refuses(self, number: str, *, mchid: str = "") -> Row:
        """Let the user refuse to pay an order that waits."""
        return self._user_ends(number, mchid, PAYERROR)

    def _user_ends(self, number: str, mchid: str, state: str) -> Row:
        with self._store.transaction():
            order = self.get(number, mchid=mchid)
            if order["product"] == COMBINE:
                raise Refused(409, "INVALID_REQUEST", "a part of a combined order is paid with the whole")
            if order["trade_state"] != state:
                if order["trade_state"] not in (USERPAYING, NOTPAY):
                    raise Refused(409, "INVALID_REQUEST", f"the order is {order['trade_state']}")
                self.become(order, state, self._sandbox.clock.now())
            return self.get(order["transaction_id"])

    def settle(self, now: float) -> None:
        """Let happen what special amounts have put off until now."""
        for order in self._store.all("SELECT * FROM orders WHERE due_at <= ? ORDER BY due_at", now):
            self.become(order, order["due_state"], order["due_at"])

    def next_due(self) -> float | None:
        row = self._store.one("SELECT MIN(due_at) AS moment FROM orders")
        return row["moment"] if row else None

    def become(self, order: Row, state: str, moment: float) -> None:
        changes: dict[str, Any] = {"trade_state": state, "due_at": None, "due_state": None}
        if state == SUCCESS:
            changes["success_at"] = moment
        self._store.update("orders", "transaction_id", order["transaction_id"], **changes)
        if state == SUCCESS and order["notify_url"]:
            paid = self.get(order["transaction_id"])
            self._sandbox.notifications.tell(
                paid["mchid"],
                "TRANSACTION.SUCCESS",
                paid["notify_url"],
                self.shown(paid),
                about=paid["transaction_id"],
            )

    def reverse(self, order: Row, state: str) -> None:
        """End an order; the first reversal of some special amounts goes wrong. Ended ones stay as they are."""
        if order["trade_state"] in (CLOSED, REVOKED):
            return
        is_first = self._store.count_try(order["mchid"], f"reverse {order['out_trade_no']}") == 1
        outcome = order["special"] if is_first else 0
        if outcome == special.REVERSAL_TOO_EARLY:
            raise Refused(400, "INVALID_REQUEST", "too early (special amount or code)")
        if outcome == special.REVERSAL_FAILS_FIRST:
            raise Refused(500, "SYSTEM_ERROR", "nothing done (special amount or code)")
        now = self._sandbox.clock.now()
        if outcome == special.PAID_WHEN_REVERSED:
            self.become(order, SUCCESS, now)
            raise Refused(500, "SYSTEM_ERROR", "paid meanwhile (special amount or code)")
        ended = {"trade_state": state, "reversed_at": now, "due_at": None, "due_state": None}
        self._store.update("orders", "transaction_id", order["transaction_id"], **ended)
        if outcome == special.REVERSAL_ANSWER_LOST:
            raise Refused(500, "SYSTEM_ERROR", "done (special amount or code)")

    def shown(self, order: Row) -> dict[str, Any]:
        """Return the order as answers and notifications show it."""
        paid = order["success_at"] is not None
        number = "transaction_id" if order["product"] == PAPAY else "id"
        return {
            **self._sandbox.identity(order),
            "out_trade_no": order["out_trade_no"],
            number: order["transaction_id"],
            "attach": order["attach"],
            "trade_type": order["trade_type"],
            "bank_type": "OTHERS" if paid else None,
            "success_time": rfc3339(order["success_at"]) if paid else None,
            "trade_state": order["trade_state"],
            "trade_state_desc": DESCRIPTIONS[order["trade_state"]],
            "merchant_category_code": order["merchant_category_code"],
            "contract_id": order["contract_id"],
            "payer": users.payer(order) if order["openid"] else None,
            "amount": {
                "total": order["total"],
                "currency": order["currency"],
                "payer_total": order["payer_total"] if paid else None,
                "payer_currency": order["payer_currency"] if paid else None,
                "exchange_rate": money.exchange_rate(order["currency"]) if paid else None,
            },
            "promotion_detail": order["promotion"] if paid else None,
        }

    def repeated(self, party: Party, asked: dict[str, Any]) -> Reply | None:
        """Answer for a number that was used before, or refuse it; None: it is new, or may be tried again."""
        known = self.by_number(party.mchid, asked["out_trade_no"])
        if not known:
            return None
        if known["fingerprint"] != fingerprint(asked):
            raise Refused(403, "OUT_TRADE_NO_USED", "out_trade_no was used with other parameters")
        state = known["trade_state"]
        if state in (SUCCESS, REFUND):
            raise Refused(400, "ORDER_PAID", "the order was paid already: query it")
        if state == REVOKED:
            raise Refused(400, "ORDER_REVERSED", "the order was reversed: its number is spent")
        if state in (CLOSED, PAYERROR):
            raise Refused(400, "ORDER_CLOSED", "the order is closed: its number is spent")
        return ok(self.shown(known)) if state == USERPAYING else None

    def _make(self, party: Party, asked: dict[str, Any], outcome: special.Payment, **order: Any) -> Row:
        now = self._sandbox.clock.now()
        total, unit = asked["amount"]["total"], asked["amount"].get("currency", DEFAULT_CURRENCY)
        promotion = promotions.of_payment(outcome.promotion, total, unit, asked.get("detail"))
        transaction_id = f"4200000000{compact_day(now)}{secrets.randbelow(10**10):010d}"
        self._store.run(
            "DELETE FROM orders WHERE mchid = ? AND out_trade_no = ? AND trade_state = ?",
            party.mchid,
            asked["out_trade_no"],
            NOTPAY,
        )
        self._store.insert(
            "orders",
            transaction_id=transaction_id,
            mchid=party.mchid,
            appid=party.appid,
            sub_mchid=party.sub_mchid,
            sub_appid=party.sub_appid,
            out_trade_no=asked["out_trade_no"],
            description=asked["description"],
            attach=asked.get("attach"),
            goods_tag=asked.get("goods_tag"),
            merchant_category_code=asked["merchant_category_code"],
            device_id=asked.get("scene_info", {}).get("device_id"),
            total=total,
            currency=unit,
            payer_total=money.charged(total - promotions.worth(promotion), unit),
            payer_currency=money.WALLET,
            rate=money.RATES[unit],
            trade_state=NOTPAY,
            created_at=now,
            due_at=now + self._sandbox.clock.delay(outcome.later) if outcome.later else None,
            due_state=outcome.later_state or None,
            special=outcome.number,
            fingerprint=fingerprint(asked),
            promotion=promotion,
            **order,
        )
        if outcome.state == SUCCESS:
            self.become(self.get(transaction_id), SUCCESS, now)
        else:
            self._store.update("orders", "transaction_id", transaction_id, trade_state=outcome.state)
        return self.get(transaction_id)


def fingerprint(asked: dict[str, Any]) -> str:
    """Return what makes two requests with one number the same request; the payment code is not part of it."""
    business = {name: value for name, value in asked.items() if name not in ("payer", "notify_url")}
    return json.dumps(business, sort_keys=True, ensure_ascii=False)
