import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_wxpay.models import Settlement

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = datetime.now(ZoneInfo("Asia/Shanghai")).date()
SETTLEMENTS = "/v3/global/settle/settlements"


@pytest.fixture
def accountant(staff):
    return staff("view_settlement", "fetch_settlement", name="ada")


@pytest.fixture
def onlooker(staff):
    return staff("view_settlement", name="otto")


def settlement(back, *, pay, refund=0, currency="HKD", settled=True, fee=0, **more):
    """A settlement of the day so many days back."""
    day, net = TODAY - timedelta(days=back), pay - refund
    worth = net - fee
    values = {
        "merchant": "default", "mchid": "1900000100", "key": f"{day}/{currency}", "currency": currency,
        "state": "SETTLED" if settled else "UNSETTLE", "batch_id": f"{day:%Y%m%d}{currency}" if settled else "",
        "trade_start_date": day, "trade_end_date": day, "settlement_date": day if settled else None,
        "pay": pay, "refund": refund, "net": net, "fee": fee,
        "settled": worth if settled else 0, "unsettle": 0 if settled else worth,
    }  # fmt: skip
    return Settlement.objects.create(**values | more)


@pytest.fixture
def books(wxpay_sandbox):
    return [
        settlement(5, pay=10000, refund=1000, fee=90),
        settlement(4, pay=20000, fee=200),
        settlement(3, pay=500, currency="JPY", fee=5),
        settlement(1, pay=3000, fee=30, settled=False),
    ]


def sums(page):
    """The table above the list, line by line."""
    table = page.html.partition("wxpay-sums")[2].partition("</table>")[0]
    return [" ".join(re.sub("<[^>]+>", " ", line).split()) for line in table.split("<tr>")[2:]]


def test_totals_are_of_each_currency_in_its_own_units(books, onlooker):
    assert sums(onlooker.get("settlement_changelist")) == [
        "HKD 3 HK$330.00 HK$10.00 HK$3.20 HK$287.10 HK$29.70",
        "JPY 1 ¥500 ¥0 ¥5 ¥495 ¥0",
    ]


@pytest.mark.parametrize(
    ("chosen", "totals"),
    [
        ({"state__exact": "UNSETTLE"}, ["HKD 1 HK$30.00 HK$0.00 HK$0.30 HK$0.00 HK$29.70"]),
        ({"currency": "JPY"}, ["JPY 1 ¥500 ¥0 ¥5 ¥495 ¥0"]),
        (
            {"settlement_date__gte": TODAY - timedelta(days=4), "settlement_date__lt": TODAY - timedelta(days=3)},
            ["HKD 1 HK$200.00 HK$0.00 HK$2.00 HK$198.00 HK$0.00"],
        ),
        ({"q": "nothing"}, []),
    ],
)
def test_totals_are_those_of_the_filtered_list(books, onlooker, chosen, totals):
    assert sums(onlooker.get("settlement_changelist", **chosen)) == totals


def test_totals_are_of_all_pages_and_cost_one_query(books, onlooker, monkeypatch):
    monkeypatch.setattr("django_wxpay.admin.settlements.SettlementAdmin.list_per_page", 2)
    onlooker.get("settlement_changelist")
    with CaptureQueriesContext(connection) as queries:
        page = onlooker.get("settlement_changelist")
    assert "HKD 3 HK$330.00" in sums(page)[0]
    assert sum("SUM(" in query["sql"].upper() for query in queries) == 1


@override_settings(LANGUAGE_CODE="zh-hans")
def test_amounts_follow_the_language_of_the_page(books, onlooker):
    assert "JP¥500" in onlooker.get("settlement_changelist").text


def test_a_settlement_that_does_not_add_up_is_shown_as_doubtful(wxpay_sandbox, onlooker):
    odd = settlement(2, pay=1000, fee=10, net=900)
    assert "does not add up" in onlooker.get("settlement_changelist").text
    assert "does not add up" in onlooker.get("settlement_change", odd.pk).text


def test_the_page_tells_the_amounts_and_the_days(books, onlooker):
    page = onlooker.get("settlement_change", books[0].pk)
    assert "SETTLED Paid out HK$89.10" in page.text
    for words in ("HK$100.00", "HK$10.00", "HK$90.00", "HK$0.90", f"{TODAY - timedelta(days=5)}"):
        assert words in page.text
    waiting = onlooker.get("settlement_change", books[3].pk)
    assert "UNSETTLE To be paid out HK$29.70" in waiting.text


def test_what_was_split_is_shown_where_there_is_something(books, onlooker):
    split = settlement(
        2, pay=9000, split_currency="HKD", split_settled=100, split_unsettle=20, split_pay=150, split_refund=30
    )
    page = onlooker.get("settlement_change", split.pk)
    for words in ("Split with others", "HK$1.00", "HK$0.20", "HK$1.50", "HK$0.30"):
        assert words in page.text
    assert "Split with others" not in onlooker.get("settlement_change", books[0].pk).text


def test_an_institution_s_own_sums_and_those_of_its_sub_merchants_stand_apart(books, onlooker):
    settlement(4, pay=700, mchid="1900000200", merchant="institution")
    settlement(4, pay=700, mchid="1900000200", merchant="institution", sub_mchid="1900000109")
    lines = sums(onlooker.get("settlement_changelist"))
    assert lines[0].startswith("HKD 4 HK$337.00")
    assert lines[1].startswith("HKD, sub-merchants 1 HK$7.00")


