"""Combined orders: place, query, close; the payer pays, leaves or fails; his mini program's words are checked."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from .engine import keys
from .engine.answers import Refused, Reply, dump, no_content, ok
from .engine.clock import compact_day, rfc3339
from .engine.fields import BOTH, Field, group, integer, moment, one_of, several, text, url
from .engine.protocol import APPID, MCHID, SIGNATURE_WINDOW_SECONDS, Call
from .engine.store import Row
from .mainland import only_one, same_again, written
from .orders import CLOSED, COMBINE, NOTPAY, PAYERROR, SUCCESS

if TYPE_CHECKING:
    from .emulator import Sandbox

PREPAY_SECONDS = 7200
MOST_PARTS = 10
LONGEST_SECONDS = 7 * 86400
NUMBER = text(32, pattern=r"[0-9A-Za-z_\-|*@]+")
REQUEST_PAYMENT = ("timeStamp", "nonceStr", "package", "signType", "paySign")


def _anything(value: Any) -> Any:
    return value


_SUB_ORDER = group(
    Field("mchid", MCHID, BOTH),
    Field("individual_auth_id", text(32), BOTH),
    Field("order_service_type", one_of("INDIVIDUALTRADE")),
    Field("individual_name", text(64)),
    Field("out_trade_no", NUMBER, BOTH),
    Field("amount", group(Field("total_amount", integer(1), BOTH), Field("currency", one_of("CNY"), BOTH)), BOTH),
    Field("attach", text(128), BOTH),
    Field("description", text(128), BOTH),
    *(Field(name, _anything) for name in ("transfer_scene", "goods_tag", "detail", "settle_info")),
)
_CREATE = (
    Field("combine_appid", APPID, BOTH, BOTH),
    Field("combine_mchid", MCHID, BOTH, BOTH),
    Field("combine_out_trade_no", NUMBER, BOTH),
    Field("combine_payer_info", group(Field("openid", text(128), BOTH)), BOTH),
    Field("scene_info", group(Field("device_id", text(16)), Field("payer_client_ip", text(45), BOTH))),
    Field("sub_orders", several(_SUB_ORDER), BOTH),
    Field("time_start", moment()),
    Field("time_expire", moment()),
    Field("notify_url", url(255), BOTH),
    Field("trade_scenario", text(32)),
)
_CLOSE = (
    Field("combine_appid", APPID, BOTH, BOTH),
    Field(
        "sub_orders",
        several(
            group(
                Field("mchid", MCHID, BOTH),
                Field("out_trade_no", NUMBER, BOTH),
                Field("individual_auth_id", text(32), BOTH),
            )
        ),
        BOTH,
    ),
)


class CombineOrders:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def create(self, call: Call, *, client: str) -> Reply:
        """POST /v3/combine-transactions/miniprogram, or …/app."""
        asked = call.body(*_CREATE)
        self._own(call, asked)
        known = self._by_number(call.merchant.mchid, asked["combine_out_trade_no"])
        try:
            again = same_again(known["fingerprint"] if known else None, asked)
        except Refused:
            raise Refused(403, "OUT_TRADE_NO_USED", "combine_out_trade_no was used with other parameters") from None
        if again:
            assert known is not None
            return self._prepared(known)
        self._check(asked)
        now = self._sandbox.clock.now()
        expires = now + LONGEST_SECONDS
        if "time_expire" in asked:
            expires = min(expires, self._sandbox.clock.business_time(asked["time_expire"]))
        if expires <= now:
            raise Refused(400, "PARAM_ERROR", "time_expire is over")
        number, mchid = asked["combine_out_trade_no"], call.merchant.mchid
        self._store.insert(
            "combine_orders",
            mchid=mchid,
            appid=call.merchant.appid,
            combine_out_trade_no=number,
            client=client,
            openid=asked["combine_payer_info"]["openid"],
            notify_url=asked["notify_url"],
            trade_scenario=asked.get("trade_scenario"),
            device_id=asked.get("scene_info", {}).get("device_id"),
            prepay_id=f"wx{secrets.token_hex(16)}",
            prepay_at=now,
            expires_at=expires,
            paying=0,
            created_at=now,
            fingerprint=written(asked),
        )
        for sub in asked["sub_orders"]:
            self._store.insert(
                "orders",
                transaction_id=f"4300000000{compact_day(now)}{secrets.randbelow(10**10):010d}",
                mchid=mchid,
                appid=call.merchant.appid,
                sub_mchid="",
                product=COMBINE,
                trade_type="JSAPI" if client == "miniprogram" else "APP",
                out_trade_no=sub["out_trade_no"],
                openid=asked["combine_payer_info"]["openid"],
                description=sub["description"],
                attach=sub["attach"],
                total=sub["amount"]["total_amount"],
                currency="CNY",
                payer_total=sub["amount"]["total_amount"],
                payer_currency="CNY",
                rate=10**8,
                trade_state=NOTPAY,
                created_at=now,
                fingerprint="",
                combine_out_trade_no=number,
                individual_auth_id=sub["individual_auth_id"],
            )
        return self._prepared(self._find(mchid, number))

    def query(self, call: Call, *, combine_out_trade_no: str = "", combine_transaction_id: str = "") -> Reply:
        """GET …/out-trade-no/{combine_out_trade_no}, or …/id/{combine_transaction_id}; no query parameters."""
        call.query()
        row = self._store.one(
            "SELECT * FROM combine_orders WHERE mchid = ? AND (combine_out_trade_no = ? OR combine_transaction_id = ?)",
            call.merchant.mchid,
            combine_out_trade_no,
            combine_transaction_id or "-",
        )
        if not row:
            raise Refused(404, "ORDER_NOT_EXIST", "the order does not exist")
        return ok(self.shown(row))

    def close(self, call: Call, combine_out_trade_no: str) -> Reply:
        """POST …/out-trade-no/{combine_out_trade_no}/close: with each part as it was ordered."""
        asked = call.body(*_CLOSE)
        self._own(call, asked)
        row = self._find(call.merchant.mchid, combine_out_trade_no)
        named = {(one["mchid"], one["out_trade_no"], one["individual_auth_id"]) for one in asked["sub_orders"]}
        ordered = {(part["mchid"], part["out_trade_no"], part["individual_auth_id"]) for part in self.parts(row)}
        if named != ordered or len(asked["sub_orders"]) != len(ordered):
            raise Refused(400, "INVALID_REQUEST", "sub_orders are not those that were ordered")
        state = self._state(row)
        if state == CLOSED:
            raise Refused(400, "ORDER_CLOSED", "the order is closed already")
        if state not in (NOTPAY, PAYERROR):
            raise Refused(400, "ORDER_PAID", "the order is paid")
        if row["paying"]:
            return Reply(202, dump({"code": "USERPAYING", "message": "the user is paying"}))
        self._become(row, CLOSED)
        return no_content()

    # What the payer does

    def requested(self, given: dict[str, Any]) -> Row:
        """Check what ``wx.requestPayment`` was given, as WeChat would; return the combined order it is about."""
        for name in REQUEST_PAYMENT:
            if not isinstance(given.get(name), str) or not given[name]:
                raise _wrong(f"{name} is missing, or no text")
        prepay_id = given["package"].removeprefix("prepay_id=")
        row = self._store.one("SELECT * FROM combine_orders WHERE prepay_id = ?", prepay_id)
        if not row or prepay_id == given["package"]:
            raise _wrong("package is no prepay_id= of an order here")
        if given["signType"] != "RSA" or len(given["nonceStr"]) > 32:
            raise _wrong("signType must be RSA, nonceStr has at most 32 characters")
        now = self._sandbox.clock.wire_time()
        if not re.fullmatch(r"[0-9]{1,11}", given["timeStamp"]) or abs(int(given["timeStamp"]) - now) > (
            SIGNATURE_WINDOW_SECONDS
        ):
            raise _wrong("timeStamp is more than five minutes off: the parameters are made anew for each call")
        lines = (row["appid"], given["timeStamp"], given["nonceStr"], given["package"])
        message = "".join(f"{line}\n" for line in lines).encode()
        if not keys.verifies(self._sandbox.keys.merchant.certificate, message, given["paySign"]):
            raise _wrong("paySign does not match")
        if row["prepay_at"] + PREPAY_SECONDS < self._sandbox.clock.now():
            raise _wrong("prepay_id is older than two hours")
        if self._state(row) not in (NOTPAY, PAYERROR):
            raise _wrong(f"the order is {self._state(row)}")
        return row

    def pays(self, number: str, *, mchid: str = "") -> Row:
        """Let the payer pay."""
        return self._ends(number, mchid, SUCCESS)

    def fails(self, number: str, *, mchid: str = "") -> Row:
        """Let the payment fail; the order has to be closed before another one is placed."""
        return self._ends(number, mchid, PAYERROR)

    def begins(self, number: str, *, mchid: str = "") -> Row:
        """Let the payer be at the password: a close is answered 202 meanwhile."""
        row = self.get(number, mchid=mchid)
        self._change(row, paying=1)
        return self.get(number, mchid=mchid)

    def leaves(self, number: str, *, mchid: str = "") -> Row:
        """Let the payer go away without paying."""
        row = self.get(number, mchid=mchid)
        self._change(row, paying=0)
        return self.get(number, mchid=mchid)

    def settle(self, now: float) -> None:
        """Close what nobody paid in time."""
        for row in self._store.all("SELECT * FROM combine_orders WHERE expires_at <= ?", now):
            if self._state(row) in (NOTPAY, PAYERROR):
                self._become(row, CLOSED)
            self._change(row, expires_at=None)

    def get(self, number: str, *, mchid: str = "") -> Row:
        """Return a combined order by either of its numbers; for whoever plays the payer."""
        rows = self._store.all(
            "SELECT * FROM combine_orders WHERE (combine_out_trade_no = ? OR combine_transaction_id = ?) "
            "AND ? IN ('', mchid)",
            number,
            number,
            mchid,
        )
        return only_one(rows, f"combined order {number}", code="ORDER_NOT_EXIST")

    def parts(self, row: Row) -> list[Row]:
        return self._store.all(
            "SELECT * FROM orders WHERE mchid = ? AND combine_out_trade_no = ? ORDER BY created_at, rowid",
            row["mchid"],
            row["combine_out_trade_no"],
        )

    def shown(self, row: Row) -> dict[str, Any]:
        """Return the combined order as queries and notifications show it."""
        return {
            "combine_appid": row["appid"],
            "combine_mchid": row["mchid"],
            "combine_out_trade_no": row["combine_out_trade_no"],
            "combine_transaction_id": row["combine_transaction_id"],
            "combine_payer_info": {"openid": row["openid"]},
            "scene_info": {"device_id": row["device_id"]} if row["device_id"] else None,
            "trade_scenario": row["trade_scenario"],
            "sub_orders": [self._shown_part(part) for part in self.parts(row)],
        }

    def _shown_part(self, part: Row) -> dict[str, Any]:
        paid = part["success_at"] is not None
        amount = {"total_amount": part["total"], "currency": "CNY"}
        if paid:
            amount |= {"payer_amount": part["total"], "payer_currency": "CNY", "settlement_rate": 10**8}
        shown = {
            "mchid": part["mchid"],
            "individual_auth_id": part["individual_auth_id"],
            "out_trade_no": part["out_trade_no"],
            "transaction_id": part["transaction_id"] if paid else None,
            "trade_type": part["trade_type"],
            "trade_state": part["trade_state"],
            "bank_type": "OTHERS" if paid else None,
            "attach": part["attach"],
            "success_time": rfc3339(part["success_at"]) if paid else None,
            "amount": amount,
        }
        return {name: value for name, value in shown.items() if value is not None}

    # Rules

    def _own(self, call: Call, asked: dict[str, Any]) -> None:
        if asked.get("combine_mchid", call.merchant.mchid) != call.merchant.mchid:
            raise Refused(400, "MCH_NOT_EXISTS", "combine_mchid is not who signed the request")
        if asked["combine_appid"] != call.merchant.appid:
            raise Refused(400, "APPID_MCHID_NOT_MATCH", "combine_appid is not bound to combine_mchid")
        if any(one["mchid"] != call.merchant.mchid for one in asked["sub_orders"]):
            raise Refused(400, "INVALID_REQUEST", "each part is the platform's: its mchid is combine_mchid")

    def _check(self, asked: dict[str, Any]) -> None:
        subs = asked["sub_orders"]
        mchid, appid = asked["combine_mchid"], asked["combine_appid"]
        if not 1 <= len(subs) <= MOST_PARTS:
            raise Refused(400, "PARAM_ERROR", f"1 to {MOST_PARTS} sub_orders are possible")
        numbers = [sub["out_trade_no"] for sub in subs]
        if len(set(numbers)) < len(numbers):
            raise Refused(400, "PARAM_ERROR", "each part wants an out_trade_no of its own")
        if any(self._sandbox.orders.by_number(mchid, number) for number in numbers):
            raise Refused(403, "OUT_TRADE_NO_USED", "an out_trade_no was used before")
        for sub in subs:
            if not self._sandbox.payees.is_payee(mchid, appid, sub["individual_auth_id"]):
                raise Refused(400, "INVALID_REQUEST", "individual_auth_id is not authorised")

    def _prepared(self, row: Row) -> Reply:
        """The prepay_id; one that is too old is replaced."""
        state = self._state(row)
        if state == CLOSED:
            raise Refused(400, "ORDER_CLOSED", "the order is closed")
        if state not in (NOTPAY, PAYERROR):
            raise Refused(400, "ORDER_PAID", "the order is paid")
        now = self._sandbox.clock.now()
        if row["prepay_at"] + PREPAY_SECONDS < now:
            self._change(row, prepay_id=f"wx{secrets.token_hex(16)}", prepay_at=now)
        return ok({"prepay_id": self._find(row["mchid"], row["combine_out_trade_no"])["prepay_id"]})

    def _ends(self, number: str, mchid: str, state: str) -> Row:
        with self._store.transaction():
            self._sandbox.settle()
            row = self.get(number, mchid=mchid)
            known = self._state(row)
            if known not in (NOTPAY, PAYERROR, state):
                raise Refused(409, "INVALID_REQUEST", f"the combined order is {known}")
            if known != state:
                self._become(row, state)
            return self.get(row["combine_out_trade_no"], mchid=row["mchid"])

    def _state(self, row: Row) -> str:
        return str(self.parts(row)[0]["trade_state"])

    def _become(self, row: Row, state: str) -> None:
        now = self._sandbox.clock.now()
        for part in self.parts(row):
            changes: dict[str, Any] = {"trade_state": state}
            if state == SUCCESS:
                changes["success_at"] = now
            self._store.update("orders", "transaction_id", part["transaction_id"], **changes)
        more: dict[str, Any] = {"paying": 0}
        if state == SUCCESS:
            more["combine_transaction_id"] = f"4300000001{compact_day(now)}{secrets.randbelow(10**10):010d}"
        self._change(row, **more)
        if state == SUCCESS:
            paid = self._find(row["mchid"], row["combine_out_trade_no"])
            self._sandbox.notifications.tell(
                paid["mchid"],
                "TRANSACTION.SUCCESS",
                paid["notify_url"],
                {name: value for name, value in self.shown(paid).items() if value is not None},
                about=paid["combine_out_trade_no"],
            )

    def _change(self, row: Row, **changes: Any) -> None:
        self._store.update("combine_orders", "prepay_id", row["prepay_id"], **changes)

    def _by_number(self, mchid: str, number: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM combine_orders WHERE mchid = ? AND combine_out_trade_no = ?", mchid, number
        )

    def _find(self, mchid: str, number: str) -> Row:
        if row := self._by_number(mchid, number):
            return row
        raise Refused(404, "ORDER_NOT_EXIST", "the order does not exist")


def _wrong(message: str) -> Refused:
    return Refused(400, "PARAM_ERROR", message)
