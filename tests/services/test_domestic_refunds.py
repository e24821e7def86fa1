"""Refunds of the mainland's payments: one model, one cap, one way in for facts, another call."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import operations
from django_wxpay.exceptions import RefundTooLarge, RefundWaits
from django_wxpay.models import Discrepancy, Operation, Refund
from django_wxpay.sandbox.special import REFUND_AMOUNTS
from django_wxpay.services import orders, payscore, refunds
from tests.letters import hearing

pytestmark = pytest.mark.django_db
REFUNDS = "/v3/refund/domestic"
PRICE = 9_000_000


@pytest.fixture(params=["mainland", "mainland_partner"])
def paid(wxpay_sandbox, request):
    plan = wxpay_sandbox.plan(merchant=request.param, details=[payscore.Detail("Lesson", PRICE, PRICE)])
    return wxpay_sandbox.completed(wxpay_sandbox.signed_plan(plan)).orders.get()


def a_minute_passes(sandbox):
    minute = timedelta(seconds=61)
    Operation.objects.update(sent_at=F("sent_at") - minute, busy_until=F("busy_until") - minute)
    sandbox.advance(61)
    Operation.objects.open().update(next_try_at=timezone.now())
    operations.send_due()


def test_a_part_is_refunded_by_wechat_pays_number_and_notified(wxpay_sandbox, paid):
    with hearing("refund_succeeded") as heard:
        refund = refunds.create(paid, amount=5000, reference="return-1", reason="class cancelled", source="AVAILABLE")
        assert refund.state == "PROCESSING" and refund.refund_id and refund.currency == "CNY"
        wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    paid.refresh_from_db()
    assert (refund.state, refund.account, refund.fund_source) == ("SUCCESS", "balance", "AVAILABLE")
    assert (paid.state, paid.refundable_amount, paid.out_trade_no) == ("REFUND", PRICE - 5000, None)
    assert len(heard) == 1
    sent = [target for method, target in wxpay_sandbox.calls if method == "POST" and REFUNDS in target]
    assert sent == [f"{REFUNDS}/refunds"]
    assert refunds.sync(refund).state == "SUCCESS" and orders.sync(paid).state == "REFUND"
    assert not Discrepancy.objects.exists()


def test_a_lost_notification_is_made_good_by_polling(wxpay_sandbox, paid):
    refund = refunds.create(paid, amount=5000, reference="return-1")
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.advance(0)
    wxpay_sandbox.wechat.clock.shift += 5
    Refund.objects.update(next_poll_at=timezone.now())
    refunds.poll()
    refund.refresh_from_db()
    assert refund.state == "SUCCESS"


@pytest.mark.parametrize("fault", ["lost_answer", "error_500", "closed_connection"])
def test_a_refund_whose_answer_is_lost_is_made_once(wxpay_sandbox, paid, later, fault):
    wxpay_sandbox.fault(fault, REFUNDS)
    with pytest.raises(OutcomeUnknown):
        refunds.create(paid, amount=5000, reference="return-1")
    later()
    assert Refund.objects.get().state == "PROCESSING"
    assert len(wxpay_sandbox.wechat.store.all("SELECT * FROM refunds")) == 1


def test_the_cap_is_that_of_any_order_and_later_ones_wait_for_their_turn(wxpay_sandbox, paid):
    refunds.create(paid, amount=PRICE - 100, reference="return-1")
    with pytest.raises(RefundTooLarge):
        refunds.create(paid, amount=101, reference="return-2")
    second = refunds.create(paid, amount=100, reference="return-2")
    assert second.state == "CREATED"
    a_minute_passes(wxpay_sandbox)
    second.refresh_from_db()
    assert second.state == "PROCESSING"


@pytest.mark.parametrize("source", ["REFUND_SOURCE_UNSETTLED_FUNDS", "REFUND_SOURCE_RECHARGE_FUNDS"])
def test_each_region_has_purses_of_its_own(wxpay_sandbox, paid, source):
    with pytest.raises(InvalidField) as refused:
        refunds.create(paid, amount=1, reference="return-1", source=source)
    assert refused.value.field == "source"
    with pytest.raises(InvalidField):
        refunds.create(wxpay_sandbox.paid_order(), amount=1, reference="return-1", source="AVAILABLE")
    assert not Refund.objects.exists()


@pytest.mark.parametrize(("number", "state"), [(1, "ABNORMAL"), (2, "CLOSED")])
def test_a_refund_that_fails_is_told_as_it_ended(wxpay_sandbox, paid, number, state):
    with hearing("refund_failed") as heard:
        refund = refunds.create(paid, amount=REFUND_AMOUNTS + number, reference="return-1")
        wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    paid.refresh_from_db()
    assert refund.state == state and len(heard) == 1
    assert paid.refundable_amount == (PRICE if state == "CLOSED" else PRICE - refund.amount)


def test_a_refund_without_money_waits_and_can_be_given_up(wxpay_sandbox, paid):
    with pytest.raises(RefundWaits):
        refunds.create(paid, amount=REFUND_AMOUNTS + 11, reference="return-1")
    refunds.give_up(Refund.objects.get())
    paid.refresh_from_db()
    assert paid.refundable_amount == PRICE


def test_a_refused_refund_gives_back_what_was_reserved(wxpay_sandbox, paid):
    with pytest.raises(APIError):
        refunds.create(paid, amount=REFUND_AMOUNTS + 5, reference="return-1")
    paid.refresh_from_db()
    assert (Refund.objects.get().state, paid.refundable_amount) == ("REFUSED", PRICE)


def test_a_refund_made_elsewhere_is_adopted(wxpay_sandbox, paid):
    notify_url = f"https://shop.example/wxpay/notify/{paid.merchant}/"
    wxpay_sandbox.wechat.refunds.make_elsewhere(paid.transaction_id, 700, notify_url=notify_url)
    wxpay_sandbox.advance(10)
    refund = Refund.objects.get()
    assert (refund.foreign, refund.state, refund.amount) == (True, "SUCCESS", 700)
    assert refunds.sync(refund).state == "SUCCESS"


def test_all_known_refunds_of_an_order_are_queried_until_they_end(wxpay_sandbox, paid):
    first = refunds.create(paid, amount=5000, reference="return-1")
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.advance(0)
    wxpay_sandbox.wechat.clock.shift += 5
    queries = [("GET", f"{REFUNDS}/refunds/{first.out_refund_no}")]

    def asked():
        return [(method, path.partition("?")[0]) for method, path in wxpay_sandbox.calls if method == "GET"]

    before = len(asked())
    assert [one.state for one in refunds.sync_all(paid)] == ["SUCCESS"]
    assert [one.state for one in refunds.sync_all(paid)] == ["SUCCESS"]
    assert asked()[before:] == queries
