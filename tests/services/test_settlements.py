from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine

from django_wxpay import conf
from django_wxpay.client.errors import MessageMalformed, OutcomeUnknown
from django_wxpay.models import MerchantState, Settlement
from django_wxpay.services import settlements
from django_wxpay.testing import make_order

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


def add(wxpay_sandbox, *records, **whose):
    whose = whose or {"mchid": wxpay_sandbox.wechat.merchant["mchid"]}
    wxpay_sandbox.wechat.store.set_setting("settlements", [])
    for one in records:
        wxpay_sandbox.wechat.settlements.add(one, **whose)


def asked(wxpay_sandbox):
    """How often settlements were asked for."""
    return wxpay_sandbox.calls.count(("GET", "/v3/global/settle/settlements"))


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


def test_one_payout_with_several_records_keeps_each_of_them(wxpay_sandbox):
    paid = {"batch_id": "B1", "paid_out": day(1)}
    add(wxpay_sandbox, record(day(4), **paid), record(day(3), pay=2000, **paid), record(day(4), day(3), fee=7, **paid))
    settlements.fetch()
    assert sorted(settled for _, settled, _ in states()) == [990, 993, 1990]


def test_records_that_nothing_tells_apart_but_their_amounts_are_all_kept(wxpay_sandbox):
    paid = {"batch_id": "B1", "paid_out": day(1)}
    twins = record(day(3), **paid), record(day(3), pay=2000, **paid)
    add(wxpay_sandbox, *twins, record(day(1)), record(day(1), pay=500))
    for _ in range(2):
        settlements.fetch()
    assert states() == [("SETTLED", 990, 0), ("SETTLED", 1990, 0), ("UNSETTLE", 0, 990), ("UNSETTLE", 0, 490)]


def test_a_record_that_two_pages_list_is_one(wxpay_sandbox):
    paid = record(day(3), batch_id="B1", paid_out=day(1))
    add(wxpay_sandbox, paid, paid)
    settlements.fetch()
    assert states() == [("SETTLED", 990, 0)]


def test_what_waits_no_more_counts_no_more_whatever_days_its_payout_tells(wxpay_sandbox):
    add(wxpay_sandbox, record(day(4)), record(day(2)))
    settlements.fetch()
    add(wxpay_sandbox, record(day(3), batch_id="B1", paid_out=day(0)), record(day(2)))
    settlements.fetch()
    assert states() == [("SETTLED", 990, 0), ("UNSETTLE", 0, 990)]


def test_what_waits_again_from_a_day_that_was_paid_out_is_a_row_of_its_own(wxpay_sandbox):
    add(wxpay_sandbox, record(day(3), batch_id=None, paid_out=day(1)))
    settlements.fetch()
    add(wxpay_sandbox, record(day(3), batch_id=None, paid_out=day(1)), record(day(3), pay=500))
    settlements.fetch()
    assert [state for state, *_ in states()] == ["SETTLED", "UNSETTLE"]


def test_what_waits_for_one_stays_when_another_is_asked_about(wxpay_sandbox):
    known = wxpay_sandbox.wechat.merchant
    add(wxpay_sandbox, record(day(4)))
    settlements.fetch()
    settlements.fetch(merchant="institution", sub_mchid=known["sub_mchid"])
    assert states() == [("UNSETTLE", 0, 990)]


def test_what_was_split_with_others_is_kept(wxpay_sandbox):
    split = {"settled": 100, "unsettle": 20, "currency": "HKD", "pay": 150, "refund": 30}
    add(wxpay_sandbox, record(day(3), batch_id="B1", paid_out=day(1)) | {"split_amount": split}, record(day(1)))
    settlements.fetch()
    paid, waiting = Settlement.objects.order_by("trade_start_date")
    assert {name: getattr(paid, f"split_{name}") for name in split} == split
    assert waiting.split_settled is None


