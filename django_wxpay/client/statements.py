"""Reading a statement: one row after another, in constant memory, whatever a goods name contains.

Source: APIv3 manual, "Download reconciliation file". The file is UTF-8 text. Its first line names the columns; each
following line is a payment or a refund, and each of its values begins with a backtick.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import IO, NamedTuple

from . import money
from .errors import BillCorrupt

# About eight million rows. A file that claims more is not a day of one merchant.
MAX_STATEMENT_BYTES = 2 * 1024**3
CHINA = timezone(timedelta(hours=8))
REFUND = "REFUND"  # the trade state of a row that is a refund
# A row has some 250 bytes, and a goods name of 128 characters 512 at most.
_LONGEST_LINE = 64 * 1024
_MOST_JOINED_LINES = 32
# How a row begins, whatever is before it: two of these in what should be one row are two rows.
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_CELL = re.compile(f"`{_DAY.pattern}")
_TIME = re.compile(rf"{_DAY.pattern} [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}")
_FIGURE = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_COUNT_OF_ROWS = "总交易单数"


class Column(NamedTuple):
    """A column: our name, the Chinese one, the English one."""

    name: str
    zh: str
    en: str


# In the file's order. The manual's English names end at number 26; those after it are translations.
COLUMNS = tuple(
    Column(*names)
    for names in (
        ("trade_time", "交易时间", "transaction time"),
        ("appid", "公众账号ID", "Official Account ID"),
        ("mchid", "商户号", "Vendor ID"),
        ("sub_mchid", "子商户号", "Sub vendor ID"),
        ("device_id", "设备号", "Device No."),
        ("transaction_id", "微信订单号", "WeChat order No."),
        ("out_trade_no", "商户订单号", "Vendor order No."),
        ("openid", "用户标识", "User identifier"),
        ("trade_type", "交易类型", "transaction type"),
        ("trade_state", "交易状态", "transaction status"),
        ("bank_type", "付款银行", "payment bank"),
        ("top_up_voucher_currency", "充值券币种", "top-up voucher currency"),
        ("top_up_voucher_amount", "充值券金额", "top-up voucher amount"),
        ("voucher_currency", "优惠券币种", "voucher currency"),
        ("voucher_amount", "优惠券金额", "voucher amount"),
        ("refund_id", "微信退款单号", "WeChat refund No."),
        ("out_refund_no", "商户退款单号", "merchant refund No."),
        ("refund_type", "退款类型", "refund type"),
        ("refund_status", "退款状态", "refund status"),
        ("description", "商品名称", "commodity name"),
        ("attach", "商户数据包", "merchant data package"),
        ("fee", "手续费", "service fee"),
        ("rate", "费率", "rate"),
        ("currency", "标价币种", "priced currency"),
        ("amount_total", "订单金额(标价币种)", "order amount (priced currency)"),
        ("payer_currency", "用户支付币种", "user payment currency"),
        ("payer_total", "用户支付金额", "user payment amount"),
        ("settlement_currency", "结算币种", "settlement currency"),
        ("settlement_total", "应结订单金额", "order amount to settle"),
        ("payment_exchange_rate", "支付汇率", "payment exchange rate"),
        ("refund_exchange_rate", "退款汇率", "refund exchange rate"),
        ("refund_amount", "申请退款金额", "requested refund amount"),
        ("payer_refund_currency", "用户退款币种", "user refund currency"),
        ("payer_refund", "用户退款金额", "user refund amount"),
        ("refund_settlement_currency", "退款结算币种", "refund settlement currency"),
        ("settlement_refund", "退款应结订单金额", "refund amount to settle"),
        ("top_up_voucher_refund", "充值券退款金额", "top-up voucher refund amount"),
        ("voucher_refund", "优惠券退款金额", "voucher refund amount"),
    )
)
# Without these a row cannot be matched with an order or a refund; the others may be missing.
REQUIRED = frozenset(
    "trade_time mchid transaction_id out_trade_no trade_state refund_id out_refund_no refund_status "
    "currency amount_total refund_amount".split()
)


def _plain(heading: str) -> str:
    """Return a column heading without what differs between files: case, blanks, full-width brackets."""
    return "".join(heading.strip("`\"' \t").translate({0xFF08: "(", 0xFF09: ")"}).casefold().split())


_NAMES = {_plain(heading): column.name for column in COLUMNS for heading in (column.zh, column.en)}


class StatementRow:
    """One line of a statement. ``row["payer_total"]`` is the text of a column; ``""`` when the file lacks it.

    Properties are values ready to compare: numbers that say ``0`` for "none" are ``""``, amounts are minor units,
    times aware. They raise BillCorrupt, naming line and column, when a text is not what it should be.
    """

    __slots__ = ("_at", "_cells", "line")

    def __init__(self, line: int, cells: list[str], at: dict[str, int]) -> None:
        self.line = line
        self._cells = cells
        self._at = at

    def __repr__(self) -> str:
        return f"<StatementRow line {self.line}: {self['trade_state']} {self['out_trade_no']}>"

    def __getitem__(self, column: str) -> str:
        place = self._at.get(column)
        return "" if place is None else self._cells[place]

    @property
    def is_refund(self) -> bool:
        """Whether the row is a refund, not a payment."""
        return self["trade_state"] == REFUND

    @property
    def trade_time(self) -> datetime:
        """When it was paid."""
        text = self["trade_time"]
        try:
            if not _TIME.fullmatch(text):
                raise ValueError
            return datetime.fromisoformat(text).replace(tzinfo=CHINA)
        except ValueError:
            raise self._corrupt("trade_time", "a time such as 2026-03-01 12:00:09") from None

    @property
    def mchid(self) -> str:
        """The merchant, or the institution."""
        return self["mchid"]

    @property
    def sub_mchid(self) -> str:
        """The sub-merchant, or ``""``."""
        return self._number("sub_mchid")

    @property
    def transaction_id(self) -> str:
        """WeChat Pay's number of the payment."""
        return self._number("transaction_id")

    @property
    def out_trade_no(self) -> str:
        """The merchant's number of the payment."""
        return self["out_trade_no"]

    @property
    def trade_state(self) -> str:
        """``SUCCESS``, ``REFUND`` (the row is a refund), ``REVOKED``."""
        return self["trade_state"]

    @property
    def refund_id(self) -> str:
        """WeChat Pay's number of the refund, or ``""``."""
        return self._number("refund_id")

    @property
    def out_refund_no(self) -> str:
        """The merchant's number of the refund, or ``""``."""
        return self._number("out_refund_no")

    @property
    def refund_status(self) -> str:
        """``SUCCESS``, ``PROCESSING`` (the money has left: it counts) …, or ``""``."""
        return self["refund_status"]

    @property
    def currency(self) -> str:
        """The currency of the order."""
        return self["currency"]

    @property
    def amount_total(self) -> int:
        """The amount of the order, in minor units; 0 in refunds."""
        return self.amount("amount_total")

    @property
    def refund_amount(self) -> int:
        """The amount of the refund, in minor units; 0 in payments."""
        return self.amount("refund_amount")

    def amount(self, column: str, currency_column: str = "currency") -> int:
        """Return a column as minor units of the currency another column names; 0 when it is empty."""
        text = self[column]
        if not text:
            return 0
        try:
            return money.minor_units(text, self[currency_column])
        except ValueError as error:
            raise self._corrupt(column, f"an amount ({error})") from None

    def _number(self, column: str) -> str:
        text = self[column]
        return "" if text == "0" else text

    def _corrupt(self, column: str, wanted: str) -> BillCorrupt:
        return BillCorrupt(f"Line {self.line}: column {column} is not {wanted}.")


