from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import InvalidField
from django_wxpay.models import Bill, Discrepancy
from django_wxpay.services import attention, bills, settlements
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


def test_a_download_that_fails_late_does_not_undo_what_another_one_brought(wxpay_sandbox):
    want(wxpay_sandbox, rows=3)
    brought = []
    wxpay_sandbox.fault("error_500", "/v3/global/statements")
    wxpay_sandbox.meanwhile(lambda: brought.append(bills.download_statement(YESTERDAY)), "/v3/global/statements")
    bills.download_statement(YESTERDAY)
    bill = Bill.objects.get()
    assert [one.state for one in brought] == [bill.state] == ["DOWNLOADED"]
    assert bill.next_try_at is None and bill.error == ""


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


def test_the_round_that_finds_a_day_missing_fetches_it(wxpay_sandbox):
    with time_machine.travel(datetime.combine(TODAY, datetime.min.time(), CHINA) + timedelta(hours=15)):  # it ticks
        assert bills.download_due() == 2 * bills.CATCH_UP_DAYS


def test_the_daily_round_catches_up_and_ends(wxpay_sandbox):
    with at(15):
        assert bills.download_due(limit=100) == 2 * bills.CATCH_UP_DAYS
        assert bills.download_due(limit=100) == 0
    assert set(Bill.objects.values_list("state", flat=True)) == {"NO_STATEMENT"}


# Whose file, and of which day


@pytest.mark.parametrize("rows", [{}, {"sub_mchid": "sub"}])
@pytest.mark.parametrize(("error", "says"), [("other_merchant", "another merchant"), ("other_day", "another day")])
def test_a_file_of_another_merchant_or_day_is_not_kept(wxpay_sandbox, kept_in, error, says, rows):
    want(wxpay_sandbox, rows=3, error=error)
    asked = {"merchant": "institution", "sub_mchid": wxpay_sandbox.wechat.merchant["sub_mchid"]} if rows else {}
    bill = bills.download_statement(YESTERDAY, **asked)
    assert (bill.state, bool(bill.next_try_at)) == ("FAILED", True)
    assert says in bill.error and "Line 2" in bill.error
    assert files(kept_in) == []


def test_a_file_of_all_sub_merchants_is_not_kept_as_one_s(wxpay_sandbox, kept_in):
    want(wxpay_sandbox, rows=3, error="other_sub_merchant")
    known = wxpay_sandbox.wechat.merchant
    asked = {"merchant": "institution", "sub_mchid": known["sub_mchid"]}
    assert "another merchant" in bills.download_statement(YESTERDAY, **asked).error
    assert files(kept_in) == []
    assert bills.download_statement(YESTERDAY, merchant="institution").rows == 3


def test_a_refund_may_tell_the_day_of_its_payment(wxpay_sandbox):
    want(wxpay_sandbox, rows=3, error="early_refunds")
    with at(12, days=-3):
        order = wxpay_sandbox.paid_order()
    with at(12, days=-1):
        wxpay_sandbox.refund(order, 800)
        wxpay_sandbox.advance(10)
    with at(11):
        assert bills.download_statement(YESTERDAY).refunds == 1


def test_an_amount_that_cannot_be_compared_is_found_before_anything_is_kept(wxpay_sandbox, kept_in):
    want(wxpay_sandbox, rows=3, error="odd_currency")
    bill = bills.download_statement(YESTERDAY)
    assert bill.error.startswith("BillCorrupt: Line 2: column")
    assert files(kept_in) == []


@pytest.mark.scenario("S58")
def test_a_reason_that_quotes_what_no_database_takes_is_kept_without_it(wxpay_sandbox):
    want(wxpay_sandbox, rows=3, error="nul_in_heading")
    bill = bills.download_statement(YESTERDAY)
    assert "not understood: " in bill.error and "\0" not in bill.error
    bill.refresh_from_db()
    assert (bill.state, bool(bill.next_try_at)) == ("FAILED", True)


def due_bill(**values):
    values = {
        "merchant": "default", "mchid": conf.merchant("default").mchid, "bill_date": YESTERDAY,
        "next_try_at": timezone.now(),
    } | values  # fmt: skip
    return Bill.objects.create(**values)


def test_a_bill_of_the_number_that_an_alias_had_is_not_fetched_with_its_new_one(wxpay_sandbox, kept_in):
    want(wxpay_sandbox, rows=3)
    old = due_bill(mchid="1999999999")
    for fetch in (bills.download_due, lambda: bills.download_again(old)):
        fetch()
        old.refresh_from_db()
        assert (old.state, old.rows) == ("FAILED", 0)
        assert "now signs as" in old.error and old.next_try_at
    assert not list((kept_in / "wxpay" / "bills").glob("1999999999/*"))


def test_no_merchant_of_the_mainland_is_asked_for_global_books(wxpay_sandbox, settings):
    want(wxpay_sandbox, rows=3)
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"default": merchants["default"] | {"REGION": "mainland"}}}
    for service in (
        lambda: bills.download_statement(YESTERDAY),
        lambda: bills.plan_statement(YESTERDAY),
        settlements.fetch,
    ):
        with pytest.raises(ImproperlyConfigured, match="global"):
            service()
    bill = due_bill()
    bills.download_due()
    settlements.fetch_due()
    bill.refresh_from_db()
    assert bill.state == "FAILED" and "mainland" in bill.error
    assert wxpay_sandbox.calls == []


