"""What the calls about service orders take."""

from __future__ import annotations

from typing import Any

from .engine.fields import BOTH, DIRECT, Field, Wrong, group, integer, one_of, several, text, url
from .engine.protocol import APPID
from .mainland import OPENIDS, ORDER_NUMBER, PARTIES, SUB_MCHID, china_time


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("must be true or false")
    return value


def _items(most: int, *, unique: bool = False) -> Any:
    item = group(
        Field("name", text(20), BOTH),
        Field("amount", integer(0), BOTH),
        Field("description", text(30)),
        Field("count", integer(1, 100)),
    )

    def check(value: Any) -> list[Any]:
        items = several(item)(value)
        if len(items) > most:
            raise Wrong(f"must have at most {most}")
        if unique and len({one["name"] for one in items}) < len(items):
            raise Wrong("must have names of their own")
        return items

    return check


_TIME_RANGE = group(
    Field("start_time", china_time),
    Field("end_time", china_time),
    Field("start_time_remark", text(20)),
    Field("end_time_remark", text(20)),
)
_LOCATION = group(Field("start_location", text(50)), Field("end_location", text(50)))
CREATE = (
    *PARTIES,
    *(Field(field.name, field.check, modes=field.modes) for field in OPENIDS),
    Field("service_id", text(32), BOTH),
    Field("sign_plan_id", text(32), BOTH),
    Field("plan_detail_no", integer(1), BOTH),
    Field("notify_url", url(), BOTH),
    Field("service_introduction", text(20), BOTH),
    Field("time_range", _TIME_RANGE, BOTH),
    Field("location", _LOCATION),
    Field("attach", text(256)),
    Field("out_trade_no", ORDER_NUMBER),
    Field("out_order_no", ORDER_NUMBER),
)
_OF = (Field("appid", APPID, DIRECT), *SUB_MCHID)
_SERVICE_ID = Field("service_id", text(32))  # where newer pages call it optional
OWN = (*_OF, Field("service_id", text(32), BOTH))
_PAYMENTS = Field("post_payments", _items(100), BOTH)
_DISCOUNTS = Field("post_discounts", _items(30, unique=True))
_TOTAL = Field("total_amount", integer(0), BOTH)
COMPLETE = (
    *OWN,
    _PAYMENTS,
    _DISCOUNTS,
    _TOTAL,
    Field("time_range", _TIME_RANGE),
    Field("location", _LOCATION),
    Field("profit_sharing", _flag),
    Field("goods_tag", text(32)),
)
CANCEL = (*_OF, _SERVICE_ID, Field("reason", text(50), BOTH))
MODIFY = (*_OF, Field("service_id", text(32), DIRECT), _PAYMENTS, _DISCOUNTS, _TOTAL, Field("reason", text(50), BOTH))
SYNC = (
    *OWN,
    Field("type", one_of("Order_Paid"), BOTH),
    Field("detail", group(Field("paid_time", china_time, BOTH)), BOTH),
)
PAY = (Field("appid", APPID), *SUB_MCHID, _SERVICE_ID)
