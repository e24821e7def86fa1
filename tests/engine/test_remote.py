"""Patience with a merchant that is asked to slow down or gets no answer: bounded, shared, never at others' cost."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import OutcomeUnknown, RateLimited
from django_wxpay.engine import operations, remote
from django_wxpay.models import MerchantState, Order
from django_wxpay.services import orders

pytestmark = pytest.mark.django_db

DEDUCT = "/v3/global/papay/transactions"
QUERY = "/v3/global/papay/transactions/out-trade-no"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan"}
NEVER_PAID = 6_660_011


def held_for():
    """Seconds for which the default merchant is held back."""
    state = MerchantState.objects.get(mchid=conf.merchant("default").mchid)
    return (state.slow_until - timezone.now()).total_seconds()


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract()


@pytest.fixture
def quick_to_call_it_silence(monkeypatch):
    """In process a call that gets no answer fails at once."""
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0)


def waiting_order(contract, reference):
    order = orders.deduct(contract, **ASKED | {"amount": NEVER_PAID}, reference=reference)
    assert order.state == "USERPAYING"
    return order


def all_due():
    Order.objects.open().update(next_poll_at=timezone.now() - timedelta(seconds=1))


def queries_of(sandbox, mchid):
    rows = sandbox.wechat.store.all("SELECT * FROM calls WHERE method = 'GET' AND mchid = ?", mchid)
    return sum(row["target"].startswith(QUERY) for row in rows)


# Asked to slow down


@pytest.mark.scenario("S55")
@pytest.mark.parametrize(("signed", "longest"), [(True, 600), (False, 3)])
def test_an_absurd_retry_after_slows_for_a_bounded_time_and_unsigned_it_is_not_believed(
    wxpay_sandbox, contract, signed, longest
):
    wxpay_sandbox.fault("error_429", DEDUCT, retry_after=999_999_999, signed=signed)
    with pytest.raises(RateLimited):
        orders.deduct(contract, **ASKED, reference="one")
    assert 0 < held_for() <= longest


@pytest.mark.scenario("S55")
def test_however_many_in_a_row_the_pause_stays_bounded():
    merchant_state = None
    for _ in range(40):
        remote.slow_down(SimpleMerchant, remote.Reason.RATE_LIMITED, timezone.now(), 10**9)
        merchant_state = MerchantState.objects.get(mchid=SimpleMerchant.mchid)
        assert merchant_state.slow_until <= timezone.now() + timedelta(minutes=10)
    assert merchant_state.slow_reason == "RATE_LIMITED"


class SimpleMerchant:
    mchid, alias = "1900009999", "other"


@pytest.mark.scenario("S30")
@pytest.mark.parametrize("reason", ["RATE_LIMITED", "NO_ANSWER"])
def test_calls_that_were_under_way_together_count_once(reason):
    begun_at = timezone.now()
    for _ in range(10):
        remote.slow_down(SimpleMerchant, reason, begun_at)
    assert MerchantState.objects.get().slow_step == 1
    remote.slow_down(SimpleMerchant, reason, timezone.now())
    assert MerchantState.objects.get().slow_step == 2


# No answer


@pytest.mark.scenario("S60")
def test_a_silent_merchant_costs_a_batch_one_call_and_the_others_have_their_turn(
    wxpay_sandbox, contract, quick_to_call_it_silence
):
    for number in range(4):
        waiting_order(contract, f"silent {number}")
    other = waiting_order(wxpay_sandbox.signed_contract(merchant="institution"), "other")
    wxpay_sandbox.fault("silent", QUERY, mchid=contract.mchid, times=-1)
    all_due()
    assert orders.poll() == 2
    other.refresh_from_db()
    assert other.synced_at is not None
    assert Order.objects.due().count() == 3  # given back: they wait for their merchant, not for a lease


@pytest.mark.scenario("S60")
def test_silence_holds_back_longer_and_longer_one_call_at_a_time_until_an_answer(
    wxpay_sandbox, contract, quick_to_call_it_silence
):
    for number in range(3):
        waiting_order(contract, str(number))
    wxpay_sandbox.fault("silent", QUERY, times=-1)
    pauses = []
    for _ in range(6):
        all_due()
        MerchantState.objects.update(slow_until=timezone.now())
        before = queries_of(wxpay_sandbox, contract.mchid)
        assert orders.poll() == 1
        assert queries_of(wxpay_sandbox, contract.mchid) == before + 1
        pauses.append(held_for())
    assert max(pauses[:2]) <= 0 < pauses[2] < pauses[-1] <= 60
    all_due()
    assert orders.poll() == 0  # held back: not even one

    wxpay_sandbox.wechat.faults.remove()
    MerchantState.objects.update(slow_until=timezone.now())
    assert orders.poll() == 3
    state = MerchantState.objects.get(mchid=contract.mchid)
    assert (state.slow_step, state.slow_reason, state.slow_until) == (0, "", None)


@pytest.mark.scenario("S60")
def test_while_one_process_finds_out_whether_a_silent_merchant_answers_no_other_calls_it(
    wxpay_sandbox, contract, quick_to_call_it_silence
):
    waiting_order(contract, "one")
    remote.slow_down(conf.merchant("default"), remote.Reason.NO_ANSWER, timezone.now())
    first, second = remote.Batch(), remote.Batch()
    assert first.may_call(contract.mchid)
    assert not second.may_call(contract.mchid)
    assert not remote.Batch().may_call(contract.mchid)
    assert first.may_call(contract.mchid)  # it is the one
    assert second.may_call("another")


@pytest.mark.scenario("S60")
def test_sending_stops_at_the_first_silence_too(wxpay_sandbox, contract, quick_to_call_it_silence):
    other = wxpay_sandbox.signed_contract(merchant="institution")
    for number in range(3):
        orders.plan_deduction(contract, **ASKED, reference=f"silent {number}")
    orders.plan_deduction(other, **ASKED, reference="other")
    wxpay_sandbox.fault("silent", DEDUCT, mchid=contract.mchid, times=-1)
    assert operations.send_due() == 2
    assert Order.objects.get(reference="other").state == "SUCCESS"


def test_a_customer_who_waits_is_served_while_background_work_pauses(wxpay_sandbox, contract):
    for _ in range(5):
        remote.slow_down(conf.merchant("default"), remote.Reason.NO_ANSWER, timezone.now())
    assert remote.slowed() == [contract.mchid]
    assert orders.deduct(contract, **ASKED, reference="now").state == "SUCCESS"
    assert remote.slowed() == []  # it answers


def test_a_refusal_or_a_broken_answer_is_an_answer(wxpay_sandbox, contract, quick_to_call_it_silence):
    remote.slow_down(conf.merchant("default"), remote.Reason.NO_ANSWER, timezone.now())
    wxpay_sandbox.fault("error_500", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED, reference="now")
    assert MerchantState.objects.get(mchid=contract.mchid).slow_step == 0


def test_a_call_that_fails_at_once_holds_up_nobody_and_pauses_nothing(wxpay_sandbox, contract):
    wxpay_sandbox.fault("closed_connection", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED, reference="now")
    assert not MerchantState.objects.exclude(slow_reason="").exists()


def test_a_batch_ends_after_its_seconds(monkeypatch, wxpay_sandbox, contract):
    for number in range(3):
        waiting_order(contract, str(number))
    all_due()
    wxpay_sandbox.meanwhile(lambda: time.sleep(0.3), QUERY, method="GET")
    monkeypatch.setattr(remote.Batch.__init__, "__defaults__", (0.2,))
    assert orders.poll() == 1
    assert Order.objects.due().count() == 2
