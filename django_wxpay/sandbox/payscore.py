"""PayScore plans: create, query, stop."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .engine.answers import Refused, Reply, ok
from .engine.clock import rfc3339
from .engine.fields import BOTH, Field, group, integer, several, text
from .engine.protocol import Call, Party
from .engine.store import Row
from .mainland import (
    DEDUCTION_QUANTITY_MAX,
    NUMBER,
    PARTIES,
    PLAN_DURATION_MAX,
    RISK_AMOUNT_MAX,
    SUB_MCHID,
    must_be_granted,
    party_of,
    same_again,
    shown_parties,
    written,
)

if TYPE_CHECKING:
    from .emulator import Sandbox

NORMAL, STOP = "NORMAL", "STOP"
_DETAIL = group(
    Field("plan_detail_name", text(20), BOTH),
    Field("original_price", integer(0), BOTH),
    Field("actual_price", integer(0), BOTH),
    Field("plan_discount_description", text(20, shortest=0)),
)
_PLAN = (
    *PARTIES,
    Field("service_id", text(32), BOTH),
    Field("plan_name", text(20), BOTH),
    Field("plan_duration", integer(1), BOTH),
    Field("deduction_quantity", integer(1), BOTH),
    Field("total_original_price", integer(0), BOTH),
    Field("total_actual_price", integer(0), BOTH),
    Field("plan_detail_list", several(_DETAIL), BOTH),
    Field("merchant_plan_no", NUMBER, BOTH),
)


class Payscore:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    def create(self, call: Call, *, partner: bool = False) -> Reply:
        """POST /v3/payscore/plan/payscore-plans, or …/plan/partner/payscore-plans."""
        asked = call.body(*_PLAN)
        party = party_of(call, asked, partner=partner)
        must_be_granted(asked["service_id"])
        known = self._by_number(party, asked["merchant_plan_no"])
        if same_again(known["fingerprint"] if known else None, asked):
            assert known is not None
            return ok(self._shown(known))
        details = asked["plan_detail_list"]
        self._check(asked, details)
        self._store.insert(
            "payscore_plans",
            plan_id=f"0100{secrets.randbelow(10**28):028d}",
            mchid=party.mchid,
            appid=party.appid,
            sub_mchid=party.sub_mchid,
            sub_appid=party.sub_appid,
            merchant_plan_no=asked["merchant_plan_no"],
            service_id=asked["service_id"],
            plan_name=asked["plan_name"],
            plan_duration=asked["plan_duration"],
            details=[{"plan_detail_no": place, **detail} for place, detail in enumerate(details, 1)],
            plan_state=NORMAL,
            created_at=self._sandbox.clock.now(),
            fingerprint=written(asked),
        )
        return ok(self._shown(self._find(party, asked["merchant_plan_no"])))

    def query(self, call: Call, merchant_plan_no: str, *, partner: bool = False) -> Reply:
        """GET …/payscore-plans/merchant-plan-no/{merchant_plan_no}."""
        party = party_of(call, call.query(*SUB_MCHID), partner=partner)
        return ok(self._shown(self._find(party, merchant_plan_no)))

    def stop(self, call: Call, merchant_plan_no: str, *, partner: bool = False) -> Reply:
        """POST …/payscore-plans/merchant-plan-no/{merchant_plan_no}/stop."""
        party = party_of(call, call.body(*SUB_MCHID), partner=partner)
        plan = self._find(party, merchant_plan_no)
        if plan["plan_state"] == STOP:
            raise Refused(400, "INVALID_REQUEST", "the plan is stopped already")
        self.stop_by_hand(plan["plan_id"])
        return ok(self._shown(self._find(party, merchant_plan_no)))

    def stop_by_hand(self, plan_id: str) -> None:
        """Stop a plan, as a person does in the merchant platform."""
        now = self._sandbox.clock.now()
        self._store.update("payscore_plans", "plan_id", plan_id, plan_state=STOP, stop_at=now)

    def get(self, plan_id: str) -> Row | None:
        return self._store.one("SELECT * FROM payscore_plans WHERE plan_id = ?", plan_id)

    def _by_number(self, party: Party, merchant_plan_no: str) -> Row | None:
        return self._store.one(
            "SELECT * FROM payscore_plans WHERE merchant_plan_no = ? AND mchid = ? AND sub_mchid = ?",
            merchant_plan_no,
            party.mchid,
            party.sub_mchid,
        )

    def _find(self, party: Party, merchant_plan_no: str) -> Row:
        if plan := self._by_number(party, merchant_plan_no):
            return plan
        raise Refused(404, "RESOURCE_NOT_EXISTS", "the plan does not exist")

    def _check(self, asked: dict[str, Any], details: list[dict[str, Any]]) -> None:
        problems = {
            "plan_duration is more than the service allows": asked["plan_duration"] > PLAN_DURATION_MAX,
            "deduction_quantity is more than the service allows": asked["deduction_quantity"] > DEDUCTION_QUANTITY_MAX,
            "deduction_quantity is not the number of plan_detail_list": asked["deduction_quantity"] != len(details),
            "actual_price is more than original_price": any(
                one["actual_price"] > one["original_price"] for one in details
            ),
            "actual_price rises": any(
                later["actual_price"] > one["actual_price"] for one, later in zip(details, details[1:], strict=False)
            ),
            "actual_price is above the risk amount": any(one["actual_price"] > RISK_AMOUNT_MAX for one in details),
            "total_original_price is not the sum": asked["total_original_price"]
            != sum(one["original_price"] for one in details),
            "total_actual_price is not the sum": asked["total_actual_price"]
            != sum(one["actual_price"] for one in details),
        }
        for says, is_so in problems.items():
            if is_so:
                raise Refused(400, "PARAM_ERROR", says)

    def _shown(self, plan: Row) -> dict[str, Any]:
        return {
            "plan_id": plan["plan_id"],
            "service_id": plan["service_id"],
            **shown_parties(plan),
            "merchant_plan_no": plan["merchant_plan_no"],
            "plan_name": plan["plan_name"],
            "plan_duration": plan["plan_duration"],
            "plan_state": plan["plan_state"],
            "total_original_price": sum(one["original_price"] for one in plan["details"]),
            "deduction_quantity": len(plan["details"]),
            "total_actual_price": sum(one["actual_price"] for one in plan["details"]),
            "plan_detail_list": plan["details"],
            "stop_mchid": plan["mchid"] if plan["stop_at"] else None,
            "stop_time": rfc3339(plan["stop_at"]) if plan["stop_at"] else None,
        }
