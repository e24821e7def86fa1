"""Statements: the file of one China day, built from what happened, or fabricated as large as wanted.

The answer is the file; its signature covers ``{"sha1":"…"}``. Chosen errors are laid over the honest file.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

from .engine.answers import Refused, Reply
from .engine.clock import CHINA, china_day, day_bounds
from .engine.fields import DIRECT, INSTITUTION, Field, text
from .engine.money import RATE_UNIT, RATES, charged, major_text
from .engine.protocol import MCHID, Call
from .engine.store import Row
from .engine.streams import Stream, chunks_of, gzipped, takes_gzip, zeros
from .orders import REVOKED
from .promotions import worth
from .statement_columns import CHINESE, ENGLISH

if TYPE_CHECKING:
    from .emulator import Sandbox

REACH_DAYS = 180
FEE_PERCENT = 1
LINES_PER_WRITE = 2000
LEAST_PRICE, DEAREST_PRICE = 100, 10_000
BOMB_BYTES = 2 * 1024**3
BOM = "\ufeff"
ERRORS = {
    "cut_short": "the file ends in the middle of a line; the hash is that of the whole file",
    "cut_connection": "the connection ends before Content-Length is reached",
    "altered": "one digit differs from what was hashed",
    "wrong_hash": "the signed hash is another file's",
    "bom": "begins with a byte order mark, rightly hashed",
    "crlf": "lines end with CR LF, rightly hashed",
    "bomb": "with gzip: two gigabytes of zeros in two megabytes",
    "moved_column": "two columns have changed places, header and values",
    "added_column": "a 39th column in the middle",
    "missing_column": "a column is gone",
    "english_header": "the column names are English",
    "unknown_header": "38 columns, the later names translated in another way",
    "summary": "a second header and a line of totals at the end",
    "newline_in_name": "the first goods name holds a line break",
    "not_utf8": "GB18030 instead of UTF-8",
    "other_merchant": "the rows are another merchant's, rightly hashed",
    "other_sub_merchant": "the rows are another sub-merchant's, rightly hashed",
    "other_day": "the rows are of another day, rightly hashed",
    "early_refunds": "refunds tell an earlier day, as that of their payment",
    "odd_currency": "the currency is no code in use",
    "nul_in_heading": "the name of a column that matters holds a NUL",
    "creating": "400 STATEMENT_CREATING",
    "none": "400 NO_STATEMENT_EXIST although there were payments",
}
EARLY_DAY = "2020-01-01"
# Error -> a place in the row, and what stands over its beginning.
ALTERED = {
    "other_merchant": (2, "1999999999"),
    "other_sub_merchant": (3, "1999999998"),
    "other_day": (0, EARLY_DAY),
    "odd_currency": (23, "???"),
}

_QUERY = (
    Field("date", text(8, pattern=r"[0-9]{8}"), "both"),
    Field("mchid", MCHID, DIRECT, DIRECT),
    Field("sp_mchid", MCHID, INSTITUTION, INSTITUTION),
    Field("sub_mchid", MCHID, modes=INSTITUTION),
)
Cells = list[str]


class Statements:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store

    def download(self, call: Call) -> Reply:
        """GET /v3/global/statements."""
        asked = call.query(*_QUERY)
        party = call.party(asked)
        day = self._past_day(asked["date"])
        wanted = self.wanted(day)
        error = wanted.get("error", "")
        if error == "creating":
            raise Refused(400, "STATEMENT_CREATING", "the statement is being made")
        lines = self._lines(day, party.mchid, asked.get("sub_mchid"), error, int(wanted.get("rows", 0)))
        first = None if error == "none" else next(lines, None)
        if first is None:
            raise Refused(400, "NO_STATEMENT_EXIST", f"there is no statement of {asked['date']}")
        file, sha1 = self._write(first, lines, error)
        return self._reply(file, sha1, error, gzip=takes_gzip(call.headers))

    def wanted(self, day: date) -> dict[str, Any]:
        found: dict[str, Any] = self._store.setting(f"statement {day:%Y%m%d}", {})
        return found

    def want(self, day: str, *, error: str = "", rows: int = 0) -> dict[str, Any]:
        """Order an error for a day's file, and rows beside those that happened. Empty: the honest file again."""
        if error not in ("", *ERRORS):
            raise Refused(400, "PARAM_ERROR", f"error is one of {', '.join(ERRORS)}")
        if rows < 0:
            raise Refused(400, "PARAM_ERROR", "rows is 0 or more")
        wanted = {"error": error, "rows": rows}
        self._store.set_setting(f"statement {_day(day):%Y%m%d}", wanted)
        return wanted

    # Rows

    def _lines(self, day: date, mchid: str, sub_mchid: str | None, error: str, fabricated: int) -> Iterator[str]:
        """Yield the header, then one line per payment and refund; nothing at all for an empty day."""
        rows = self._rows(day, mchid, sub_mchid)
        first = next(rows, None)
        if first is None and not fabricated:
            return
        header = ENGLISH if error == "english_header" else CHINESE
        if error == "unknown_header":
            header = [*CHINESE[:26], *(f"column {position}" for position in range(27, 39))]
        if error == "nul_in_heading":
            header = ["\0" + header[0], *header[1:-1]]
        end = "\r\n" if error == "crlf" else "\n"
        yield (BOM if error == "bom" else "") + ",".join(_rearranged(header, error, "新列")) + end
        count = fabricated
        if first is not None:
            if error == "newline_in_name":
                first[19] += "\nline two"
            rows = chain([first], rows)
        for row in rows:
            count += 1
            yield _line(row, error) + end
        for line in self._fabricated(day, mchid, sub_mchid, fabricated, error):
            yield line + end
        if error == "summary":
            yield "总交易单数,总金额" + end + f"`{count},`0.00" + end

    def _rows(self, day: date, mchid: str, sub_mchid: str | None) -> Iterator[Cells]:
        start, end = day_bounds(day)
        where = "mchid = ? AND ? IN ('', sub_mchid) AND success_at >= ? AND success_at < ?"
        values = (mchid, sub_mchid or "", start, end)
        orders = self._store.all(f"SELECT * FROM orders WHERE {where}", *values)
        refunds = self._store.all(f"SELECT * FROM refunds WHERE {where} AND status = 'SUCCESS'", *values)
        happened = [(row["success_at"], 0, row) for row in orders] + [(row["success_at"], 1, row) for row in refunds]
        for _, is_refund, row in sorted(happened, key=lambda one: one[:2]):
            yield self._refund_cells(row) if is_refund else _payment_cells(row)

    def _refund_cells(self, refund: Row) -> Cells:
        order = self._sandbox.orders.get(refund["transaction_id"])
        unit = refund["currency"]
        cells = _payment_cells(order)
        cells[0] = _time(refund["success_at"])
        cells[9] = "REFUND"
        cells[15:19] = [refund["refund_id"], refund["out_refund_no"], "ORIGINAL", "SUCCESS"]
        cells[21] = major_text(-fee(refund["refund"]), unit)
        cells[24], cells[26], cells[28] = major_text(0, unit), "0.00", major_text(0, unit)
        cells[29], cells[30] = "", _rate(order["rate"])
        cells[14], cells[37] = major_text(0, unit), major_text(worth(refund["promotion"], "refund_amount"), unit)
        cells[31:36] = [
            major_text(refund["refund"], unit),
            order["payer_currency"],
            major_text(refund["payer_refund"], order["payer_currency"]),
            unit,
            major_text(refund["refund"], unit),
        ]
        return cells

    def _fabricated(self, day: date, mchid: str, sub_mchid: str | None, count: int, error: str) -> Iterator[str]:
        """Yield lines that never happened, the same ones each time; a million of them in seconds."""
        merchant = self._sandbox.merchants[mchid]
        sample = {
            "appid": merchant.appid,
            "mchid": mchid,
            "sub_mchid": sub_mchid or ("" if merchant.mode == DIRECT else next(iter(self._sandbox.sub_appids(mchid)))),
            "device_id": "TILL-1",
            "openid": "o-fabricated-0001",
            "trade_type": "MICROPAY",
            "trade_state": "SUCCESS",
            "description": "Coffee, large",
            "attach": None,
            "currency": "HKD",
            "total": 0,
            "payer_total": 0,
            "payer_currency": "CNY",
            "rate": RATES["HKD"],
            "success_at": 0,
            "transaction_id": f"4200009999{day:%Y%m%d}%010d",
            "out_trade_no": "fabricated%010d",
        }
        cells = _payment_cells(sample)
        cells[0], cells[22] = f"{day:%Y-%m-%d} %02d:%02d:%02d", cells[22].replace("%", "%%")
        cells[21], cells[24], cells[26], cells[28] = "{fee}", "{total}", "{payer_total}", "{total}"
        line = _line(cells, error)
        by_price = [
            line.format(
                total=major_text(total, "HKD"),
                fee=major_text(fee(total), "HKD"),
                payer_total=major_text(charged(total, "HKD"), "CNY"),
            )
            for total in range(LEAST_PRICE, min(LEAST_PRICE + count, DEAREST_PRICE))
        ]
        for number in range(count):
            minutes, second = divmod(number % 86400, 60)
            yield by_price[number % len(by_price)] % (*divmod(minutes, 60), second, number, number)

    # The file

    def _write(self, first: str, lines: Iterator[str], error: str) -> tuple[IO[bytes], str]:
        """Write the file while hashing it; return it, and its SHA-1. It has no name: closing removes it."""
        digest = hashlib.sha1(usedforsecurity=False)
        encoding = "gb18030" if error == "not_utf8" else "utf-8"
        file = tempfile.TemporaryFile(dir=self._sandbox.state_folder)
        lines = chain([first], lines)
        while portion := list(islice(lines, LINES_PER_WRITE)):
            data = "".join(portion).encode(encoding)
            digest.update(data)
            file.write(data)
        return file, digest.hexdigest()

    def _reply(self, file: IO[bytes], sha1: str, error: str, *, gzip: bool) -> Reply:
        if error == "wrong_hash":
            sha1 = hashlib.sha1(b"another file", usedforsecurity=False).hexdigest()
        length = file.tell()
        file.seek(0)
        headers = {"Wechatpay-Statement-Sha1": sha1}
        chunks = chunks_of(
            file, length=length * 2 // 3 if error.startswith("cut") else length, alter=error == "altered"
        )
        if error == "bomb" and gzip:
            chunks = zeros(BOMB_BYTES)
        if error == "cut_connection":
            headers["Content-Length"] = str(length)
        elif gzip:
            headers["Content-Encoding"] = "gzip"
            chunks = gzipped(chunks)
        return Reply(
            200,
            headers=headers,
            signed_body=f'{{"sha1":"{sha1}"}}'.encode(),
            content_type="text/plain; charset=utf-8",
            stream=Stream(chunks, file),
        )

    def _past_day(self, text_day: str) -> date:
        day, today = _day(text_day), china_day(self._sandbox.clock.now())
        if day >= today:
            raise Refused(400, "INVALID_REQUEST", "the statement of a day is made on the next one")
        if day < today - timedelta(days=REACH_DAYS):
            raise Refused(400, "INVALID_REQUEST", f"statements reach back {REACH_DAYS} days")
        return day


