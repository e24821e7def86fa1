"""WeChat's users, who have another openid under each appid."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from .engine.store import Row


def phone_openid(appid: str, *, user: str = "") -> str:
    """Return the openid of the one user whose phone the sandbox plays, or of another; another one per appid."""
    digest = hashlib.sha256(f"sandbox phone user {appid} {user}".strip().encode()).digest()
    return "o" + b64encode(digest, altchars=b"-_").decode()[:27]


def payer(order: Row) -> dict[str, str]:
    """Return the payer's openids: an institution's payer has one under each of the two appids."""
    if not order["sub_mchid"]:
        return {"openid": order["openid"]}
    if not order["sub_appid"]:
        return {"sp_openid": order["openid"]}
    is_phones = order["openid"] == phone_openid(order["sub_appid"])
    sp_openid = phone_openid(order["appid"], user="" if is_phones else order["openid"])
    return {"sp_openid": sp_openid, "sub_openid": order["openid"]}
