from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine

from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.models import Settlement
from django_wxpay.services import settlements

pytestmark = pytest.mark.django_db
CHINA = ZoneInfo("Asia/Shanghai")
TODAY = datetime.now(CHINA).date()


def record(start, end=None, *, batch_id=None, paid_out=None, currency="HKD", pay=1000, fee=10):
    end = end or start
    worth = pay - fee
    return {
        "batch_id": batch_id,
        "settlement_date": paid_out and f"{paid_out:%Y%m%d}",
        "trade_start_date": f"{start:%Y%m%d}",
        "trade_end_date": f"{end:%Y%m%d}",
        "amount": {
            "settled": worth if batch_id else 0, "unsettle": 0 if batch_id else worth, "currency": currency,
            "pay": pay, "refund": 0, "net": pay, "fee": fee,
        },
        "wallet_region": "CHINA_MAINLAND",
    }  # fmt: skip


def add(wxpay_sandbox, *records):
    mchid = wxpay_sandbox.wechat.merchant["mchid"]
    wxpay_sandbox.wechat.store.set_setting("settlements", [])
    for one in records:
        wxpay_sandbox.wechat.settlements.add(one, mchid=mchid)


def day(back):
    return TODAY - timedelta(days=back)


def states():
    return list(Settlement.objects.order_by("trade_start_date").values_list("state", "settled", "unsettle"))


def test_what_was_paid_waits_for_its_payout_and_becomes_it(wxpay_sandbox):
    wxpay_sandbox.paid_order(amount=10000)
    settlements.fetch()
    assert states() == [("UNSETTLE", 0, 9900)]
    with time_machine.travel(datetime.now(CHINA) + timedelta(days=3)):
        settlements.fetch()
    assert states() == [("SETTLED", 9900, 0)]
    assert Settlement.objects.get().batch_id


def test_a_payout_that_came_while_nobody_asked_is_found_weeks_later(wxpay_sandbox):
    add(wxpay_sandbox, record(day(2)))
    settlements.fetch_due()
    add(wxpay_sandbox, record(day(2), batch_id="B1", paid_out=TODAY))
    with time_machine.travel(datetime.now(CHINA) + timedelta(days=30)):
        settlements.fetch_due()
    assert states() == [("SETTLED", 990, 0)]


def test_the_same_again_changes_nothing(wxpay_sandbox):
    add(wxpay_sandbox, record(day(3), batch_id="B1", paid_out=day(1)), record(day(1)))
    assert settlements.fetch() == 2
    before = list(Settlement.objects.values("pk", "key", "state", "settled"))
    settlements.fetch()
    assert list(Settlement.objects.values("pk", "key", "state", "settled")) == before


def test_all_pages_are_fetched(wxpay_sandbox):
    add(wxpay_sandbox, *(record(day(5), batch_id=f"B{n}", paid_out=day(1)) for n in range(47)))
    settlements.fetch()
    assert Settlement.objects.count() == 47


def test_one_payout_that_covers_several_waiting_days_replaces_them(wxpay_sandbox):
    add(wxpay_sandbox, record(day(4)), record(day(3)), record(day(3), currency="USD"))
    settlements.fetch()
    waiting = Settlement.objects.get(trade_start_date=day(4))
    add(
        wxpay_sandbox,
        record(day(4), day(3), batch_id="B1", paid_out=day(0), pay=2000, fee=20),
        record(day(3), currency="USD"),
    )
    settlements.fetch()
    assert states() == [("SETTLED", 1980, 0), ("UNSETTLE", 0, 990)]
    assert Settlement.objects.get(state="SETTLED").pk == waiting.pk


def test_a_waiting_pool_that_grows_stays_one_row(wxpay_sandbox):
    add(wxpay_sandbox, record(day(4)))
    settlements.fetch()
    add(wxpay_sandbox, record(day(4), day(2), pay=3000))
    settlements.fetch()
    assert states() == [("UNSETTLE", 0, 2990)]


def test_one_payout_with_two_currencies_is_two_rows(wxpay_sandbox):
    paid = {"batch_id": "B1", "paid_out": day(1)}
    add(wxpay_sandbox, record(day(3), **paid), record(day(3), currency="USD", **paid))
    settlements.fetch()
    assert Settlement.objects.count() == 2


def test_a_failure_in_the_middle_stores_nothing(wxpay_sandbox):
    add(wxpay_sandbox, record(day(3), batch_id="B1", paid_out=day(1)), record(day(1)))
    wxpay_sandbox.fault("error_500", "/v3/global/settle/settlements", skip=1, times=2)
    with pytest.raises(OutcomeUnknown):
        settlements.fetch()
    assert not Settlement.objects.exists()


def test_figures_that_do_not_add_up_are_kept_and_told(wxpay_sandbox, caplog):
    odd = record(day(3), batch_id="B1", paid_out=day(1))
    odd["amount"]["fee"] = 999
    add(wxpay_sandbox, odd)
    settlements.fetch()
    assert not Settlement.objects.get().adds_up
    assert "does not add up" in caplog.text


def test_an_institution_asks_for_itself_and_for_a_sub_merchant(wxpay_sandbox):
    wxpay_sandbox.paid_order(wxpay_sandbox.signed_contract(merchant="institution"))
    sub_mchid = wxpay_sandbox.wechat.merchant["sub_mchid"]
    settlements.fetch(merchant="institution", sub_mchid=sub_mchid)
    assert Settlement.objects.get().sub_mchid == sub_mchid