def fee(amount: int) -> int:
    """Return the invented fee of one percent, half up."""
    return (amount * FEE_PERCENT + 50) // 100


def _payment_cells(order: Row) -> Cells:
    unit, state = order["currency"], order["trade_state"]
    zero, total = major_text(0, unit), major_text(order["total"], unit)
    return [
        _time(order["success_at"]),
        order["appid"],
        order["mchid"],
        order["sub_mchid"] or "0",
        order["device_id"] or "",
        order["transaction_id"],
        order["out_trade_no"],
        order["openid"] or "",
        order["trade_type"],
        REVOKED if state == REVOKED else "SUCCESS",
        "OTHERS",
        *(unit, zero, unit, major_text(worth(order.get("promotion")), unit)),
        *("0", "0", "", ""),
        _one_line(order["description"]),
        _one_line(order["attach"] or ""),
        major_text(0 if state == REVOKED else fee(order["total"]), unit),
        f"{FEE_PERCENT}.00%",
        *(unit, total),
        *(order["payer_currency"], major_text(order["payer_total"], order["payer_currency"])),
        *(unit, total, _rate(order["rate"]), ""),
        *(zero, "", "0.00", "", zero, zero, zero),
    ]


def _line(cells: Cells, error: str) -> str:
    if error in ALTERED:
        place, value = ALTERED[error]
        cells = [*cells[:place], value + cells[place][len(value) :], *cells[place + 1 :]]
    if error == "early_refunds" and cells[9] == "REFUND":
        cells = [EARLY_DAY + cells[0][len(EARLY_DAY) :], *cells[1:]]
    return ",".join("`" + cell for cell in _rearranged(cells, error, "0"))


def _rearranged(cells: Cells, error: str, added: str) -> Cells:
    if error == "moved_column":
        return [*cells[:5], cells[6], cells[5], *cells[7:]]
    if error == "added_column":
        return [*cells[:10], added, *cells[10:]]
    if error == "missing_column":
        return [*cells[:24], *cells[25:]]
    return cells


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _rate(rate: int) -> str:
    return f"{rate // RATE_UNIT}.{rate % RATE_UNIT:08d}"


def _one_line(value: str) -> str:
    return re.sub(r"[\r\n]+", " ", value)


def _day(value: str) -> date:
    try:
        return datetime.strptime(value, "%Y%m%d").replace(tzinfo=CHINA).date()
    except ValueError:
        raise Refused(400, "PARAM_ERROR", "date must be yyyyMMdd") from None
