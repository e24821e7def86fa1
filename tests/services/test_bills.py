from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine

from django_wxpay.client.errors import InvalidField
from django_wxpay.models import Bill, Discrepancy
from django_wxpay.services import bills
from django_wxpay.testing import make_order

pytestmark = pytest.mark.django_db
CHINA = ZoneInfo("Asia/Shanghai")
TODAY = datetime.now(CHINA).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture(autouse=True)
def kept_in(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def at(hour, minute=0, days=0):
    moment = datetime.combine(TODAY + timedelta(days=days), datetime.min.time(), CHINA)
    return time_machine.travel(moment + timedelta(hours=hour, minutes=minute), tick=False)


def want(wxpay_sandbox, day=YESTERDAY, **order):
    wxpay_sandbox.wechat.statements.want(f"{day:%Y%m%d}", **order)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_statement_is_kept_gzipped_and_read_row_by_row(wxpay_sandbox, kept_in, merchant):
    want(wxpay_sandbox, rows=300)
    bill = bills.download_statement(YESTERDAY, merchant=merchant)
    assert (bill.state, bill.rows, bill.payments + bill.refunds) == ("DOWNLOADED", 300, 300)
    assert files(kept_in)[0].read_bytes()[:2] == b"\x1f\x8b"
    rows = list(bills.rows(bill))
    assert len(rows) == 300
    assert all(isinstance(row.amount_total, int) for row in rows)


def test_what_happened_is_in_the_statement_of_its_day(wxpay_sandbox):
    with at(12, days=-1):
        order = wxpay_sandbox.paid_order()
        wxpay_sandbox.refund(order, 800)
        wxpay_sandbox.advance(10)
    with at(11):
        rows = list(bills.rows(bills.download_statement(YESTERDAY)))
    assert [(row.out_trade_no, row.is_refund) for row in rows] == [
        (order.out_trade_no, False),
        (order.out_trade_no, True),
    ]
    assert (rows[0].amount_total, rows[1].refund_amount) == (3800, 800)


def test_a_day_we_have_is_not_fetched_again_unless_asked(wxpay_sandbox):
    want(wxpay_sandbox, rows=3)
    bills.download_statement(YESTERDAY)
    calls = len(wxpay_sandbox.calls)
    bills.download_statement(YESTERDAY)
    assert len(wxpay_sandbox.calls) == calls
    want(wxpay_sandbox, rows=4)
    assert bills.download_statement(YESTERDAY, again=True).rows == 4
    assert Bill.objects.count() == 1


def test_two_downloads_at_once_leave_one_row_and_one_file(wxpay_sandbox, kept_in):
    want(wxpay_sandbox, rows=3)
    bill = bills.download_statement(YESTERDAY)
    slow = Bill.objects.get(pk=bill.pk)  # a second download, begun before the first had ended
    want(wxpay_sandbox, rows=4)
    bills.download_statement(YESTERDAY, again=True)
    want(wxpay_sandbox, rows=5)
    bills._download(slow)
    bill.refresh_from_db()
    assert [path.name for path in files(kept_in)] == [bill.file.name.rpartition("/")[2]]
    assert bill.rows == len(list(bills.rows(bill))) == 4


def test_a_file_that_the_storage_lost_comes_back(wxpay_sandbox, kept_in):
    want(wxpay_sandbox, rows=3)
    bill = bills.download_statement(YESTERDAY)
    bill.file.storage.delete(bill.file.name)
    assert len(list(bills.rows(bills.download_statement(YESTERDAY, again=True)))) == 3


def test_a_planned_day_is_fetched_by_the_next_round(wxpay_sandbox):
    day = TODAY - timedelta(days=100)
    want(wxpay_sandbox, day, rows=3)
    assert bills.plan_statement(day).next_try_at
    assert wxpay_sandbox.calls == []
    bills.download_due(limit=100)
    bill = Bill.objects.get(bill_date=day)
    assert (bill.state, bill.rows, bill.next_try_at) == ("DOWNLOADED", 3, None)
    assert not bills.plan_statement(day).next_try_at
    assert bills.plan_statement(day, again=True).next_try_at
    with pytest.raises(InvalidField):
        bills.plan_statement(TODAY)


@pytest.mark.parametrize("error", ["bom", "crlf", "english_header", "unknown_header", "summary", "newline_in_name"])
def test_an_odd_but_genuine_statement_is_read(wxpay_sandbox, error):
    want(wxpay_sandbox, rows=20, error=error)
    with at(12, days=-1):
        wxpay_sandbox.paid_order()
    assert bills.download_statement(YESTERDAY).rows == 21


@pytest.mark.scenario("S47")
@pytest.mark.parametrize("error", ["cut_short", "altered", "wrong_hash", "cut_connection", "bomb"])
def test_a_file_that_is_not_what_was_promised_is_not_stored_but_the_reason_is(wxpay_sandbox, kept_in, error):
    want(wxpay_sandbox, rows=50, error=error)
    bill = bills.download_statement(YESTERDAY)
    assert bill.state == "FAILED"
    assert bill.error.startswith("BillCorrupt")
    assert bill.next_try_at
    assert files(kept_in) == []
    want(wxpay_sandbox, rows=50)
    assert bills.download_statement(YESTERDAY).state == "DOWNLOADED"


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("error", ["missing_column", "not_utf8"])
def test_a_file_that_cannot_be_read_stops_with_a_report(wxpay_sandbox, kept_in, error):
    want(wxpay_sandbox, rows=50, error=error)
    bill = bills.download_statement(YESTERDAY)
    assert bill.state == "FAILED"
    assert ("missing" if error == "missing_column" else "UTF-8") in bill.error
    assert files(kept_in) == []


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("error", ["moved_column", "added_column"])
def test_columns_are_found_by_their_names(wxpay_sandbox, error):
    want(wxpay_sandbox, rows=50, error=error)
    moved = list(bills.rows(bills.download_statement(YESTERDAY)))
    want(wxpay_sandbox, rows=50)
    usual = list(bills.rows(bills.download_statement(YESTERDAY, again=True)))
    assert [(row.out_trade_no, row.amount_total) for row in moved] == [
        (row.out_trade_no, row.amount_total) for row in usual
    ]


def test_a_failed_repeat_leaves_the_good_file(wxpay_sandbox):
    want(wxpay_sandbox, rows=3)
    bills.download_statement(YESTERDAY)
    want(wxpay_sandbox, rows=3, error="wrong_hash")
    bill = bills.download_statement(YESTERDAY, again=True)
    assert bill.state == "DOWNLOADED"
    assert bill.error
    assert len(list(bills.rows(bill))) == 3


@pytest.mark.scenario("S47")
def test_a_statement_still_being_made_is_fetched_later(wxpay_sandbox):
    want(wxpay_sandbox, rows=3, error="creating")
    bill = bills.download_statement(YESTERDAY)
    assert (bill.state, bool(bill.next_try_at)) == ("PENDING", True)


@pytest.mark.scenario("S47")
def test_no_statement_is_an_empty_day_from_the_afternoon_on(wxpay_sandbox):
    with at(11):
        bill = bills.download_statement(YESTERDAY)
        assert bill.state == "PENDING"
    with at(14, 30):
        bill = bills.download_statement(YESTERDAY)
    assert (bill.state, bill.rows, bill.next_try_at) == ("NO_STATEMENT", 0, None)


@pytest.mark.scenario("S47")
def test_no_statement_for_a_day_with_payments_is_not_believed_and_told_the_day_after(wxpay_sandbox):
    make_order(success_time=datetime.combine(YESTERDAY, datetime.min.time(), CHINA) + timedelta(hours=12))
    with at(15):
        assert bills.download_statement(YESTERDAY).state == "PENDING"
        assert not Discrepancy.objects.exists()
    with at(15, days=1):
        assert bills.download_statement(YESTERDAY).state == "PENDING"
    assert Discrepancy.objects.get().kind == "BILL_MISSING"


@pytest.mark.parametrize("day", [TODAY + timedelta(days=1), TODAY, TODAY - timedelta(days=200), "20260301"])
def test_a_day_without_a_statement_is_refused_before_asking(wxpay_sandbox, day):
    with pytest.raises(InvalidField):
        bills.download_statement(day)
    assert wxpay_sandbox.calls == []
    assert not Bill.objects.exists()


def test_the_daily_round_begins_at_a_quarter_past_ten_in_china(wxpay_sandbox, settings):
    settings.TIME_ZONE = "America/New_York"
    with at(10, 0):
        bills.download_due()
        assert not Bill.objects.filter(bill_date=YESTERDAY).exists()
    with at(10, 20):
        assert bills.download_due() > 0
        assert Bill.objects.filter(bill_date=YESTERDAY, merchant="default").exists()


def test_the_daily_round_catches_up_and_ends(wxpay_sandbox):
    with at(15):
        assert bills.download_due(limit=100) == 2 * bills.CATCH_UP_DAYS
        assert bills.download_due(limit=100) == 0
    assert set(Bill.objects.values_list("state", flat=True)) == {"NO_STATEMENT"}
