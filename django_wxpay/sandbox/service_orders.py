"""Service orders of sign plans: create, query, complete, cancel, sync, modify, pay; and what WeChat Pay collects."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from . import service_order_forms as forms
from . import special
from .engine.answers import LostAnswer, Refused, Reply, no_content, ok
from .engine.clock import compact_day
from .engine.fields import Field, text
from .engine.protocol import Call, Party
from .engine.store import Row
from .mainland import (
    ABOVE_RISK,
    CANNOT_REVOKE,
    DEDUCTION_RUNNING,
    END_BEFORE_START,
    NOT_FOUND,
    ONLY_WHILE_PAYING,
    ORDER_NUMBER,
    OTHER_PARAMETERS,
    RISK_AMOUNT_MAX,
    STATE_ILLEGAL,
    compact,
    moment_of,
    must_be_granted,
    only_one,
    party_of,
    same_again,
    shown_parties,
    user_of,
    written,
)
from .orders import PAYSCORE, SUCCESS
from .sign_plans import DETAIL_CANCELLED, USED, USING

if TYPE_CHECKING:
    from .emulator import Sandbox

CREATED, DOING, DONE, REVOKED, EXPIRED = "CREATED", "DOING", "DONE", "REVOKED", "EXPIRED"
USER_CONFIRM, MCH_COMPLETE = "USER_CONFIRM", "MCH_COMPLETE"
USER_PAYING, USER_PAID = "USER_PAYING", "USER_PAID"
NEWTON, MCH = "NEWTON", "MCH"
PAID_EVENT = "PAYSCORE.USER_PAID"


class ServiceOrders:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def create(self, call: Call, *, partner: bool = False) -> Reply:
        """POST /v3/payscore/sign-plan/serviceorder, or …/sign-plan/partner/serviceorder.

        The manual's samples and tables spell the number out_trade_no and out_order_no: either is taken.
        """
        asked = call.body(*forms.CREATE)
        party = party_of(call, asked, partner=partner)
        must_be_granted(asked["service_id"])
        user = user_of(call, asked)
        number = asked.get("out_trade_no") or asked.get("out_order_no")
        if not number:
            raise Refused(400, "PARAM_ERROR", "out_trade_no is required")
        known = self._by_number(party, number)
        if same_again(known["fingerprints"].get("create") if known else None, asked):
            assert known is not None
            return ok(self._shown(known, full=False))
        sign_plan, detail = self._sandbox.sign_plans.for_order(party, asked["sign_plan_id"], asked["plan_detail_no"])
        if asked["service_id"] != sign_plan["service_id"]:
            raise Refused(400, "INVALID_REQUEST", "service_id is not that of the sign plan")
        if number != detail["merchant_plan_detail_no"]:
            raise Refused(400, "PARAM_ERROR", "out_trade_no is not the merchant_plan_detail_no of this service")
        if any(user[name] != sign_plan[name] for name in user):
            raise Refused(400, "INVALID_REQUEST", "another user signed this plan")
        if "start_time" not in asked["time_range"]:
            raise Refused(400, "PARAM_ERROR", "time_range.start_time is required")
        self._check_order(asked["time_range"])
        order_id = f"1564{secrets.randbelow(10**16):016d}"
        self._store.insert(
            "service_orders",
            order_id=order_id,
            mchid=party.mchid,
            appid=party.appid,
            sub_mchid=party.sub_mchid,
            sub_appid=party.sub_appid,
            out_order_no=number,
            sign_plan_id=sign_plan["sign_plan_id"],
            plan_detail_no=detail["plan_detail_no"],
            service_id=asked["service_id"],
            openid=sign_plan["openid"],
            sub_openid=sign_plan["sub_openid"],
            service_introduction=asked["service_introduction"],
            attach=asked.get("attach"),
            notify_url=asked["notify_url"],
            time_range=asked["time_range"],
            location=asked.get("location"),
            state=DOING,
            state_description=USER_CONFIRM,
            created_at=self._sandbox.clock.now(),
            fingerprints={"create": written(asked)},
        )
        self._sandbox.sign_plans.advance(sign_plan["sign_plan_id"], detail["plan_detail_no"], USING, order_id=order_id)
        made = self._by_number(party, number)
        assert made is not None
        return ok(self._shown(made, full=False))

    def query(self, call: Call, *, partner: bool = False) -> Reply:
        """GET /v3/payscore/serviceorder?…, by out_order_no or query_id (which is order_id here)."""
        asked = call.query(*forms.OWN, Field("out_order_no", ORDER_NUMBER), Field("query_id", text(64)))
        if ("out_order_no" in asked) == ("query_id" in asked):
            raise Refused(400, "PARAM_ERROR", "give exactly one of out_order_no and query_id")
        if "query_id" in asked:
            return ok(self._shown(self._named(call, asked, asked["query_id"], partner=partner, column="order_id")))
        return ok(self._shown(self._named(call, asked, asked["out_order_no"], partner=partner)))

    def complete(self, call: Call, out_order_no: str, *, partner: bool = False) -> Reply:
        """POST …/serviceorder/{out_order_no}/complete."""
        asked = call.body(*forms.COMPLETE)
        order = self._named(call, asked, out_order_no, partner=partner)
        if self._repeated(order, "complete", asked):
            return self._answer(order, partner)
        if order["state_description"] != USER_CONFIRM:
            raise Refused(400, "INVALID_REQUEST", f"the order is {self._where(order)}", reason=STATE_ILLEGAL)
        total = self._total(asked)
        times = {**(order["time_range"] or {}), **asked.get("time_range", {})}
        self._check_times(times)
        outcome = special.of_collection(total)
        if outcome.first_only and self._store.count_try(order["mchid"], f"complete {out_order_no}") == 1:
            raise Refused(500, "SYSTEM_ERROR", f"special amount: {outcome.says}")
        now = self._sandbox.clock.now()
        paying = {"state": USER_PAYING, "total_amount": total, "paying_amount": total, "paid_amount": 0, "details": []}
        running = outcome.running and now + self._sandbox.clock.delay(outcome.running)
        due = now + self._sandbox.clock.delay(outcome.wait) if outcome.pays else None
        self._change(
            order,
            state_description=MCH_COMPLETE,
            post_payments=asked["post_payments"],
            post_discounts=asked.get("post_discounts"),
            total_amount=total,
            time_range=times,
            location={**(order["location"] or {}), **asked.get("location", {})} or None,
            collection=paying if total else None,
            due_at=due if total else now,
            running_until=running or None,
            special=outcome.number,
        )
        if not total:
            self.settle(now)
        reply = self._answer(self._again(order), partner)
        if outcome.answer_lost:
            reply.cut = LostAnswer()
        return reply

    def cancel(self, call: Call, out_order_no: str, *, partner: bool = False) -> Reply:
        """POST …/serviceorder/{out_order_no}/cancel: also while it is collected, but for a running deduction."""
        asked = call.body(*forms.CANCEL)
        order = self._named(call, asked, out_order_no, partner=partner)
        if not self._repeated(order, "cancel", asked):
            if order["state"] == REVOKED:
                raise Refused(400, "INVALID_REQUEST", "cancelled with other parameters", reason=OTHER_PARAMETERS)
            if order["state"] not in (CREATED, DOING):
                raise Refused(400, "INVALID_REQUEST", f"the order is {self._where(order)}", reason=CANNOT_REVOKE)
            self._must_not_run(order)
            if special.of_number(order["special"]).keeps:
                raise Refused(400, "INVALID_REQUEST", "当前订单状态不允许撤销", reason=CANNOT_REVOKE)
            self._change(order, state=REVOKED, state_description=None, due_at=None)
            self._advance(order, DETAIL_CANCELLED)
        if partner:
            return no_content()
        names = ("appid", "mchid", "out_order_no", "service_id", "order_id")
        return ok({name: order[name] for name in names})

    def sync(self, call: Call, out_order_no: str, *, partner: bool = False) -> Reply:
        """POST …/serviceorder/{out_order_no}/sync: the user paid the merchant another way."""
        asked = call.body(*forms.SYNC)
        order = self._named(call, asked, out_order_no, partner=partner)
        if not self._repeated(order, "sync", asked):
            self._must_collect(order)
            self._must_not_run(order)
            paid_time = asked["detail"]["paid_time"].ljust(14, "0")
            self._check_past("detail.paid_time", paid_time)
            entry = {"amount": order["total_amount"], "paid_type": MCH, "paid_time": paid_time}
            self._collect(order, entry, tell=False)
            if special.of_number(order["special"]).races:
                self._deduct(self._again(order))
        return self._answer(self._again(order), partner)

    def modify(self, call: Call, out_order_no: str, *, partner: bool = False) -> Reply:
        """POST …/serviceorder/{out_order_no}/modify: downwards, while it is collected."""
        asked = call.body(*forms.MODIFY)
        order = self._named(call, asked, out_order_no, partner=partner)
        if not self._repeated(order, "modify", asked):
            self._must_collect(order)
            self._must_not_run(order)
            total = self._total(asked)
            if total > order["total_amount"]:
                raise Refused(400, "PARAM_ERROR", "total_amount can only be lowered")
            self._change(
                order,
                post_payments=asked["post_payments"],
                post_discounts=asked.get("post_discounts"),
                total_amount=total,
                collection=order["collection"] | {"total_amount": total, "paying_amount": total},
                due_at=order["due_at"] if total else self._sandbox.clock.now(),
            )
        return self._answer(self._again(order), partner)

    def pay(self, call: Call, out_order_no: str, *, partner: bool = False) -> Reply:
        """POST …/serviceorder/{out_order_no}/pay: try the collection now, unless a deduction runs.

        What never pays does not now, either.
        """
        asked = call.body(*forms.PAY)
        order = self._named(call, asked, out_order_no, partner=partner)
        self._must_collect(order)
        if special.of_number(order["special"]).pays and not self._runs(order):
            self._deduct(order)
        if partner:
            return no_content()
        names = ("appid", "mchid", "out_order_no", "service_id", "order_id")
        return ok({name: order[name] for name in names})

    # What the user does

    def user_pays(self, number: str, *, mchid: str = "") -> Row:
        """Let the user pay what is collected, now."""
        with self._store.transaction():
            self._sandbox.settle()
            order = self.get(number, mchid=mchid)
            if order["state"] == DONE:
                return order
            if order["state_description"] != MCH_COMPLETE:
                raise Refused(409, "INVALID_REQUEST", f"the service order is {self._where(order)}")
            self._deduct(order)
            return self._again(order)

    def settle(self, now: float) -> None:
        """Let happen what is due: collections, and the end of what costs nothing."""
        for order in self._store.all("SELECT * FROM service_orders WHERE due_at <= ? ORDER BY due_at", now):
            if order["total_amount"]:
                self._deduct(order)
            else:
                self._change(order, state=DONE, state_description=None, due_at=None, collection=None)
                self._advance(order, USED)

    def next_due(self) -> float | None:
        row = self._store.one("SELECT MIN(due_at) AS moment FROM service_orders")
        return row["moment"] if row else None

    def get(self, number: str, *, mchid: str = "") -> Row:
        """Return a service order by either of its numbers; for whoever plays the user."""
        rows = self._store.all(
            "SELECT * FROM service_orders WHERE (out_order_no = ? OR order_id = ?) AND ? IN ('', mchid)",
            number,
            number,
            mchid,
        )
        return only_one(rows, f"service order {number}", code="ORDER_NOT_EXIST")

    def payload(self, order: Row) -> dict[str, Any]:
        """Return what a notification says of a service order."""
        return self._shown(order)

    # How a payment comes about

    def _deduct(self, order: Row) -> None:
        transaction_id = self._pay(order)
        entry = {
            "amount": order["total_amount"],
            "paid_type": NEWTON,
            "paid_time": compact(self._sandbox.clock.now()),
            "transaction_id": transaction_id,
        }
        self._collect(order, entry, tell=True)

    def _collect(self, order: Row, entry: dict[str, Any], *, tell: bool) -> None:
        known = order["collection"] or {"details": [], "paid_amount": 0, "total_amount": order["total_amount"]}
        details = [*known["details"], {"seq": len(known["details"]) + 1, **entry}]
        paid = known["paid_amount"] + entry["amount"]
        collection = known | {"state": USER_PAID, "paying_amount": 0, "paid_amount": paid, "details": details}
        self._change(order, state=DONE, state_description=None, collection=collection, due_at=None, running_until=None)
        self._advance(order, USED, actual_pay_price=order["total_amount"])
        if tell:
            paid_order = self._again(order)
            self._sandbox.notifications.tell(
                order["mchid"], PAID_EVENT, order["notify_url"], self.payload(paid_order), about=order["out_order_no"]
            )

    def _pay(self, order: Row) -> str:
        """Write down the payment as any other: refunds are asked for by its number. Its out_trade_no is ours alone."""
        now = self._sandbox.clock.now()
        transaction_id = f"4200000000{compact_day(now)}{secrets.randbelow(10**10):010d}"
        self._store.insert(
            "orders",
            transaction_id=transaction_id,
            mchid=order["mchid"],
            appid=order["appid"],
            sub_mchid=order["sub_mchid"],
            sub_appid=order["sub_appid"],
            product=PAYSCORE,
            trade_type="MWEB",
            out_trade_no=f"WX{secrets.randbelow(10**20):020d}",
            openid=order["openid"] or order["sub_openid"],
            description=order["service_introduction"],
            total=order["total_amount"],
            currency="CNY",
            payer_total=order["total_amount"],
            payer_currency="CNY",
            rate=10**8,
            trade_state=SUCCESS,
            created_at=now,
            success_at=now,
            fingerprint="",
        )
        return transaction_id

    # Rules

    def _total(self, asked: dict[str, Any]) -> int:
        given = sum(one["amount"] for one in asked["post_payments"])
        total = given - sum(one["amount"] for one in asked.get("post_discounts", ()))
        if asked["total_amount"] != total:
            raise Refused(400, "PARAM_ERROR", "total_amount is not post_payments less post_discounts")
        if total > RISK_AMOUNT_MAX:
            raise Refused(400, "PARAM_ERROR", "total_amount is above the risk amount", reason=ABOVE_RISK)
        if not total and not given:
            raise Refused(400, "PARAM_ERROR", "an item of 0 fen", reason=268435464)
        return total

    def _check_times(self, times: dict[str, str]) -> None:
        if "end_time" not in times:
            raise Refused(400, "PARAM_ERROR", "创建订单未填写服务结束时间,则结束时间必填")
        self._check_past("time_range.end_time", times["end_time"])
        self._check_order(times)

    def _check_order(self, times: dict[str, str]) -> None:
        if times.keys() >= {"start_time", "end_time"} and moment_of(times["end_time"]) < moment_of(times["start_time"]):
            raise Refused(400, "PARAM_ERROR", "end_time is before start_time", reason=END_BEFORE_START)

    def _check_past(self, name: str, value: str) -> None:
        if moment_of(value) > self._sandbox.clock.now() + 1:
            raise Refused(400, "PARAM_ERROR", f"{name} is later than now")

    def _must_collect(self, order: Row) -> None:
        if order["state_description"] != MCH_COMPLETE:
            code = "ORDER_DONE" if order["state"] == DONE else "INVALID_REQUEST"
            raise Refused(400, code, f"the order is {self._where(order)}", reason=ONLY_WHILE_PAYING)

    def _must_not_run(self, order: Row) -> None:
        if self._runs(order):
            raise Refused(400, "INVALID_REQUEST", "a deduction is in progress", reason=DEDUCTION_RUNNING)

    def _runs(self, order: Row) -> bool:
        return bool(order["running_until"] and order["running_until"] > self._sandbox.clock.now())

    def _repeated(self, order: Row, what: str, asked: dict[str, Any]) -> bool:
        """Whether this very request was carried out before; else remember it, unless it is refused afterwards."""
        known = order["fingerprints"].get(what)
        if known == written(asked):
            return True
        if known is not None and what != "modify":
            raise Refused(400, "INVALID_REQUEST", "订单重入参数校验失败", reason=OTHER_PARAMETERS)
        order["asked"] = {**order["fingerprints"], what: written(asked)}
        return False

    def _change(self, order: Row, **changes: Any) -> None:
        if "asked" in order:
            changes["fingerprints"] = order.pop("asked")
        self._store.update("service_orders", "order_id", order["order_id"], **changes)

    def _advance(self, order: Row, state: str, **more: Any) -> None:
        self._sandbox.sign_plans.advance(order["sign_plan_id"], order["plan_detail_no"], state, **more)

    def _where(self, order: Row) -> str:
        return " ".join(filter(None, (order["state"], order["state_description"])))

    def _answer(self, order: Row, partner: bool) -> Reply:
        return no_content() if partner else ok(self._shown(order, full=False))

    def _again(self, order: Row) -> Row:
        fresh = self._store.one("SELECT * FROM service_orders WHERE order_id = ?", order["order_id"])
        assert fresh is not None
        return fresh

    def _by_number(self, party: Party, number: str, *, column: str = "out_order_no") -> Row | None:
        return self._store.one(
            f"SELECT * FROM service_orders WHERE {column} = ? AND mchid = ? AND sub_mchid = ?",
            number,
            party.mchid,
            party.sub_mchid,
        )

    def _named(
        self, call: Call, asked: dict[str, Any], number: str, *, partner: bool, column: str = "out_order_no"
    ) -> Row:
        """Return the order that a call is about, or refuse: the caller's own, of the service that it names."""
        party = party_of(call, asked, partner=partner)
        service_id = asked.get("service_id")
        if service_id:
            must_be_granted(service_id)
        order = self._by_number(party, number, column=column)
        if not order:
            raise Refused(404, "ORDER_NOT_EXIST", "the order does not exist", reason=NOT_FOUND)
        if service_id not in (None, order["service_id"]):
            raise Refused(400, "INVALID_REQUEST", "service_id is not the order's")
        return order

    def _shown(self, order: Row, *, full: bool = True) -> dict[str, Any]:
        """Return the order as answers show it; notifications and queries also show what was collected."""
        shown = {
            **shown_parties(order),
            "out_order_no": order["out_order_no"],
            "service_id": order["service_id"],
            "service_introduction": order["service_introduction"],
            "state": order["state"],
            "state_description": order["state_description"],
            "post_payments": order["post_payments"],
            "post_discounts": order["post_discounts"],
            "time_range": order["time_range"],
            "location": order["location"],
            "attach": order["attach"],
            "notify_url": order["notify_url"],
            "order_id": order["order_id"],
            "total_amount": order["total_amount"],
            "need_collection": None if order["total_amount"] is None else bool(order["total_amount"]),
        }
        if full:
            shown |= {"openid": order["openid"], "sub_openid": order["sub_openid"], "collection": order["collection"]}
        return shown