class Statement(Iterator[StatementRow]):
    """An open statement: iterate over its rows, once.

    ``columns`` says at which place of a line each of our names is. ``rows`` and ``refunds`` count what was read so
    far. After the last, ``summary`` holds heading and value of a summary line, if the file has one.
    """

    def __init__(self, file: IO[bytes], max_bytes: int = MAX_STATEMENT_BYTES) -> None:
        self._file = file
        self._left = max_bytes
        self._line = 0
        self.rows = 0
        self.refunds = 0
        self.summary: dict[str, str] = {}
        heading = self._read_line() or ""
        self._end = "," if heading.endswith(",") else ""  # some programs write one at the end of every line
        headings = heading.removesuffix(self._end).split(",") if heading else []
        if any("`" in name[1:] for name in headings) or _DAY.search(heading):
            raise BillCorrupt("The line of the headings goes on with values: line ends are lost.")
        self.columns = layout(headings)
        self._width = len(headings)
        self._description = self.columns.get("description")
        self._trade_state = self.columns["trade_state"]

    def __next__(self) -> StatementRow:
        text = self._read_line()
        while text == "":  # blank lines say nothing
            text = self._read_line()
        if text is None:
            raise StopIteration
        if not text.startswith("`"):
            self._read_summary(text)
            raise StopIteration
        begins = self._line
        cells = text[1:].split(",`")
        if len(cells) != self._width:
            cells = self._mended(text, begins)
        if self._end:
            cells[-1] = cells[-1].removesuffix(self._end)
        self.rows += 1
        self.refunds += cells[self._trade_state] == REFUND
        return StatementRow(begins, cells, self.columns)

    def _mended(self, text: str, begins: int) -> list[str]:
        """Return the values of a row whose goods name holds a line end, or a comma with a backtick."""
        while (cells := text[1:].split(",`")) and len(cells) < self._width:
            more = self._read_line()
            if more is None or self._line - begins >= _MOST_JOINED_LINES:
                raise BillCorrupt(
                    f"Line {begins} has {len(cells)} of {self._width} values: the file is cut or altered."
                )
            text += "\n" + more
        if len(_DAY_CELL.findall(text)) > 1:
            raise BillCorrupt(f"Line {begins} holds more than one row, or the rest of one: line ends are lost.")
        if excess := len(cells) - self._width:
            if self._description is None:
                raise BillCorrupt(f"Line {begins} has {len(cells)} values instead of {self._width}.")
            place = slice(self._description, self._description + excess + 1)
            cells[place] = [",`".join(cells[place])]
        return cells

    def _read_line(self) -> str | None:
        try:
            raw = self._file.readline(_LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise BillCorrupt(f"The file cannot be read after line {self._line} ({type(error).__name__}).") from error
        if not raw:
            return None
        self._line += 1
        self._left -= len(raw)
        if self._left < 0:
            raise BillCorrupt(f"The file is too large (at line {self._line}).")
        if len(raw) > _LONGEST_LINE:
            raise BillCorrupt(f"Line {self._line} is longer than {_LONGEST_LINE} bytes.")
        try:
            text = raw.decode("utf-8-sig" if self._line == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BillCorrupt(f"Line {self._line} is not UTF-8.") from None
        return text.rstrip("\r\n")

    def _read_summary(self, heading: str) -> None:
        values = self._read_line() or ""
        names = heading.removesuffix(self._end).split(",")
        cells = values[1:].split(",`") if values.startswith("`") else values.split(",")
        figures = [cell.removesuffix(self._end) for cell in cells]
        if len(names) != len(figures) or _DAY.search(heading) or not all(map(_is_figure, figures)):
            raise BillCorrupt(f"Line {self._line} is neither a row nor the values of a summary.")
        if any(rest for rest in iter(self._read_line, None)):
            raise BillCorrupt(f"There is more after the summary, at line {self._line}.")
        self.summary = {name.strip(): figure for name, figure in zip(names, figures, strict=True)}
        # The mainland's files count refunds among the rows; nobody promises it of these.
        counted = self.summary.get(_COUNT_OF_ROWS)
        if counted is not None and counted not in (str(self.rows), str(self.rows - self.refunds)):
            raise BillCorrupt(f"The summary counts {counted!r} rows, {self.rows} were read: rows are missing.")


def _is_figure(text: str) -> bool:
    return not text or _FIGURE.fullmatch(text) is not None


def layout(headings: list[str]) -> dict[str, int]:
    """Return at which place each of our column names is, told by the headings of a file.

    By name when every column that matters has a known one; else by place, when there are exactly the manual's 38
    and no known name is elsewhere. BillCorrupt, with what was found, for any other layout: nobody guesses with money.
    """
    known = [_NAMES.get(_plain(heading)) for heading in headings]
    places = {name: place for place, name in enumerate(known) if name}
    doubled = sorted({name for name in places if known.count(name) > 1})
    missing = sorted(REQUIRED - set(places))
    if not missing and not doubled:
        return places
    order = [column.name for column in COLUMNS]
    if len(headings) == len(order) and all(name in (None, own) for name, own in zip(known, order, strict=True)):
        return {name: place for place, name in enumerate(order)}
    unknown = [heading.strip()[:40] for heading, name in zip(headings, known, strict=True) if not name]
    raise BillCorrupt(
        f"Unknown layout: {len(headings)} columns instead of {len(order)}; missing: {', '.join(missing) or 'none'}; "
        f"doubled: {', '.join(doubled) or 'none'}; not understood: {', '.join(unknown[:50]) or 'none'}."
    )


def parse_statement(file: IO[bytes], *, max_bytes: int = MAX_STATEMENT_BYTES) -> Statement:
    """Return an iterator over the rows of a statement, as it came or gzipped.

    file: open for reading bytes, at its beginning, and seekable. max_bytes: of the file, uncompressed. Raises
    BillCorrupt, at once for a layout that is not known, and while iterating for a line that is cut, too long or
    not UTF-8, and for a file that is too large.
    """
    magic = file.read(2)
    file.seek(-len(magic), 1)
    if magic == b"\x1f\x8b":
        return Statement(io.BufferedReader(gzip.GzipFile(fileobj=file)), max_bytes)
    return Statement(file, max_bytes)
