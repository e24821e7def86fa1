"""What happened, as people and scripts read it: ``GET /_sandbox/state`` and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine.clock import rfc3339
from .engine.store import Row

if TYPE_CHECKING:
    from .emulator import Sandbox

ROWS_SHOWN = 200
HIDDEN_COLUMNS = frozenset({"private_key", "fingerprint", "fingerprints", "due_next"})
TABLES = {
    "sub_merchants": "mchid, sub_mchid",
    "plans": "mchid, plan_id",
    "sessions": "created_at, rowid",
    "contracts": "signed_at, rowid",
    "orders": "created_at, rowid",
    "refunds": "created_at, rowid",
    "payscore_plans": "created_at, rowid",
    "sign_plans": "created_at, rowid",
    "service_orders": "created_at, rowid",
    "combine_orders": "created_at, rowid",
    "payees": "operation_at, rowid",
    "payee_attempts": "created_at, rowid",
    "faults": "seq",
}


def describe(sandbox: Sandbox, *, limit: int = ROWS_SHOWN) -> dict[str, Any]:
    """Return everything that happened, oldest first; no private keys, no APIv3 key.

    limit: of calls and notifications, only the newest; the objects are all there.
    """
    store = sandbox.store
    sandbox.settle()
    with store.transaction():
        rows = {name: store.all(f"SELECT * FROM {name} ORDER BY {order}") for name, order in TABLES.items()}
        calls = store.all("SELECT * FROM calls ORDER BY seq DESC LIMIT ?", limit)[::-1]
        return {
            "base_url": sandbox.base_url,
            "version": version(sandbox),
            "clock": {
                "now": rfc3339(sandbox.clock.now()),
                "speed": sandbox.clock.speed,
                "shift": sandbox.clock.shift,
                "skew": sandbox.clock.skew,
            },
            "merchants": [vars(merchant) for merchant in sandbox.merchants.values()],
            "public_key_id": sandbox.keys.public_key_id,
            "public_key_share": store.setting("public_key_share", 0),
            "certificates": [shown(row) for row in sandbox.certificates.all()],
            **{name: [shown(row) for row in found] for name, found in rows.items()},
            "notifications": [shown(row) for row in sandbox.notifications.all(limit)],
            "calls": [shown(row) for row in calls],
        }


def version(sandbox: Sandbox) -> str:
    """Return a text that changes whenever something happened, for pages that watch."""
    row = sandbox.store.one(
        "SELECT (SELECT COUNT(*) FROM calls) || '-' || (SELECT COALESCE(MAX(seq), 0) FROM calls) || '-' || "
        "(SELECT COALESCE(SUM(LENGTH(attempts) + LENGTH(state)), 0) FROM notifications) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(state, 1, 3)), '') FROM sessions) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(state, 1, 1)), '') FROM contracts) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(trade_state, 1, 2)), '') FROM orders) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(sign_state, 1, 11)), '') FROM sign_plans) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(state, 1, 3)), '') FROM service_orders) || '-' || "
        "(SELECT COALESCE(GROUP_CONCAT(SUBSTR(auth_state, 1, 1)), '') FROM payees) || '-' || "
        "(SELECT COALESCE(SUM(seq), 0) FROM faults) AS text"
    )
    assert row is not None
    return f"{hash(row['text']) & 0xFFFFFFFFFFFF:x}"


def shown(row: Row) -> Row:
    """Return a row for people: times as text, nothing secret."""
    result = {}
    for name, value in row.items():
        if name in HIDDEN_COLUMNS:
            continue
        is_time = value is not None and (name.endswith("_at") or name == "at")
        result[name] = rfc3339(value) if is_time else value
    return result
