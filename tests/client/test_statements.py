import gzip
import io
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest

from django_wxpay.client.errors import BillCorrupt
from django_wxpay.client.statements import COLUMNS, REQUIRED, parse_statement

PAYMENT = {
    "trade_time": "2026-03-01 12:00:09",
    "appid": "wx1111111111111111",
    "mchid": "1900000100",
    "sub_mchid": "1900000109",
    "device_id": "TILL-3",
    "transaction_id": "4200000000202603010000000001",
    "out_trade_no": "Q20260301000001",
    "openid": "o-synthetic-0001",
    "trade_type": "MICROPAY",
    "trade_state": "SUCCESS",
    "bank_type": "OTHERS",
    "refund_id": "0",
    "out_refund_no": "0",
    "description": "Coffee",
    "fee": "0.38",
    "rate": "1.00%",
    "currency": "HKD",
    "amount_total": "38.00",
    "payer_currency": "CNY",
    "payer_total": "34.96",
    "refund_amount": "0.00",
    "voucher_refund": "0.00",
}
REFUND = PAYMENT | {
    "trade_time": "2026-03-01 15:02:11",
    "trade_state": "REFUND",
    "refund_id": "50300000002026030100000000001",
    "out_refund_no": "R20260301000001",
    "refund_status": "SUCCESS",
    "fee": "-0.10",
    "amount_total": "0.00",
    "refund_amount": "10.00",
}
NAMES = [column.name for column in COLUMNS]


def heading(language="zh", names=NAMES):
    by_name = {column.name: column for column in COLUMNS}
    return ",".join(getattr(by_name[name], language) for name in names)


def line(row, names=NAMES):
    return ",".join(f"`{row.get(name, '')}" for name in names)


def statement(*lines, head=None, end="\n"):
    return end.join([heading() if head is None else head, *lines, ""]).encode()


def read(content):
    return list(parse_statement(io.BytesIO(content)))


def test_payments_and_refunds_are_read():
    paid, refunded = read(statement(line(PAYMENT), line(REFUND)))
    assert not paid.is_refund and refunded.is_refund
    assert paid.trade_time == datetime(2026, 3, 1, 12, 0, 9, tzinfo=timezone(timedelta(hours=8)))
    assert (paid.mchid, paid.sub_mchid, paid.currency) == ("1900000100", "1900000109", "HKD")
    assert (paid.transaction_id, paid.out_trade_no) == ("4200000000202603010000000001", "Q20260301000001")
    assert (paid.refund_id, paid.out_refund_no) == ("", "")
    assert (paid.amount_total, paid.refund_amount) == (3800, 0)
    assert paid.amount("payer_total", "payer_currency") == 3496
    assert (refunded.refund_id, refunded.out_refund_no) == ("50300000002026030100000000001", "R20260301000001")
    assert (refunded.amount_total, refunded.refund_amount, refunded.refund_status) == (0, 1000, "SUCCESS")
    assert refunded.amount("fee") == -10
    assert (paid.line, refunded.line) == (2, 3)


@pytest.mark.parametrize(
    ("currency", "text", "minor"), [("JPY", "500", 500), ("KRW", "500.00", 500), ("KWD", "1.234", 1234)]
)
def test_amounts_have_the_places_of_their_currency(currency, text, minor):
    [row] = read(statement(line(PAYMENT | {"currency": currency, "amount_total": text})))
    assert row.amount_total == minor


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_either_language_any_line_end_and_a_bom_are_read(language, end, mark):
    content = mark + statement(line(PAYMENT), line(REFUND), head=heading(language), end=end)
    first, second = read(content)
    assert (first.trade_state, second.refund_amount) == ("SUCCESS", 1000)
    assert second["voucher_refund"] == "0.00"


def test_a_gzipped_file_is_read_as_it_is():
    assert len(read(gzip.compress(statement(line(PAYMENT))))) == 1


def test_case_blanks_and_wide_brackets_in_a_heading_do_not_matter():
    head = heading("en").upper().replace("NO.", " no. ").replace("(", "\N{FULLWIDTH LEFT PARENTHESIS}")
    assert len(read(statement(line(PAYMENT), head=head))) == 1


def test_a_last_line_without_a_line_end_is_read():
    assert len(read(statement(line(PAYMENT)).rstrip(b"\n"))) == 1