@pytest.mark.parametrize(
    "odd",
    [
        {"trade_start_date": None},
        {"trade_start_date": "2026-03-01"},
        {"trade_end_date": "20260230"},
        {"amount": [1]},
        {"amount": {"settled": "10.00"}},
        {"batch_id": "B" * 65},
        {"batch_id": "B\0"},
        {"split_amount": {"pay": 1.5}},
    ],
)
def test_a_record_that_cannot_be_read_is_said_to_be_so_and_nothing_is_stored(wxpay_sandbox, odd):
    add(wxpay_sandbox, record(day(3), batch_id="B1", paid_out=day(1)), record(day(1)) | odd)
    with pytest.raises(MessageMalformed):
        settlements.fetch()
    assert not Settlement.objects.exists()


def test_the_round_asks_for_each_sub_merchant_that_is_configured_or_had_business(wxpay_sandbox):
    known = wxpay_sandbox.wechat.merchant
    paid = make_order(merchant="institution", mchid=known["sp_mchid"], sub_mchid="1900000777")
    settlements.fetch_due()
    queries = wxpay_sandbox.wechat.store.all("SELECT target FROM calls WHERE target LIKE '%settlements%'")
    targets = " ".join(row["target"] for row in queries)
    assert f"sub_mchid={known['sub_mchid']}" in targets
    assert f"sub_mchid={paid.sub_mchid}" in targets


def test_the_round_goes_on_after_a_sub_merchant_that_is_refused(wxpay_sandbox):
    known = wxpay_sandbox.wechat.merchant
    for sub_mchid in ("1900000777", "1900000778", "malformed"):  # nobody that the sandbox knows
        make_order(merchant="institution", mchid=known["sp_mchid"], sub_mchid=sub_mchid)
    add(wxpay_sandbox, record(day(1)), mchid=known["sp_mchid"], sub_mchid=known["sub_mchid"])
    settlements.fetch_due()
    assert Settlement.objects.filter(sub_mchid=known["sub_mchid"]).exists()


def test_an_incomplete_merchant_keeps_no_other_from_its_settlements(wxpay_sandbox, settings):
    merchants = settings.WXPAY["MERCHANTS"]
    incomplete = merchants["default"] | {"APIV3_KEY": ""}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"incomplete": incomplete} | merchants}
    add(wxpay_sandbox, record(day(1)))
    settlements.fetch_due()
    assert states() == [("UNSETTLE", 0, 990)]


def test_a_merchant_that_gives_no_answer_is_not_asked_for_each_of_its_sub_merchants(wxpay_sandbox):
    mchid = wxpay_sandbox.wechat.merchant["sp_mchid"]
    for number in range(9):
        make_order(merchant="institution", mchid=mchid, sub_mchid=f"190000077{number}")
    wxpay_sandbox.fault("error_500", "/v3/global/settle/settlements", times=-1)
    settlements.fetch_due()
    assert asked(wxpay_sandbox) == 2  # one for each merchant


def test_a_stale_tick_asks_for_nothing(wxpay_sandbox):
    settlements.fetch_due()
    calls = asked(wxpay_sandbox)
    settlements.fetch_due()
    assert asked(wxpay_sandbox) == calls
    with time_machine.travel(datetime.now(CHINA) + timedelta(hours=6)):
        settlements.fetch_due()
    assert asked(wxpay_sandbox) == 2 * calls


def test_a_merchant_that_gave_no_answer_is_asked_again_within_the_hour(wxpay_sandbox):
    wxpay_sandbox.fault("error_500", "/v3/global/settle/settlements", times=2)
    settlements.fetch_due()
    with time_machine.travel(datetime.now(CHINA) + timedelta(hours=1)):
        assert settlements.fetch_due() == 0
    assert asked(wxpay_sandbox) > 2


def test_a_merchant_that_is_asked_to_slow_down_is_left_alone(wxpay_sandbox):
    wxpay_sandbox.fault("error_429", "/v3/global/settle/settlements", retry_after=600)
    settlements.fetch_due()
    slowed = MerchantState.objects.exclude(slow_until=None).get()
    assert slowed.mchid == conf.merchant("default").mchid
