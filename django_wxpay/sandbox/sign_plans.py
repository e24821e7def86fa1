"""User sign plans: create, what the user does on the phone, query, cancel."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .engine.answers import Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.fields import BOTH, Field, group, integer, several, text, url
from .engine.protocol import Call, Party
from .engine.store import Row
from .mainland import (
    NUMBER,
    OPENIDS,
    PARTIES,
    STATE_ILLEGAL,
    SUB_MCHID,
    must_be_granted,
    only_one,
    party_of,
    same_again,
    shown_parties,
    user_of,
    written,
)
from .payscore import NORMAL

if TYPE_CHECKING:
    from .emulator import Sandbox

PACKAGE_SECONDS = 7200
UNSIGNED, SIGNED, CANCELLED = "UNSIGNED", "SIGNED", "SIGN_PLAN_CANCEL"
COMPLETE, EXPIRE = "COMPLETE", "EXPIRE"
NOT_CANCEL, BY_USER, BY_MERCHANT, REVOKED = "NOT_CANCEL", "USER", "MERCHANT", "REVOKE_SERVICE"
NOT_USED, USING, USED, DETAIL_CANCELLED = "NOT_USED", "USING", "USED", "SIGN_PLAN_DETAIL_CANCEL"
SIGNED_EVENT, CANCELLED_EVENT = "PAYSCORE.USER_SIGN_PLAN", "PAYSCORE.USER_CANCEL_SIGN_PLAN"

_NAMED = group(Field("plan_detail_no", integer(1), BOTH), Field("merchant_plan_detail_no", NUMBER, BOTH))
_SIGN_PLAN = (
    *PARTIES,
    *OPENIDS,
    Field("service_id", text(32), BOTH),
    Field("plan_id", text(32), BOTH),
    Field("merchant_sign_plan_no", NUMBER, BOTH),
    Field("notify_url", url(1024), BOTH),
    Field("sign_plan_detail", several(_NAMED), BOTH),
)


class SignPlans:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    # What the merchant asks

    def create(self, call: Call, *, partner: bool = False) -> Reply:
        """POST /v3/payscore/sign-plan/user-sign-plans, or …/sign-plan/partner/user-sign-plans."""
        asked = call.body(*_SIGN_PLAN)
        party = party_of(call, asked, partner=partner)
        must_be_granted(asked["service_id"])
        user = user_of(call, asked)
        known = self._by_number(party, asked["merchant_sign_plan_no"])
        if same_again(known["fingerprint"] if known else None, asked):
            assert known is not None
            return ok({"sign_plan": self.shown(known), "package": known["package"]})
        plan = self._sandbox.payscore.get(asked["plan_id"])
        if not plan or (plan["mchid"], plan["sub_mchid"]) != (party.mchid, party.sub_mchid):
            raise Refused(404, "RESOURCE_NOT_EXISTS", "the plan does not exist")
        if asked["service_id"] != plan["service_id"]:
            raise Refused(400, "INVALID_REQUEST", "service_id is not that of the plan")
        if plan["plan_state"] != NORMAL:
            raise Refused(400, "INVALID_REQUEST", f"the plan is {plan['plan_state']}", reason=STATE_ILLEGAL)
        now = self._sandbox.clock.now()
        self._store.insert(
            "sign_plans",
            sign_plan_id=f"0102{secrets.randbelow(10**28):028d}",
            mchid=party.mchid,
            appid=party.appid,
            sub_mchid=party.sub_mchid,
            sub_appid=party.sub_appid,
            openid=user.get("openid"),
            sub_openid=user.get("sub_openid"),
            merchant_sign_plan_no=asked["merchant_sign_plan_no"],
            plan_id=plan["plan_id"],
            service_id=asked["service_id"],
            notify_url=asked["notify_url"],
            details=self._named(party, plan, asked["sign_plan_detail"]),
            package=secrets.token_urlsafe(48) + "+/=",  # made to be percent-encoded
            sign_state=UNSIGNED,
            created_at=now,
            package_ends_at=now + PACKAGE_SECONDS,
            over_at=now + plan["plan_duration"] * 86400,
            cancel_type=NOT_CANCEL,
            fingerprint=written(asked),
        )
        made = self._find(party, asked["merchant_sign_plan_no"])
        return ok({"sign_plan": self.shown(made), "package": made["package"]})

    def query(self, call: Call, merchant_sign_plan_no: str, *, partner: bool = False) -> Reply:
        """GET …/user-sign-plans/merchant-sign-plan-no/{merchant_sign_plan_no}."""
        party = party_of(call, call.query(*SUB_MCHID), partner=partner)
        return ok(self.shown(self._find(party, merchant_sign_plan_no)))

    def cancel(self, call: Call, merchant_sign_plan_no: str, *, partner: bool = False) -> Reply:
        """POST …/user-sign-plans/merchant-sign-plan-no/{merchant_sign_plan_no}/stop: nobody is notified."""
        asked = call.body(*SUB_MCHID, Field("stop_reason", text(128), BOTH))
        row = self._find(party_of(call, asked, partner=partner), merchant_sign_plan_no)
        if row["sign_state"] != SIGNED:
            raise Refused(400, "INVALID_REQUEST", f"the sign plan is {row['sign_state']}", reason=STATE_ILLEGAL)
        self._end(row, BY_MERCHANT, asked["stop_reason"])
        return ok(self.shown(self._again(row)))

    # What the user does

    def confirm(self, number: str, *, mchid: str = "") -> Row:
        """Sign, by merchant_sign_plan_no or package."""
        with self._store.transaction():
            self._sandbox.settle()
            row = self.get(number, mchid=mchid)
            if row["sign_state"] == SIGNED:
                return row
            now = self._sandbox.clock.now()
            if row["sign_state"] != UNSIGNED or row["package_ends_at"] <= now:
                says = row["sign_state"] if row["sign_state"] != UNSIGNED else "too old to be signed"
                raise Refused(409, "INVALID_REQUEST", f"the sign plan is {says}")
            plan = self._sandbox.payscore.get(row["plan_id"])
            assert plan is not None
            over_at = now + plan["plan_duration"] * 86400
            self._change(row, sign_state=SIGNED, signed_at=now, over_at=over_at)
            return self._tell(SIGNED_EVENT, row)

    def cancel_by_user(self, number: str, *, mchid: str = "") -> Row:
        """Cancel inside WeChat, as its user can at any time."""
        return self._ended_by_user(number, mchid, BY_USER)

    def revoke_service(self, number: str, *, mchid: str = "") -> Row:
        """Revoke the whole service, which cancels its plans; the notice then says that nobody ever signed."""
        return self._ended_by_user(number, mchid, REVOKED)

    def _ended_by_user(self, number: str, mchid: str, how: str) -> Row:
        with self._store.transaction():
            self._sandbox.settle()
            row = self.get(number, mchid=mchid)
            if row["sign_state"] == CANCELLED:
                return row
            if row["sign_state"] != SIGNED:
                raise Refused(409, "INVALID_REQUEST", f"the sign plan is {row['sign_state']}")
            self._end(row, how, "")
            awkward = {"sign_state": UNSIGNED} if how == REVOKED else {}
            return self._tell(CANCELLED_EVENT, row, **awkward)

    # What its service orders do to it

    def for_order(self, party: Party, sign_plan_id: str, plan_detail_no: int) -> tuple[Row, dict[str, Any]]:
        """Return the sign plan and its service that an order may begin with, or refuse."""
        row = self._store.one("SELECT * FROM sign_plans WHERE sign_plan_id = ?", sign_plan_id)
        if not row or (row["mchid"], row["sub_mchid"]) != (party.mchid, party.sub_mchid):
            raise Refused(404, "RESOURCE_NOT_EXISTS", "the sign plan does not exist")
        if row["sign_state"] != SIGNED:
            raise Refused(400, "INVALID_REQUEST", f"the sign plan is {row['sign_state']}", reason=STATE_ILLEGAL)
        if plan_detail_no > len(row["details"]):
            raise Refused(400, "PARAM_ERROR", "plan_detail_no is none of this sign plan")
        for detail in row["details"]:
            if detail["plan_detail_no"] == plan_detail_no:
                if detail["plan_detail_state"] != NOT_USED:
                    raise Refused(
                        400, "INVALID_REQUEST", f"the service is {detail['plan_detail_state']}", reason=STATE_ILLEGAL
                    )
                return row, detail
            if detail["plan_detail_state"] not in (USED, DETAIL_CANCELLED):
                raise Refused(
                    400, "INVALID_REQUEST", "an earlier service is neither paid nor cancelled", reason=STATE_ILLEGAL
                )
        raise AssertionError("the services of a plan are numbered from 1")

    def advance(self, sign_plan_id: str, plan_detail_no: int, state: str, **more: Any) -> None:
        """Write down what became of a service."""
        row = self._by_id(sign_plan_id)
        now = rfc3339(self._sandbox.clock.now())
        when = {USING: "use_time", USED: "complete_time", DETAIL_CANCELLED: "cancel_time"}[state]
        details = [
            detail | {"plan_detail_state": state, when: now, **more}
            if detail["plan_detail_no"] == plan_detail_no
            else detail
            for detail in row["details"]
        ]
        over = all(detail["plan_detail_state"] in (USED, DETAIL_CANCELLED) for detail in details)
        going = plan_detail_no if state == USING else row["going"]
        self._change(row, details=details, going=going)
        if over and row["sign_state"] == SIGNED:
            self._change(row, sign_state=COMPLETE)

    def expire(self, now: float) -> None:
        self._store.run(
            "UPDATE sign_plans SET sign_state = ? WHERE sign_state = ? AND over_at <= ?", EXPIRE, SIGNED, now
        )

    # Plain looks

    def get(self, number: str, *, mchid: str = "") -> Row:
        """Return a sign plan by either of its numbers or by its package; for whoever plays the user."""
        rows = self._store.all(
            "SELECT * FROM sign_plans WHERE (sign_plan_id = ? OR merchant_sign_plan_no = ? OR package = ?) "
            "AND ? IN ('', mchid)",
            number,
            number,
            number,
            mchid,
        )
        return only_one(rows, f"sign plan {number}", code="RESOURCE_NOT_EXISTS")

    def shown(self, row: Row) -> dict[str, Any]:
        """Return the sign plan as WeChat Pay writes it: what is absent is an empty text, or 0."""
        plan = self._sandbox.payscore.get(row["plan_id"])
        assert plan is not None
        cancelled = row["cancelled_at"]
        return {
            "sign_plan_id": row["sign_plan_id"],
            "openid": row["openid"],
            "sub_openid": row["sub_openid"],
            "service_id": row["service_id"],
            **shown_parties(row),
            "merchant_sign_plan_no": row["merchant_sign_plan_no"],
            "merchant_callback_url": row["notify_url"],
            "plan_id": row["plan_id"],
            "going_detail_no": row["going"] or 0,
            "sign_state": row["sign_state"],
            "cancel_sign_time": rfc3339(cancelled) if cancelled else "",
            "cancel_sign_type": row["cancel_type"],
            "cancel_reason": row["cancel_reason"] or "",
            "plan_name": plan["plan_name"],
            "plan_over_time": rfc3339(row["over_at"]),
            "total_origin_price": sum(one["original_price"] for one in row["details"]),
            "deduction_quantity": len(row["details"]),
            "total_actual_price": sum(one["actual_price"] for one in row["details"]),
            "sign_time": rfc3339(row["signed_at"]) if row["signed_at"] else None,
            "signed_detail_list": row["details"],
        }

    def _named(self, party: Party, plan: Row, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if [one["plan_detail_no"] for one in given] != [one["plan_detail_no"] for one in plan["details"]]:
            raise Refused(400, "PARAM_ERROR", "sign_plan_detail must have each service of the plan, in its order")
        numbers = [one["merchant_plan_detail_no"] for one in given]
        taken = {
            one["merchant_plan_detail_no"]
            for row in self._store.all("SELECT details FROM sign_plans WHERE mchid = ?", party.mchid)
            for one in row["details"]
        }
        if len(set(numbers)) < len(numbers) or taken.intersection(numbers):
            raise Refused(400, "INVALID_REQUEST", "merchant_plan_detail_no was used before")
        return [
            {
                "plan_detail_no": one["plan_detail_no"],
                "plan_detail_name": one["plan_detail_name"],
                "original_price": one["original_price"],
                "plan_discount_description": one.get("plan_discount_description", ""),
                "actual_price": one["actual_price"],
                "plan_detail_state": NOT_USED,
                "order_id": "",
                "merchant_plan_detail_no": number,
                "actual_pay_price": 0,
                "use_time": "",
                "complete_time": "",
                "cancel_time": "",
            }
            for one, number in zip(plan["details"], numbers, strict=True)
        ]

    def _end(self, row: Row, how: str, reason: str) -> None:
        now = self._sandbox.clock.now()
        self._change(row, sign_state=CANCELLED, cancelled_at=now, cancel_type=how, cancel_reason=reason)

    def _change(self, row: Row, **changes: Any) -> None:
        self._store.update("sign_plans", "sign_plan_id", row["sign_plan_id"], **changes)

    def _tell(self, event_type: str, row: Row, **awkward: Any) -> Row:
        fresh = self._again(row)
        self._sandbox.notifications.tell(
            fresh["mchid"],
            event_type,
            fresh["notify_url"],
            self.shown(fresh) | awkward,
            about=fresh["merchant_sign_plan_no"],
        )
        return fresh

    def _again(self, row: Row) -> Row:
        return self._by_id(row["sign_plan_id"])

    def _by_id(self, sign_plan_id: str) -> Row:
        row = self._store.one("SELECT * FROM sign_plans WHERE sign_plan_id = ?", sign_plan_id)
        assert row is not None
        return row

    def _by_number(self, party: Party, number: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM sign_plans WHERE merchant_sign_plan_no = ? AND mchid = ? AND sub_mchid = ?",
            number,
            party.mchid,
            party.sub_mchid,
        )

    def _find(self, party: Party, number: str) -> Row:
        if row := self._by_number(party, number):
            return row
        raise Refused(404, "RESOURCE_NOT_EXISTS", "the sign plan does not exist")