def test_a_file_with_a_heading_only_has_no_rows():
    assert read(statement()) == []


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    "name",
    ["tea, coffee", 'a "big" one', "back`tick", "`", "a,`b", "a,`b,`c", "two\nlines", "two\r\nlines", "a\n`b",
     "a\n\nb", "茶\N{GRINNING FACE}", ",", "x" * 500],
)  # fmt: skip
def test_whatever_is_in_a_goods_name_the_money_is_read_right(name):
    rows = read(statement(line(PAYMENT | {"description": name}), line(REFUND)))
    assert [row.amount_total for row in rows] == [3800, 0]
    assert rows[1].refund_amount == 1000
    assert rows[0]["description"] == name.replace("\r\n", "\n")


@pytest.mark.scenario("S48")
def test_moved_columns_are_found_by_their_names():
    names = NAMES[::-1]
    [row] = read(statement(line(PAYMENT, names), head=heading(names=names)))
    assert (row.out_trade_no, row.amount_total) == ("Q20260301000001", 3800)


@pytest.mark.scenario("S48")
def test_an_added_column_does_not_matter():
    [row] = read(statement("`new," + line(PAYMENT), head="新列," + heading()))
    assert row.amount_total == 3800


@pytest.mark.scenario("S48")
def test_a_missing_column_that_does_not_matter_is_empty():
    names = [name for name in NAMES if name in REQUIRED]
    [row] = read(statement(line(PAYMENT, names), head=heading(names=names)))
    assert row.amount_total == 3800 and row["attach"] == "" and row.amount("fee") == 0


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_column_that_matters_stops_with_a_report(name):
    names = [known for known in NAMES if known != name]
    with pytest.raises(BillCorrupt, match=rf"37 columns instead of 38; missing: {name};"):
        read(statement(line(PAYMENT, names), head=heading(names=names)))


@pytest.mark.scenario("S48")
def test_translated_names_nobody_knows_are_told_by_their_place_among_38():
    cells = heading("en").split(",")
    cells[31] = "amount of refund asked for"
    [row] = read(statement(line(REFUND), head=",".join(cells)))
    assert row.refund_amount == 1000


@pytest.mark.scenario("S48")
def test_an_unknown_name_with_known_ones_elsewhere_stops_with_a_report():
    cells = heading("en").split(",")
    cells[31], cells[0], cells[1] = "amount of refund asked for", cells[1], cells[0]
    with pytest.raises(BillCorrupt, match="missing: refund_amount.*not understood: amount of refund asked for"):
        read(statement(line(REFUND), head=",".join(cells)))


@pytest.mark.scenario("S48")
def test_a_doubled_column_stops_with_a_report():
    with pytest.raises(BillCorrupt, match="doubled: currency"):
        read(statement(line(PAYMENT) + ",`CNY", head=heading() + ",标价币种"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b'{"code":"NO_STATEMENT_EXIST"}',
        b"<html></html>",
        "交易时间,商户号\n".encode("gbk"),
        statement(line(PAYMENT)).decode().encode("utf-16"),
        statement(line(PAYMENT))[:-40],
        statement(line(PAYMENT), "`1,`2"),
        statement(line(PAYMENT) + ",`more,`more", head=heading().replace("商品名称", "x")),
        statement(line(PAYMENT | {"description": "\n" * 40})),
        statement(line(PAYMENT | {"description": "x" * 70_000})),
        statement(line(PAYMENT)).replace(b"Coffee", b"\xff\xfe"),
        gzip.compress(statement(line(PAYMENT) * 1))[:-30],
        b"\x1f\x8bnot gzip at all",
        statement(line(PAYMENT), "总数,总额", "`1"),
        statement(line(PAYMENT), "总数", "`1", line(PAYMENT)),
        statement(line(PAYMENT), "总数,总额", "`1,`much"),
    ],
)
def test_what_is_not_a_whole_statement_is_corrupt(content):
    with pytest.raises(BillCorrupt):
        read(content)


