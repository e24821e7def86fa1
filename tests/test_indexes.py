"""What tasks, dashboard and lists ask of tables that grow for ever is served by an index, on every database.

The plans of what really ran are looked at, with rows enough that an index is worth its while.
"""

import re
from datetime import datetime, timedelta
from datetime import timezone as tz

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.models import Bill, Order, Refund, Settlement
from django_wxpay.services import attention, bills, settlements
from django_wxpay.testing import make_order, make_refund

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor == "mysql", reason="MariaDB's plans read otherwise"),
]
ROWS = 2000
AFTERNOON_IN_CHINA = datetime(2026, 3, 20, 8, tzinfo=tz.utc)


@pytest.fixture
def long_history(wxpay_sandbox, settings, tmp_path):
    """Years of a merchant's orders, refunds, bills and settlements."""
    settings.MEDIA_ROOT = tmp_path
    with time_machine.travel(AFTERNOON_IN_CHINA, tick=False):
        mchid = conf.merchant("institution").mchid
        order = make_order(merchant="institution", mchid=mchid)
        _copies(order, "out_trade_no", "transaction_id")
        _copies(make_refund(order=order), "out_refund_no", "refund_id")
        today = bills.china_today()
        Bill.objects.bulk_create(
            Bill(
                merchant="institution", mchid=mchid, sub_mchid=str(number), bill_date=today - timedelta(days=number),
                state="DOWNLOADED",
            )
            for number in range(ROWS)
        )  # fmt: skip
        Settlement.objects.bulk_create(
            Settlement(
                merchant="institution", mchid=mchid, key=str(number), state="SETTLED", currency="HKD",
                trade_start_date=today - timedelta(days=number), trade_end_date=today - timedelta(days=number),
            )
            for number in range(ROWS)
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        yield wxpay_sandbox


def _copies(row, *unique):
    """Rows like this one, a day apart, from a year ago back: all are old."""
    model = type(row)
    values = {field.attname: getattr(row, field.attname) for field in model._meta.concrete_fields}
    del values["id"]
    made = []
    for number in range(ROWS):
        at = timezone.now() - timedelta(days=365 + number)
        own = {name: None if values[name] is None else f"copy{number}" for name in unique}
        made.append(model(**values | own | {"created_at": at, "success_time": at, "reference": f"copy-{number}"}))
    model.objects.bulk_create(made)


def plans(work):
    """{table: the plans of all statements about it that `work` runs}."""
    with CaptureQueriesContext(connection) as queries:
        work()
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    found = {}
    with connection.cursor() as cursor:
        for sql in (query["sql"] for query in queries):
            if about := re.match(r"(?:SELECT|UPDATE|DELETE)\b.*?[`\"](django_wxpay_\w+)", sql):
                cursor.execute(f"{word} {sql}")
                found.setdefault(about[1], []).append("\n".join(str(line[-1]) for line in cursor.fetchall()))
    return found


def scans(plan):
    """Whether a whole table is read. SQLite: "SCAN t"; an index read in order, for a list, says "USING INDEX"."""
    return bool(re.search(r"Seq Scan on django_wxpay|SCAN django_wxpay\w+(?! USING)$", plan, re.M))


def test_the_books_are_kept_and_shown_without_reading_whole_tables(long_history):
    def work():
        bills.download_due()
        settlements.fetch_due()
        attention.missing_bills().count()
        list(Bill.objects.all()[:50])
        list(Bill.objects.filter(state="FAILED")[:50])
        list(Settlement.objects.all()[:50])

    found = plans(work)
    grown = [table._meta.db_table for table in (Bill, Order, Refund, Settlement)]
    assert set(grown) <= found.keys()
    assert [plan for table in grown for plan in found[table] if scans(plan)] == []
    assert any("wxpay_bill_state" in plan for plan in found[Bill._meta.db_table])
    for model in (Order, Refund):  # whether that day had business
        assert any(f"wxpay_{model.subject}_success" in plan for plan in found[model._meta.db_table])
