"""Statements over a socket, each fetched by a process of its own, so that its memory can be measured."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from django_wxpay.models import Bill
from django_wxpay.services import bills
from tests.real.world import at_once, returned

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

YESTERDAY = datetime.now(ZoneInfo("Asia/Shanghai")).date() - timedelta(days=1)
FEW, MANY = 6_000, 60_000
MOST_GROWTH_KIB = 8 * 1024


@pytest.fixture(autouse=True)
def honest_statements(world):
    """The sandbox is everybody's: no statement is left as a test wanted it."""
    yield
    want(world)


def want(world, **order):
    world.sandbox.tell(f"statements/{YESTERDAY:%Y%m%d}", **order)


def downloaded(world, **order):
    """What another process tells that fetched such a statement."""
    want(world, **order)
    return world.actor("download", day=YESTERDAY.isoformat()).result()


@pytest.mark.scenario("S48")
def test_ten_times_the_rows_need_no_more_memory(world):
    few, many = (downloaded(world, rows=rows) for rows in (FEW, MANY))
    assert (few["read"], many["read"]) == (FEW, MANY)
    assert many["size"] > 2 * MOST_GROWTH_KIB * 1024  # held anywhere as a whole, it would show
    assert many["peak_kib"] - few["peak_kib"] < MOST_GROWTH_KIB


@pytest.mark.scenario("S47")
@pytest.mark.scenario("S48")
def test_a_bomb_is_given_up_before_it_needs_memory(world):
    harmless = downloaded(world, rows=10)
    bomb = downloaded(world, rows=10, error="bomb")
    assert bomb["error"].startswith("BillCorrupt")
    assert bomb["peak_kib"] - harmless["peak_kib"] < MOST_GROWTH_KIB
    assert Bill.objects.get().rows == 10  # the good file stays


@pytest.mark.scenario("S49")
def test_the_same_day_fetched_by_many_at_once_is_one_row_and_one_file(world, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    want(world, rows=100)
    made = returned(at_once(*[lambda: bills.download_statement(YESTERDAY, again=True)] * 4))
    assert {bill.pk for bill in made} == {Bill.objects.get().pk}
    assert [path.name for path in tmp_path.rglob("*.gz")] == [Bill.objects.get().file.name.rpartition("/")[2]]
    assert len(list(bills.rows(Bill.objects.get()))) == 100


@pytest.mark.scenario("S49")
def test_two_ticks_at_once_download_each_day_once(world, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    want(world, rows=100)
    returned(at_once(*[bills.download_due] * 2))
    assert set(Bill.objects.values_list("attempts", flat=True)) == {1}
