"""Settlements: one batch per trade day and currency, paid out two days later."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .engine.answers import Refused, Reply, ok
from .engine.clock import CHINA, china_day
from .engine.fields import BOTH, INSTITUTION, Field, one_of, query_integer, text
from .engine.money import RATES
from .engine.protocol import MCHID, Call
from .orders import REVOKED
from .statements import fee

if TYPE_CHECKING:
    from .emulator import Sandbox

SETTLED, UNSETTLE = "SETTLED", "UNSETTLE"
PAID_OUT_AFTER = timedelta(days=2)
LARGEST_PAGE = 30

_DAY = text(8, pattern=r"[0-9]{8}")
_QUERY = (
    Field("settle_state", one_of(SETTLED, UNSETTLE), BOTH),
    Field("settle_start_date", _DAY),
    Field("settle_end_date", _DAY),
    Field("limit", query_integer(1, LARGEST_PAGE), BOTH),
    Field("offset", query_integer(0), BOTH),
    Field("sub_mchid", MCHID, modes=INSTITUTION),
)


class Settlements:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    def query(self, call: Call) -> Reply:
        """GET /v3/global/settle/settlements: SETTLED by payout day, UNSETTLE whatever the days say."""
        asked = call.query(*_QUERY)
        party = call.party(asked)
        records = [
            record
            for record in self.records(party.mchid, asked.get("sub_mchid", ""))
            if (SETTLED if record.get("settlement_date") else UNSETTLE) == asked["settle_state"]
        ]
        if asked["settle_state"] == SETTLED:
            start, end = _days(asked)
            records = [record for record in records if start <= record["settlement_date"] <= end]
        page = records[asked["offset"] : asked["offset"] + asked["limit"]]
        return ok({"data": page, "total_count": len(records), "offset": asked["offset"], "limit": len(page)})

    def records(self, mchid: str, sub_mchid: str = "") -> list[dict[str, Any]]:
        """Return all batches of a merchant, oldest first: what happened, then what was added by hand."""
        today = china_day(self._sandbox.clock.now())
        percent = int(self._store.setting("split_percent", 0))
        made = [
            _record(day, currency, sub_mchid, sums, paid_out=day + PAID_OUT_AFTER <= today, split_percent=percent)
            for (day, currency), sums in sorted(self._sums(mchid, sub_mchid).items())
        ]
        by_hand = [
            one["record"]
            for one in self._store.setting("settlements", [])
            if one["mchid"] == mchid and sub_mchid in ("", one["sub_mchid"])
        ]
        return made + by_hand

    def add(self, record: dict[str, Any], *, mchid: str, sub_mchid: str = "") -> None:
        """Add a batch that never happened; without ``settlement_date`` it is UNSETTLE."""
        if mchid not in self._sandbox.merchants:
            raise Refused(400, "PARAM_ERROR", "mchid is not known here")
        known = self._store.setting("settlements", [])
        self._store.set_setting("settlements", [*known, {"mchid": mchid, "sub_mchid": sub_mchid, "record": record}])

    def split(self, percent: int) -> None:
        """Show this part of each batch as profit shared with others, beside the amounts, which stay; 0: none."""
        if not 0 <= percent <= 100:
            raise Refused(400, "PARAM_ERROR", "split_percent is 0 to 100")
        self._store.set_setting("split_percent", percent)

    def _sums(self, mchid: str, sub_mchid: str) -> dict[tuple[date, str], dict[str, int]]:
        sums: dict[tuple[date, str], dict[str, int]] = defaultdict(lambda: {"pay": 0, "refund": 0, "fee": 0})
        where = "mchid = ? AND ? IN ('', sub_mchid) AND success_at IS NOT NULL"
        paid = self._store.all(f"SELECT * FROM orders WHERE {where} AND trade_state != ?", mchid, sub_mchid, REVOKED)
        for order in paid:
            day = sums[china_day(order["success_at"]), order["currency"]]
            day["pay"] += order["total"]
            day["fee"] += fee(order["total"])
        returned = self._store.all(f"SELECT * FROM refunds WHERE {where} AND status = 'SUCCESS'", mchid, sub_mchid)
        for refund in returned:
            day = sums[china_day(refund["success_at"]), refund["currency"]]
            day["refund"] += refund["refund"]
            day["fee"] -= fee(refund["refund"])
        return sums


def _record(
    day: date, currency: str, sub_mchid: str, sums: dict[str, int], *, paid_out: bool, split_percent: int
) -> dict[str, Any]:
    net = sums["pay"] - sums["refund"]
    payout = (day + PAID_OUT_AFTER).strftime("%Y%m%d")
    amount = {
        **_due(net - sums["fee"], paid_out=paid_out),
        "currency": currency,
        "pay": sums["pay"],
        "refund": sums["refund"],
        "net": net,
        "fee": sums["fee"],
    }
    return {
        "batch_id": f"{payout}{sorted(RATES).index(currency) + 1:03d}{sub_mchid[-4:]}" if paid_out else None,
        "settlement_date": payout if paid_out else None,
        "trade_start_date": day.strftime("%Y%m%d"),
        "trade_end_date": day.strftime("%Y%m%d"),
        "amount": amount,
        "split_amount": _split(amount, split_percent, paid_out=paid_out) if split_percent else None,
        "wallet_region": "CHINA_MAINLAND",
    }


def _split(amount: dict[str, Any], percent: int, *, paid_out: bool) -> dict[str, Any]:
    part = {name: amount[name] * percent // 100 for name in ("pay", "refund")}
    worth = (amount["settled"] + amount["unsettle"]) * percent // 100
    return {**_due(worth, paid_out=paid_out), "currency": amount["currency"], **part}


def _due(worth: int, *, paid_out: bool) -> dict[str, int]:
    return {"settled": worth if paid_out else 0, "unsettle": 0 if paid_out else worth}


def _days(asked: dict[str, Any]) -> tuple[str, str]:
    for name in ("settle_start_date", "settle_end_date"):
        try:
            datetime.strptime(asked.get(name, ""), "%Y%m%d").replace(tzinfo=CHINA)
        except ValueError:
            detail = {"field": f"/{name}", "value": asked.get(name, ""), "issue": "is required", "location": "query"}
            raise Refused(400, "PARAM_ERROR", f"{name} must be yyyyMMdd with SETTLED", detail=detail) from None
    if asked["settle_end_date"] < asked["settle_start_date"]:
        detail = {
            "field": "/settle_end_date",
            "value": asked["settle_end_date"],
            "issue": "is before settle_start_date",
            "location": "query",
        }
        raise Refused(400, "PARAM_ERROR", "settle_end_date is before settle_start_date", detail=detail)
    return asked["settle_start_date"], asked["settle_end_date"]