def test_the_list_is_filtered_by_month_and_by_currency_without_looking_through_all_rows(books, onlooker):
    month = f"{TODAY - timedelta(days=5):%Y-%m}"
    with CaptureQueriesContext(connection) as queries:
        page = onlooker.get("settlement_changelist", month=month, currency="JPY")
    rows = [one for one in books if one.currency == "JPY" and f"{one.trade_start_date:%Y-%m}" == month]
    assert list(page.answer.context["cl"].result_list) == rows
    assert "DISTINCT" not in " ".join(query["sql"] for query in queries).upper()
    assert onlooker.get("settlement_changelist", month="2026-13").status_code == 200


def test_sums_of_too_many_rows_are_not_made(books, onlooker, monkeypatch):
    monkeypatch.setattr("django_wxpay.admin.settlements.MOST_SUMMED", 3)
    page = onlooker.get("settlement_changelist")
    assert sums(page) == [] and "Choose a month to see their sums." in page.text
    assert sums(onlooker.get("settlement_changelist", currency="JPY"))


def test_an_incomplete_merchant_keeps_nobody_from_fetching_for_the_others(wxpay_sandbox, settings, accountant):
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"incomplete": {}, **merchants}}
    assert 'value="incomplete"' not in accountant.get("settlement_fetch").html
    page = accountant.post("settlement_fetch", merchant="default", start="2026-01-01", end="2026-01-31")
    assert "WeChat Pay was asked" in page.text


def test_fetching_now_brings_what_is_there(wxpay_sandbox, accountant):
    wxpay_sandbox.paid_order(amount=10000)
    assert accountant.url("settlement_fetch") in accountant.get("settlement_changelist").links
    asked = accountant.get("settlement_fetch")
    assert "Which settlements shall be fetched?" in asked.text
    page = accountant.post("settlement_fetch", merchant="default", start="2026-01-01", end="2026-01-31")
    assert "WeChat Pay was asked: 1 record, which is here now." in page.text
    assert page.answer.redirect_chain == [(accountant.url("settlement_changelist"), 302)]
    assert Settlement.objects.get().unsettle == 9900


def test_fetching_twice_changes_nothing(wxpay_sandbox, accountant):
    wxpay_sandbox.paid_order(amount=10000)
    for _ in range(2):
        accountant.post("settlement_fetch", merchant="default", start="2026-01-01", end="2026-01-31")
    assert Settlement.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start": "", "end": "2026-01-01"}, "This field is required."),
        ({"start": "2026-01-02", "end": "2026-01-01"}, "The last day is before the first."),
        ({"start": "2026-01-01", "end": "2026-01-31", "merchant": "nobody"}, "Select a valid choice."),
    ],
)
def test_wrong_days_are_refused_before_asking(wxpay_sandbox, accountant, given, words):
    page = accountant.post("settlement_fetch", **{"merchant": "default"} | given)
    assert words in page.text
    assert wxpay_sandbox.calls == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"kind": "closed_connection", "times": 3},
            "could not be reached, or gave no clear answer. Nothing has changed",
        ),
        ({"kind": "error_429"}, "takes no more questions from this merchant for the moment"),
        ({"kind": "refuse", "status": 403, "code": "NO_AUTH"}, "(NO_AUTH)"),
    ],
)
def test_a_question_without_an_answer_is_told_in_words_and_stores_nothing(wxpay_sandbox, accountant, fault, words):
    wxpay_sandbox.paid_order(amount=10000)
    wxpay_sandbox.fault(**fault, path=SETTLEMENTS)
    page = accountant.post("settlement_fetch", merchant="default", start="2026-01-01", end="2026-01-31")
    assert words in page.text
    assert "Traceback" not in page.text
    assert not Settlement.objects.exists()


@pytest.mark.scenario("S41")
def test_fetching_without_permission_is_refused_and_logged(wxpay_sandbox, onlooker, staff, caplog):
    assert onlooker.url("settlement_fetch") not in onlooker.get("settlement_changelist").html
    for way in (onlooker.get, onlooker.post):
        caplog.clear()
        assert way("settlement_fetch").status_code == 403
        assert f"admin refused action=fetch settlement=- user={onlooker.user.pk}" in caplog.text
    assert staff("fetch_settlement", name="blind").get("settlement_fetch").status_code == 403
    assert wxpay_sandbox.calls == []


def test_fetching_works_under_atomic_requests(wxpay_sandbox, accountant):
    wxpay_sandbox.paid_order(amount=10000)
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        page = accountant.post("settlement_fetch", merchant="default", start="2026-01-01", end="2026-01-31")
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert "1 record, which is here now" in page.text


def test_nobody_adds_changes_or_deletes_settlements_by_hand(books, boss):
    row = books[0]
    assert boss.get("settlement_add").status_code == 403
    assert boss.get("settlement_delete", row.pk).status_code == 403
    assert boss.post("settlement_change", row.pk, settled="1").status_code == 403
    assert "delete_selected" not in boss.get("settlement_changelist").html
