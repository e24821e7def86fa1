"""What the mainland's calls have in common: who asks, how China's times are written, what a repeat is."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from .engine.answers import Refused
from .engine.clock import CHINA
from .engine.fields import BOTH, DIRECT, INSTITUTION, Field, Wrong, text
from .engine.protocol import APPID, MCHID, Call, Party
from .engine.store import Row

PARTIES = (  # partners name their own appid so, too
    Field("appid", APPID, BOTH),
    Field("sub_mchid", MCHID, INSTITUTION, INSTITUTION),
    Field("sub_appid", APPID, modes=INSTITUTION),
)
SUB_MCHID = (Field("sub_mchid", MCHID, INSTITUTION, INSTITUTION),)
OPENIDS = (Field("openid", text(128), DIRECT), Field("sub_openid", text(128), modes=INSTITUTION))
ORDER_NUMBER = text(32, pattern=r"[0-9A-Za-z_\-|*]+")
NUMBER = text(32, pattern=r"[0-9A-Za-z_\-*]+")
# The services that this sandbox grants to everybody, and their largest values. The second is there to be confused.
SERVICE_ID, OTHER_SERVICE_ID = "00002000000000000000000000000001", "00002000000000000000000000000002"
PLAN_DURATION_MAX, DEDUCTION_QUANTITY_MAX, RISK_AMOUNT_MAX = 365, 30, 10_000_000
# The last part of a Request-ID, by which WeChat Pay's support tells reasons apart.
STATE_ILLEGAL, CANNOT_REVOKE, OTHER_PARAMETERS, ONLY_WHILE_PAYING = 271302262, 271316592, 271316598, 271316657
DEDUCTION_RUNNING, NOT_FOUND, ABOVE_RISK, END_BEFORE_START = 271316754, 271317510, 271316656, 271316637
NOT_BOUND = 268503786


def party_of(call: Call, asked: dict[str, Any], *, partner: bool) -> Party:
    """Return for whom a call speaks; refuse the path of the other mode."""
    if partner != (call.mode == INSTITUTION):
        right = "partner" if call.mode == INSTITUTION else "direct"
        raise Refused(403, "NO_AUTH", f"this merchant number calls the {right} paths")
    return call.party(asked)


def user_of(call: Call, asked: dict[str, Any]) -> dict[str, str]:
    """Return the one openid that a call names."""
    given: dict[str, str] = {name: asked[name] for name in ("openid", "sub_openid") if name in asked}
    if len(given) != 1:
        raise Refused(400, "PARAM_ERROR", "give exactly one of openid and sub_openid")
    if "sub_openid" in given and "sub_appid" not in asked:
        raise Refused(400, "PARAM_ERROR", "sub_openid wants sub_appid")
    return given


def must_be_granted(service_id: str) -> None:
    if service_id not in (SERVICE_ID, OTHER_SERVICE_ID):
        raise Refused(403, "NO_AUTH", "the merchant has no such service", reason=NOT_BOUND)


def only_one(rows: list[Row], what: str, *, code: str) -> Row:
    """Return the row that a number names to whoever plays the user; refuse one that several merchants use."""
    if not rows:
        raise Refused(404, code, f"no {what}")
    if len(rows) > 1:
        owners = ", ".join(sorted({row["mchid"] for row in rows}))
        raise Refused(409, "INVALID_REQUEST", f"there is more than one {what}: give its mchid ({owners}) or its id")
    return rows[0]


def same_again(known: str | None, asked: dict[str, Any]) -> bool:
    """Whether a number was used before with the same parameters; refuse it with others."""
    if known is None:
        return False
    if known != written(asked):
        raise Refused(400, "INVALID_REQUEST", "the number was used with other parameters", reason=OTHER_PARAMETERS)
    return True


def written(asked: dict[str, Any]) -> str:
    return json.dumps(asked, sort_keys=True, ensure_ascii=False)


def china_time(value: Any) -> str:
    """A check of `yyyyMMddHHmmss` or `yyyyMMdd`."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{8}([0-9]{6})?", value):
        raise Wrong("must be yyyyMMddHHmmss or yyyyMMdd")
    try:
        moment_of(value)
    except ValueError:
        raise Wrong("is no time") from None
    return value


def moment_of(value: str) -> float:
    return datetime.strptime(value.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=CHINA).timestamp()


def compact(moment: float) -> str:
    return datetime.fromtimestamp(moment, CHINA).strftime("%Y%m%d%H%M%S")


def shown_parties(row: dict[str, Any]) -> dict[str, str | None]:
    """Return the merchant's numbers as PayScore's messages carry them: a provider's are called as anybody's."""
    sub = {"sub_mchid": row["sub_mchid"], "sub_appid": row["sub_appid"]} if row["sub_mchid"] else {}
    return {"mchid": row["mchid"], "appid": row["appid"], **sub}
