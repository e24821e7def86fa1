"""The balance that a merchant keeps for refunds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine.answers import Refused, Reply, ok
from .engine.protocol import Call

if TYPE_CHECKING:
    from .emulator import Sandbox

RECHARGE = "REFUND_SOURCE_RECHARGE_FUNDS"
BALANCE_AT_FIRST = 1_000_000_00


class Recharge:
    def __init__(self, sandbox: Sandbox) -> None:
        self._store = sandbox.store

    def query(self, call: Call, sub_mchid: str = "") -> Reply:
        """GET /v3/global/refund/recharge-balance, or …/partner/recharge-balance/sub-mchid/{sub_mchid}."""
        if sub_mchid:
            call.party({"sub_mchid": sub_mchid})
        return ok({"remaining_amount": self.left(call.merchant.mchid, sub_mchid), "currency": "HKD"})

    def set(self, amount: int) -> None:
        """Keep that much, in minor units; what refunds took from it is taken again."""
        self._store.set_setting("recharge_balance", amount)

    def must_hold(self, amount: int, mchid: str, sub_mchid: str) -> None:
        if amount > self.left(mchid, sub_mchid):
            raise Refused(403, "NOT_ENOUGH", "the recharge balance is too low")

    def left(self, mchid: str, sub_mchid: str) -> int:
        spent = self._store.one(
            "SELECT COALESCE(SUM(refund), 0) AS total FROM refunds "
            "WHERE mchid = ? AND sub_mchid = ? AND fund_source = ? AND status != 'CLOSED'",
            mchid,
            sub_mchid,
            RECHARGE,
        )
        assert spent is not None
        return int(self._store.setting("recharge_balance", BALANCE_AT_FIRST)) - int(spent["total"])
