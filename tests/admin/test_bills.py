import gzip
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_wxpay.engine import discrepancies
from django_wxpay.models import Bill, Discrepancy
from django_wxpay.services import bills

pytestmark = pytest.mark.django_db(transaction=True)
STATEMENTS = "/v3/global/statements"


@pytest.fixture(autouse=True)
def kept_in(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def accountant(staff):
    return staff("view_bill", "download_bill", name="ada")


@pytest.fixture
def onlooker(staff):
    return staff("view_bill", name="otto")


@pytest.fixture
def today(wxpay_sandbox):
    return datetime.now(ZoneInfo("Asia/Shanghai")).date()


@pytest.fixture
def yesterday(today):
    return today - timedelta(days=1)


@pytest.fixture
def want(wxpay_sandbox):
    """Order a statement of that day at the sandbox."""
    return lambda day, **order: wxpay_sandbox.wechat.statements.want(f"{day:%Y%m%d}", **order)


@pytest.fixture
def downloads(wxpay_sandbox):
    """How often WeChat Pay was asked for a file."""
    return lambda: wxpay_sandbox.calls.count(("GET", STATEMENTS))


@pytest.fixture
def bill(want, yesterday):
    want(yesterday, rows=30)
    return bills.download_statement(yesterday)


# Pages


def test_the_page_tells_what_is_in_a_statement(bill, accountant):
    page = accountant.get("bill_change", bill.pk)
    assert "DOWNLOADED" in page.text and "Rows 30 Payments 30 Refunds 0" in page.text
    assert accountant.url("bill_file", bill.pk) in page.html


def test_a_failed_bill_shows_why_and_when_it_is_tried_again(want, yesterday, onlooker):
    want(yesterday, rows=3, error="wrong_hash")
    bill = bills.download_statement(yesterday)
    for page in (onlooker.get("bill_changelist"), onlooker.get("bill_change", bill.pk)):
        assert "SHA-1 is not the one WeChat Pay signed" in page.html
        assert "failed" in page.text


def test_the_list_is_filtered_by_state(bill, want, today, onlooker):
    want(today - timedelta(days=2), rows=3, error="wrong_hash")
    failed = bills.download_statement(today - timedelta(days=2))
    page = onlooker.get("bill_changelist", state__exact="FAILED")
    assert onlooker.url("bill_change", failed.pk) in page.html
    assert onlooker.url("bill_change", bill.pk) not in page.html


def test_a_statement_that_is_a_day_late_is_on_the_dashboard(want, today, onlooker):
    for back in (1, 3):
        want(today - timedelta(days=back), rows=3, error="missing_column")
        bills.download_statement(today - timedelta(days=back))
    dashboard = onlooker.get("dashboard")
    assert "1 Statements missing" in dashboard.text
    page = onlooker.get("bill_changelist", attention="missing")
    assert [bill.bill_date for bill in page.answer.context["cl"].result_list] == [today - timedelta(days=3)]


def test_what_does_not_fit_a_bill_stands_on_its_page(bill, boss):
    about = {"ours": "payments or refunds on that day", "theirs": "no statement", "about": "bill"}
    found = discrepancies.record(Discrepancy.Kind.BILL_MISSING, bill, **about)
    page = boss.get("bill_change", bill.pk)
    assert "No statement for a day with payments" in page.text
    assert boss.url("discrepancy_change", found.pk) in page.html


def test_nobody_adds_changes_or_deletes_bills_by_hand(bill, boss):
    assert boss.get("bill_add").status_code == 403
    assert boss.get("bill_delete", bill.pk).status_code == 403
    assert boss.post("bill_change", bill.pk, state="PENDING").status_code == 403
    assert "delete_selected" not in boss.get("bill_changelist").html


# The file


def test_the_file_is_handed_out_as_an_attachment_and_remembered(bill, accountant):
    answer = accountant.browser.get(accountant.url("bill_file", bill.pk))
    assert answer["Content-Type"] == "application/gzip"
    assert "no-store" in answer["Cache-Control"] and "private" in answer["Cache-Control"]
    assert f'attachment; filename="{bill.mchid}-{bill.bill_date:%Y%m%d}.csv.gz"' == answer["Content-Disposition"]
    lines = gzip.decompress(b"".join(answer.streaming_content)).decode().splitlines()
    assert len(lines) == 31
    taken = LogEntry.objects.get()
    assert (taken.user, taken.object_id, taken.change_message) == (accountant.user, str(bill.pk), "Took the file.")


def test_a_file_that_the_storage_lost_is_said_to_be_gone_and_comes_back(bill, accountant):
    bill.file.storage.delete(bill.file.name)
    page = accountant.post("bill_file", bill.pk)
    assert "There is no file in the storage" in page.text
    accountant.confirm("bill_download", bill.pk)
    answer = accountant.browser.get(accountant.url("bill_file", bill.pk))
    assert gzip.decompress(b"".join(answer.streaming_content))


@pytest.mark.scenario("S41")
def test_the_file_is_not_for_everybody_who_sees_the_list(bill, onlooker, staff, client, caplog):
    for name, args in (("bill_file", [bill.pk]), ("bill_download", [bill.pk]), ("bill_download", [])):
        for way in (onlooker.get, onlooker.post):
            caplog.clear()
            assert way(name, *args).status_code == 403
            assert f"user={onlooker.user.pk}" in caplog.text
    for page in (onlooker.get("bill_changelist"), onlooker.get("bill_change", bill.pk)):
        assert onlooker.url("bill_file", bill.pk) not in page.html
        assert bill.file.name not in page.html
        assert "download" not in page.html.replace("downloaded", "")
    blind = staff("download_bill", name="blind")
    assert blind.get("bill_file", bill.pk).status_code == 403
    answer = client.get(onlooker.url("bill_file", bill.pk))
    assert answer.status_code == 302 and "/login/" in answer["Location"]


# Again


def test_download_again_replaces_the_file_and_says_what_came(bill, want, accountant, downloads):
    want(bill.bill_date, rows=31)
    assert accountant.url("bill_download", bill.pk) in accountant.get("bill_change", bill.pk).links
    asked = accountant.get("bill_download", bill.pk)
    assert "Download this statement again?" in asked.text and downloads() == 1
    page = accountant.post("bill_download", bill.pk, token=asked.token)
    assert "is here: 31 payments and 0 refunds." in page.text
    assert downloads() == 2
    assert "is here: 31 payments" in LogEntry.objects.get().change_message
    assert len(list(bills.rows(Bill.objects.get()))) == 31


def test_downloading_again_in_vain_keeps_the_file_and_says_so(bill, want, accountant):
    want(bill.bill_date, rows=31, error="cut_short")
    page = accountant.confirm("bill_download", bill.pk)
    assert "could not be fetched again; the file that we have stays. Reason: BillCorrupt" in page.text
    assert len(list(bills.rows(Bill.objects.get()))) == 30


def test_downloading_while_wechat_pay_cannot_be_reached_says_so(want, yesterday, accountant, wxpay_sandbox):
    want(yesterday, rows=3, error="creating")
    bill = bills.download_statement(yesterday)
    wxpay_sandbox.fault("closed_connection", STATEMENTS)
    page = accountant.confirm("bill_download", bill.pk)
    assert "could not be fetched, and nothing was kept. It is tried again by itself (" in page.text


def test_a_day_out_of_reach_is_not_asked_for(wxpay_sandbox, accountant, today):
    mchid = wxpay_sandbox.wechat.merchant["mchid"]
    old = Bill.objects.create(merchant="default", mchid=mchid, bill_date=today - timedelta(days=181), state="FAILED")
    assert "keeps statements for 180 days" in accountant.get("bill_download", old.pk).text
    assert accountant.url("bill_download", old.pk) not in accountant.get("bill_change", old.pk).links


def test_a_bill_of_the_number_that_an_alias_had_is_never_fetched_with_its_new_one(want, accountant, yesterday):
    want(yesterday, rows=3)
    old = Bill.objects.create(merchant="default", mchid="1999999999", bill_date=yesterday, state="FAILED")
    assert "not in the settings any more" in accountant.get("bill_download", old.pk).text
    assert not accountant.choose("bill", "download_selected", [old]).token  # nothing that could be confirmed
    assert list(Bill.objects.all()) == [old] and not Bill.objects.get().next_try_at


def test_a_bill_that_was_given_up_is_said_to_be_so(want, accountant, today, wxpay_sandbox):
    mchid = wxpay_sandbox.wechat.merchant["sp_mchid"]
    bill = Bill.objects.create(merchant="institution", mchid=mchid, sub_mchid="x", bill_date=today - timedelta(days=9))
    page = accountant.confirm("bill_download", bill.pk)
    assert "cannot be fetched, and is not tried again. Reason: InvalidField" in page.text


def test_the_list_is_filtered_by_month_without_looking_through_all_rows(bill, onlooker, today):
    other = Bill.objects.create(merchant="default", mchid=bill.mchid, bill_date=today - timedelta(days=70))
    with CaptureQueriesContext(connection) as queries:
        page = onlooker.get("bill_changelist", month=f"{other.bill_date:%Y-%m}")
    assert list(page.answer.context["cl"].result_list) == [other]
    assert "DISTINCT" not in " ".join(query["sql"] for query in queries).upper()


@pytest.mark.scenario("S42")
def test_a_list_action_plans_the_chosen_days_and_a_worker_fetches_them(bill, accountant, want, downloads):
    want(bill.bill_date, rows=33)
    page = accountant.choose("bill", "download_selected", [bill])
    results = accountant.post("bill_download_selected", token=page.token)
    assert "A worker fetches it" in results.text
    assert downloads() == 1
    bills.download_due()
    bill.refresh_from_db()
    assert bill.rows == 33


def test_a_list_action_is_not_offered_without_permission(bill, onlooker):
    assert "download_selected" not in onlooker.get("bill_changelist").html
    assert not onlooker.choose("bill", "download_selected", [bill]).token


# Other days


def test_one_day_is_fetched_at_once_and_shown(want, today, accountant):
    day = today - timedelta(days=40)
    want(day, rows=7)
    assert accountant.url("bill_download") in accountant.get("bill_changelist").links
    page = accountant.post("bill_download", merchant="default", first=day.isoformat())
    bill = Bill.objects.get()
    assert page.answer.redirect_chain == [(accountant.url("bill_change", bill.pk), 302)]
    assert (bill.bill_date, bill.rows) == (day, 7)
    assert "is here: 7 payments" in page.text
    again = accountant.post("bill_download", merchant="default", first=day.isoformat())
    assert "It was here already, so nothing was fetched." in again.text


def test_an_empty_day_is_a_success(today, accountant):
    page = accountant.post("bill_download", merchant="default", first=(today - timedelta(days=40)).isoformat())
    assert "was an empty day: WeChat Pay has no statement of it." in page.text


def test_several_days_are_planned_and_a_worker_fetches_them(want, today, accountant, downloads):
    days = [today - timedelta(days=back) for back in range(42, 37, -1)]
    for day in days:
        want(day, rows=2)
    bills.download_statement(days[0])
    page = accountant.post("bill_download", merchant="default", first=days[0].isoformat(), last=days[-1].isoformat())
    assert "A worker fetches 4 statements now, one after the other; 1 were here already." in page.text
    assert downloads() == 1
    bills.download_due(limit=100)
    assert set(Bill.objects.filter(bill_date__in=days).values_list("state", "rows")) == {("DOWNLOADED", 2)}


def test_an_institution_s_sub_merchant_has_statements_of_its_own(want, today, accountant, wxpay_sandbox):
    day = today - timedelta(days=40)
    want(day, rows=7)
    sub_mchid = wxpay_sandbox.wechat.merchant["sub_mchid"]
    given = {"merchant": "institution", "sub_mchid": sub_mchid, "first": day.isoformat()}
    page = accountant.post("bill_download", **given)
    assert Bill.objects.get().sub_mchid == sub_mchid
    assert sub_mchid in page.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"first": ""}, "This field is required."),
        ({"first": "yesterday"}, "Enter a valid date."),
        ({"first": "2020-01-01"}, "Choose a day from 180 days ago to yesterday, in China."),
        ({"first": "{today}"}, "Choose a day from 180 days ago to yesterday, in China."),
        ({"first": "{yesterday}", "last": "{before}"}, "The last day is before the first."),
        ({"first": "{yesterday}", "merchant": "nobody"}, "Select a valid choice."),
        ({"first": "{yesterday}", "sub_mchid": "1900000109"}, "This merchant is in direct mode"),
        (
            {"first": "{yesterday}", "merchant": "institution", "sub_mchid": "../x"},
            "A merchant number has digits only.",
        ),
    ],
)
def test_wrong_days_are_refused_before_asking(today, yesterday, accountant, wxpay_sandbox, given, words):
    days = {"today": today, "yesterday": yesterday, "before": yesterday - timedelta(days=1)}
    filled = {name: value.format(**days) for name, value in given.items()}
    page = accountant.post("bill_download", **{"merchant": "default"} | filled)
    assert words in page.text
    assert wxpay_sandbox.calls == []
    assert not Bill.objects.exists()


def test_a_shop_with_one_direct_merchant_is_asked_for_the_day_only(
    wxpay_sandbox, settings, accountant, want, yesterday
):
    merchants = {"default": settings.WXPAY["MERCHANTS"]["default"]}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": merchants}
    page = accountant.get("bill_download")
    assert 'name="merchant"' not in page.html and 'name="sub_mchid"' not in page.html
    want(yesterday, rows=2)
    assert "is here: 2 payments" in accountant.post("bill_download", first=yesterday.isoformat()).text


def test_pages_that_fetch_work_under_atomic_requests(bill, accountant, want):
    want(bill.bill_date, rows=35)
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert "is here: 35 payments" in accountant.confirm("bill_download", bill.pk).text
        given = {"merchant": "default", "first": bill.bill_date.isoformat(), "again": "on"}
        assert "is here: 35 payments" in accountant.post("bill_download", **given).text
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