def test_a_merchant_under_another_alias_keeps_its_bills(wxpay_sandbox, settings):
    want(wxpay_sandbox, rows=3)
    bill = due_bill(merchant="renamed")
    assert bills.download_statement(YESTERDAY).pk == bill.pk
    bill.refresh_from_db()
    assert (bill.merchant, bill.rows) == ("default", 3)


# What ends


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"sub_mchid": "../../etc", "merchant": "institution"}, "sub_mchid"),
        ({"sub_mchid": "1" * 33, "merchant": "institution"}, "sub_mchid"),
        ({"sub_mchid": "1900000109"}, "sub_mchid"),
    ],
)
def test_a_sub_merchant_that_cannot_be_is_refused_before_a_row_is_written(wxpay_sandbox, asked, field):
    for service in (bills.download_statement, bills.plan_statement):
        with pytest.raises(InvalidField) as caught:
            service(YESTERDAY, **asked)
        assert caught.value.field == field
    assert not Bill.objects.exists() and wxpay_sandbox.calls == []


@pytest.mark.scenario("S66")
@pytest.mark.parametrize(
    "values", [{"bill_date": TODAY - timedelta(days=400)}, {"sub_mchid": "../etc", "merchant": "institution"}]
)
def test_a_bill_that_can_never_be_fetched_is_given_up(wxpay_sandbox, values):
    bill = due_bill(**values | {"mchid": conf.merchant(values.get("merchant", "default")).mchid})
    bills.download_due()
    bill.refresh_from_db()
    assert (bill.state, bill.next_try_at) == ("FAILED", None)
    assert bill.error.startswith("InvalidField")
    assert not attention.missing_bills().filter(pk=bill.pk).exists() and not Discrepancy.objects.exists()


@pytest.mark.scenario("S66")
def test_a_bill_of_a_day_with_payments_that_is_given_up_is_told(wxpay_sandbox):
    day = TODAY - timedelta(days=bills.REACH_DAYS)
    make_order(success_time=datetime.combine(day, datetime.min.time(), CHINA) + timedelta(hours=12))
    want(wxpay_sandbox, day, rows=3, error="missing_column")
    bill = bills.download_statement(day)
    assert bill.state == "FAILED" and bill.next_try_at
    assert list(attention.missing_bills()) == [bill]
    with at(12, days=1):
        bills.download_due(limit=100)
    bill.refresh_from_db()
    assert bill.next_try_at is None and not attention.missing_bills().filter(pk=bill.pk).exists()
    assert Discrepancy.objects.get(about="bill", object_id=bill.pk).kind == "BILL_MISSING"


def test_no_statement_that_nobody_signed_ends_no_bill(wxpay_sandbox):
    order = {"status": 400, "code": "NO_STATEMENT_EXIST", "signed": False}
    wxpay_sandbox.fault("refuse", "/v3/global/statements", **order)
    with at(15):
        bill = bills.download_statement(YESTERDAY)
    assert (bill.state, bool(bill.next_try_at)) == ("FAILED", True)


# The round


def test_an_incomplete_merchant_keeps_no_other_from_its_statements(wxpay_sandbox, settings):
    merchants = settings.WXPAY["MERCHANTS"]
    incomplete = merchants["default"] | {"APIV3_KEY": ""}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"incomplete": incomplete} | merchants}
    with at(15):
        bills.download_due()
    assert Bill.objects.filter(merchant="default", state="NO_STATEMENT").count() == bills.CATCH_UP_DAYS


def test_a_stale_tick_downloads_nothing_again(wxpay_sandbox):
    want(wxpay_sandbox, rows=3)
    with at(15):
        bills.download_due(limit=100)
        calls = len(wxpay_sandbox.calls)
        assert bills.download_due(limit=100) == 0
    assert len(wxpay_sandbox.calls) == calls


def test_a_bill_is_held_from_when_it_is_taken_not_from_when_the_batch_began(wxpay_sandbox):
    bill = due_bill()
    with time_machine.travel(timezone.now() + timedelta(hours=3), tick=False) as clock:
        taken = []
        for _ in range(2):
            taken.append(bills._take(bill))
            clock.shift(bills.LEASE - timedelta(minutes=1))
    assert taken == [True, False]


def test_a_batch_ends_when_its_time_is_over(wxpay_sandbox, monkeypatch):
    monkeypatch.setattr(bills, "BATCH", timedelta(0))
    due_bill()
    assert bills.download_due() == 0


def test_a_merchant_that_gives_no_answer_is_asked_once_in_a_batch(wxpay_sandbox):
    wxpay_sandbox.fault("error_500", "/v3/global/statements", times=-1)
    with at(15):
        assert bills.download_due(limit=100) == 2
    assert wxpay_sandbox.calls.count(("GET", "/v3/global/statements")) == 2


def test_a_merchant_that_holds_back_is_left_alone(wxpay_sandbox):
    wxpay_sandbox.fault("error_429", "/v3/global/statements", retry_after=600, times=2)
    with at(15):
        assert bills.download_due() == 2
        calls = len(wxpay_sandbox.calls)
        due_bill(bill_date=TODAY - timedelta(days=30))
        assert bills.download_due() == 0
    assert len(wxpay_sandbox.calls) == calls
