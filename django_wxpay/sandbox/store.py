"""What the sandbox remembers: one SQLite file, or memory for a sandbox that lives inside a test.

One connection behind one lock: requests are handled one after the other, each in a transaction of its own. That
is slower than WeChat Pay and exactly as serial, which is what an emulator wants.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS certificates (
    serial TEXT PRIMARY KEY, private_key TEXT NOT NULL, certificate TEXT NOT NULL,
    effective_at REAL NOT NULL, expires_at REAL NOT NULL, listed INTEGER NOT NULL, signs INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sub_merchants (mchid TEXT NOT NULL, sub_mchid TEXT NOT NULL, sub_appid TEXT NOT NULL,
    PRIMARY KEY (mchid, sub_mchid, sub_appid));
CREATE TABLE IF NOT EXISTS plans (mchid TEXT NOT NULL, plan_id INTEGER NOT NULL, success_notify_url TEXT,
    termination_url TEXT, PRIMARY KEY (mchid, plan_id));
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    channel TEXT NOT NULL, plan_id INTEGER NOT NULL, out_contract_code TEXT NOT NULL, user_display_name TEXT,
    openid TEXT, success_notify_url TEXT, return_url TEXT, created_at REAL NOT NULL, expires_at REAL NOT NULL,
    state TEXT NOT NULL, contract_id TEXT);
CREATE INDEX IF NOT EXISTS sessions_by_code ON sessions (mchid, sub_mchid, out_contract_code);
CREATE TABLE IF NOT EXISTS contracts (
    contract_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    plan_id INTEGER NOT NULL, out_contract_code TEXT NOT NULL, user_display_name TEXT, openid TEXT,
    state TEXT NOT NULL, signed_at REAL, terminated_at REAL, termination_mode TEXT, termination_note TEXT,
    UNIQUE (mchid, sub_mchid, out_contract_code));
CREATE TABLE IF NOT EXISTS orders (
    transaction_id TEXT PRIMARY KEY, mchid TEXT NOT NULL, appid TEXT, sub_mchid TEXT NOT NULL, sub_appid TEXT,
    product TEXT NOT NULL, trade_type TEXT NOT NULL, out_trade_no TEXT NOT NULL, contract_id TEXT, openid TEXT,
    description TEXT, attach TEXT, goods_tag TEXT, merchant_category_code TEXT, device_id TEXT, notify_url TEXT,
    total INTEGER NOT NULL, currency TEXT NOT NULL, payer_total INTEGER, payer_currency TEXT, rate INTEGER,
    trade_state TEXT NOT NULL, created_at REAL NOT NULL, success_at REAL, reversed_at REAL,
    due_at REAL, due_state TEXT, special INTEGER, fingerprint TEXT NOT NULL,
    UNIQUE (mchid, out_trade_no));
CREATE INDEX IF NOT EXISTS orders_due ON orders (due_at);
CREATE TABLE IF NOT EXISTS refunds (
    refund_id TEXT PRIMARY KEY, transaction_id TEXT NOT NULL, mchid TEXT NOT NULL, sub_mchid TEXT NOT NULL,
    out_trade_no TEXT NOT NULL, out_refund_no TEXT NOT NULL, refund INTEGER NOT NULL, total INTEGER NOT NULL,
    currency TEXT NOT NULL, payer_refund INTEGER, reason TEXT, fund_source TEXT, notify_url TEXT,
    status TEXT NOT NULL, created_at REAL NOT NULL, success_at REAL, due_at REAL, due_status TEXT,
    due_next TEXT, made_elsewhere INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    UNIQUE (mchid, out_refund_no));
CREATE INDEX IF NOT EXISTS refunds_by_order ON refunds (transaction_id);
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (due_at);
CREATE TABLE IF NOT EXISTS tries (mchid TEXT NOT NULL, number TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (mchid, number));
CREATE TABLE IF NOT EXISTS used_codes (code_hash TEXT PRIMARY KEY, mchid TEXT NOT NULL, out_trade_no TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notifications (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, notification_id TEXT UNIQUE NOT NULL, mchid TEXT NOT NULL,
    event_type TEXT NOT NULL, about TEXT NOT NULL, url TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, next_at REAL, fault TEXT, attempts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (next_at);
CREATE TABLE IF NOT EXISTS faults (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, kind TEXT NOT NULL, pattern TEXT NOT NULL,
    method TEXT NOT NULL, skip INTEGER NOT NULL, times INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, mchid TEXT, method TEXT NOT NULL, target TEXT NOT NULL,
    body TEXT, status INTEGER, code TEXT, request_id TEXT, fault TEXT, ignored TEXT);
"""

JSON_COLUMNS = frozenset({"attempts", "options", "fault", "ignored"})
Row = dict[str, Any]


class Store:
    """Tables with four verbs. ``transaction()`` may nest; the outermost one commits."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(
            str(path or ":memory:"), check_same_thread=False, isolation_level=None, timeout=20
        )
        self._connection.row_factory = sqlite3.Row
        # Connections that are only forgotten warn from Python 3.13 on.
        self._closer = weakref.finalize(self, self._connection.close)
        if path:
            os.chmod(path, 0o600)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._closer()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outermost:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def all(self, sql: str, *values: Any) -> list[Row]:
        with self._lock:
            return [_decode(row) for row in self._connection.execute(sql, values)]

    def one(self, sql: str, *values: Any) -> Row | None:
        with self._lock:
            row = self._connection.execute(sql, values).fetchone()
            return None if row is None else _decode(row)

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; return how many rows it touched."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, **values: Any) -> Row:
        columns, marks = ", ".join(values), ", ".join("?" for _ in values)
        with self._lock:
            self._connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", _encode(values))
        return values

    def update(self, table: str, key: str, value: Any, **changes: Any) -> None:
        pairs = ", ".join(f"{column} = ?" for column in changes)
        with self._lock:
            self._connection.execute(f"UPDATE {table} SET {pairs} WHERE {key} = ?", [*_encode(changes), value])

    def setting(self, name: str, default: Any = None) -> Any:
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return default if row is None else json.loads(row["value"])

    def set_setting(self, name: str, value: Any) -> None:
        self.run("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", name, json.dumps(value))

    def count_try(self, mchid: str, number: str) -> int:
        """Count one more try of a number; return how many there have been, this one included."""
        self.run(
            "INSERT INTO tries (mchid, number, times) VALUES (?, ?, 1) "
            "ON CONFLICT (mchid, number) DO UPDATE SET times = times + 1",
            mchid,
            number,
        )
        row = self.one("SELECT times FROM tries WHERE mchid = ? AND number = ?", mchid, number)
        assert row is not None
        return int(row["times"])


def _decode(row: sqlite3.Row) -> Row:
    return {
        name: json.loads(row[name]) if name in JSON_COLUMNS and row[name] is not None else row[name]
        for name in row.keys()
    }


def _encode(values: Row) -> list[Any]:
    return [
        json.dumps(value) if name in JSON_COLUMNS and value is not None else value for name, value in values.items()
    ]