@pytest.mark.parametrize("values", ["`1,`38.00", "1,38.00", "`1,`"])
def test_a_summary_after_the_rows_is_kept_apart(values):
    opened = parse_statement(io.BytesIO(statement(line(PAYMENT), "总交易单数,总交易额", values)))
    assert len(list(opened)) == opened.rows == 1
    assert opened.summary == dict(zip(("总交易单数", "总交易额"), values.replace("`", "").split(","), strict=True))


GLUED = {
    "heading and rows": heading() + line(PAYMENT) + line(PAYMENT),
    "heading and rows, by blanks": " ".join([heading(), line(PAYMENT), line(PAYMENT)]),
    "heading and rows, by CR": "\r".join([heading(), line(PAYMENT), line(PAYMENT)]),
    "heading and rows without backticks": (heading() + line(PAYMENT)).replace("`", ""),
    "rows": heading() + "\n" + line(PAYMENT) + line(PAYMENT),
    "rows, by blanks": heading() + "\n" + line(PAYMENT) + " " + line(PAYMENT),
    "rows, by CR": heading() + "\n" + line(PAYMENT) + "\r" + line(PAYMENT),
    "rows, by commas": heading() + "\n" + line(PAYMENT) + "," + line(PAYMENT),
    "a row cut in its line and the next": statement(line(PAYMENT)[:120] + line(PAYMENT), line(PAYMENT)).decode(),
    "a row cut at its end and the next": statement(line(PAYMENT)[:120], line(PAYMENT)).decode(),
    "a row cut early and the next": statement(line(PAYMENT)[:40], line(PAYMENT)).decode(),
    "columns in another order": statement(line(PAYMENT, NAMES[::-1]) * 2, head=heading(names=NAMES[::-1])).decode(),
    "rows and a summary": statement(line(PAYMENT) + "总交易单数,总交易额", "`1,`38.00").decode(),
    "two files": statement(line(PAYMENT)).decode() * 2,
}


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("content", GLUED.values(), ids=GLUED)
@pytest.mark.parametrize("end", ["", "\n"])
def test_rows_whose_line_ends_are_lost_are_never_read_as_fewer(content, end):
    with pytest.raises(BillCorrupt):
        read((content.rstrip("\n") + end).encode())


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_rows_that_a_spreadsheet_saved_without_backticks_are_no_summary(rows):
    with pytest.raises(BillCorrupt):
        read(statement(*[line(PAYMENT).replace("`", "")] * rows))


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("count", ["2", "3", "0", "38.00", "x", ""])
def test_rows_that_the_summary_counts_otherwise_are_not_all_there(count):
    with pytest.raises(BillCorrupt, match="summary"):
        read(statement(line(PAYMENT), "总交易单数,总交易额", f"`{count},`38.00"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_comma_at_the_end_of_every_line_does_not_matter(end):
    rows = read(statement(line(PAYMENT) + ",", line(REFUND) + ",", head=heading() + ",", end=end))
    assert [row["voucher_refund"] for row in rows] == ["0.00", "0.00"]


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"amount_total": "38.001"}, "amount_total"),
        ({"amount_total": "1e3"}, "amount_total"),
        ({"currency": "???"}, "amount_total"),
        ({"trade_time": "20260301"}, "trade_time"),
    ],
)
def test_a_value_that_is_not_what_it_should_be_is_named_with_its_line(changed, column):
    [row] = read(statement(line(PAYMENT | changed)))
    with pytest.raises(BillCorrupt, match=f"Line 2: column {column} is not"):
        getattr(row, column)


def test_a_row_shows_no_openid():
    [row] = read(statement(line(PAYMENT)))
    assert repr(row) == "<StatementRow line 2: SUCCESS Q20260301000001>"


@pytest.mark.scenario("S48")
def test_a_file_that_unpacks_without_end_is_cut_off():
    bomb = gzip.compress(statement() + (line(PAYMENT) + "\n").encode() * 20_000)
    with pytest.raises(BillCorrupt, match="too large"):
        list(parse_statement(io.BytesIO(bomb), max_bytes=1024**2))


@pytest.mark.scenario("S48")
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    def peak(rows):
        path = tmp_path / str(rows)
        path.write_bytes(gzip.compress(statement(*[line(PAYMENT)] * rows)))
        with path.open("rb") as file:
            tracemalloc.start()
            assert sum(1 for _ in parse_statement(file)) == rows
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return top

    assert peak(20_000) < peak(2_000) * 1.5
