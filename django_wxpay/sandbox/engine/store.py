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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

JSON_COLUMNS = frozenset(
    """attempts options fault ignored promotion
    details fingerprints time_range location post_payments post_discounts collection""".split()
)
Row = dict[str, Any]


class Store:
    """Tables with four verbs. ``transaction()`` may nest; the outermost one commits."""

    def __init__(self, path: Path | None, schema: str) -> None:
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
        self._connection.executescript(schema)
        self._catch_up(schema)

    def close(self) -> None:
        with self._lock:
            self._closer()

    def _catch_up(self, schema: str) -> None:
        """Add the columns that a file of an earlier version lacks."""
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(schema)
            for (table,) in fresh.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'").fetchall():
                known = {row["name"] for row in self._connection.execute(f"PRAGMA table_info({table})")}
                for _, name, kind, *_ in fresh.execute(f"PRAGMA table_info({table})").fetchall():
                    if name not in known:
                        self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")

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
