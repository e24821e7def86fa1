"""Rules of money that no single subject owns: late answers, pauses, clocks, and other merchants' trouble."""

from datetime import timedelta

import pytest
import time_machine
from django.db import transaction
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import APIError, OutcomeUnknown, RateLimited, RequestNotSent
from django_wxpay.engine import discrepancies, operations, polling, references
from django_wxpay.engine.facts import Fact
from django_wxpay.exceptions import CalledInTransaction, OperationPending, OrderPaid, ReferenceReused
from django_wxpay.models import (
    Action,
    Contract,
    Discrepancy,
    MerchantState,
    Notification,
    Operation,
    Order,
    PlatformCertificate,
    Refund,
    Source,
)
from django_wxpay.sandbox.special import CODE_PREFIX, PAYMENT_AMOUNTS
from django_wxpay.services import certificates, contracts, notifications, orders, refunds, settlements
from django_wxpay.testing import make_contract, make_order, make_refund
from tests import letters

pytestmark = pytest.mark.django_db
DEDUCT, REFUNDS, REVERSE = "/v3/global/papay/transactions", "/v3/global/refunds", "/reverse"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "m-1"}
NOT_ENOUGH, PAYING_FOR_EVER = PAYMENT_AMOUNTS + 1, PAYMENT_AMOUNTS + 11


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract()


@pytest.fixture
def clock():
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


def fresh(row):
    row.refresh_from_db()
    return row


def calls_of(wxpay_sandbox, ending):
    return [call for call in wxpay_sandbox.calls if call[1].endswith(ending)]


# refunds: codes that ask for the same again


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("code", ["BIZERR_NEED_RETRY", "BIZ_ERR_NEED_RETRY", "SYSTEMERROR", "SYSTEM_ERROR"])
def test_a_refund_answered_come_again_keeps_its_number_whatever_the_status(wxpay_sandbox, later, code):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.fault("refuse", REFUNDS, status=400, code=code, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r")
    refund = Refund.objects.get()
    assert (refund.state, fresh(order).refund_reserved) == ("CREATED", 1000)
    later()
    assert (fresh(refund).state, Refund.objects.count()) == ("PROCESSING", 1)


# polling for ever


def test_a_refused_refund_that_a_query_confirms_is_not_queried_again(wxpay_sandbox, clock):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.fault("refuse", REFUNDS, status=403, code="USER_ACCOUNT_ABNORMAL", method="POST")
    with pytest.raises(APIError):
        refunds.create(order, amount=1000, reference="r")
    refund = Refund.objects.get()
    assert (refund.state, refund.next_poll_at is None) == ("REFUSED", False)
    clock.shift(timedelta(seconds=20))
    refunds.poll()
    assert fresh(refund).next_poll_at is None


def test_a_refund_adopted_without_the_merchants_number_is_queried_by_wechat_pays(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.delivers = False
    wxpay_sandbox.refund_elsewhere(order, 1000)
    there = wxpay_sandbox.wechat.store.all("SELECT * FROM refunds")[0]
    number = there["refund_id"]
    foreign = make_refund(order=order, amount=1000, out_refund_no=None, refund_id=number, foreign=True, reference=None)
    wxpay_sandbox.wechat.advance(20)
    refunds.sync(foreign)
    assert foreign.state == "SUCCESS"


# confirming


@pytest.mark.scenario("S33")
@pytest.mark.parametrize("state", ["USERPAYING", "NOTPAY", None])
def test_a_query_begun_before_the_end_does_not_count_as_its_confirmation(wxpay_sandbox, state):
    order = make_order(state="REVOKED", next_poll_at=timezone.now() + timedelta(seconds=15))
    begun_at = order.state_at - timedelta(seconds=1)
    if state is None:
        polling.not_there(order, begun_at)
    else:
        data = {
            "mchid": order.mchid, "out_trade_no": order.out_trade_no, "trade_state": state,
            "amount": {"total": 3800, "currency": "HKD"},
        }  # fmt: skip
        fact = Fact(conf.merchant("default").mchid, data, Source.QUERY, begun_at=begun_at)
        with transaction.atomic():
            assert orders.apply_order(fact).outcome == "STALE"
    assert fresh(order).next_poll_at is not None


@pytest.mark.scenario("S33")
def test_a_reversal_that_arrives_after_all_is_heard_of(wxpay_sandbox, clock):
    """Its answer is lost, a query meanwhile says paid, and then it is carried out: the money went back."""
    order = orders.pay_by_code(auth_code=f"{CODE_PREFIX}0011", **ASKED | {"description": "Coffee"})
    wxpay_sandbox.fault("closed_connection", "*/reverse")
    clock.shift(timedelta(seconds=46))
    orders.advance_till(order)
    clock.shift(timedelta(seconds=6))
    orders.advance_till(order)
    assert Operation.objects.open().get().action == "REVERSE"
    wxpay_sandbox.wechat.orders.become(wxpay_sandbox.wechat.orders.get(order.out_trade_no), "SUCCESS", 0)
    clock.shift(timedelta(seconds=6))
    orders.advance_till(order)
    assert order.state == "SUCCESS"
    assert not Operation.objects.open().exists()
    there = wxpay_sandbox.wechat.orders.get(order.out_trade_no)
    wxpay_sandbox.wechat.orders.reverse(there, "REVOKED")
    for _ in range(30):
        clock.shift(timedelta(seconds=5))
        orders.poll()
    assert (fresh(order).state, order.next_poll_at) == ("REVOKED", None)


# reversing deductions


def test_a_deduction_that_was_paid_is_found_so_before_it_is_reversed(wxpay_sandbox, contract):
    wxpay_sandbox.fault("lost_answer", DEDUCT)
    wxpay_sandbox.notification_fault("lost")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    Operation.objects.filter(action="DEDUCT").update(busy_until=timezone.now(), leased_until=None)
    with pytest.raises(OrderPaid):
        orders.retry_deduction(Order.objects.get())
    assert Order.objects.get().state == "SUCCESS"
    assert calls_of(wxpay_sandbox, REVERSE) == []
    assert not Operation.objects.open().exists()


@pytest.mark.parametrize("proven", [True, False])
def test_only_a_proven_429_counts_as_never_sent(wxpay_sandbox, contract, proven, monkeypatch):
    monkeypatch.setattr(type(conf.client("default")), "_is_proven", lambda self, raw: proven)
    wxpay_sandbox.fault("error_429", DEDUCT)
    with pytest.raises(RateLimited):
        orders.deduct(contract, **ASKED)
    operation = Operation.objects.get(action="DEDUCT")
    assert (operation.state, operation.busy_until is None) == ("PLANNED" if proven else "UNKNOWN", proven)
    if not proven:
        with pytest.raises(OperationPending, match="under way"):
            orders.reverse(Order.objects.get())


# many at once


@pytest.mark.scenario("S30")
def test_after_a_429_the_others_of_this_merchant_wait(wxpay_sandbox, contract):
    for number in range(5):
        orders.plan_deduction(contract, **ASKED | {"reference": f"m-{number}"})
    wxpay_sandbox.fault("error_429", DEDUCT, times=-1)
    operations.send_due()
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1
    assert MerchantState.objects.get().slow_step == 1


@pytest.mark.scenario("S30")
def test_after_a_429_the_poller_leaves_this_merchant_alone_and_no_other(wxpay_sandbox):
    for merchant in ("default", "default", "institution", "default"):
        make_order(merchant=merchant, state="NOTPAY", next_poll_at=timezone.now())
    wxpay_sandbox.fault("error_429", DEDUCT, times=1)
    before = len(wxpay_sandbox.calls)
    orders.poll()
    asked = [call for call in wxpay_sandbox.calls[before:] if call[0] == "GET" and "out-trade-no" in call[1]]
    assert len(asked) == 2


@pytest.mark.scenario("S45")
def test_a_worker_does_not_work_on_after_its_claim_ran_out(wxpay_sandbox, clock):
    for _ in range(3):
        make_order(state="NOTPAY", next_poll_at=timezone.now())
    seen = []

    def slow(row):
        seen.append(row)
        clock.shift(timedelta(seconds=80))

    polling.poll(Order.objects.all(), slow, 10)
    assert len(seen) == 1  # a batch lasts seconds, a claim two minutes


@pytest.mark.scenario("S45")
def test_two_workers_with_the_same_list_query_once(wxpay_sandbox, contract):
    wxpay_sandbox.fault("closed_connection", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    Operation.objects.update(next_try_at=timezone.now())
    mine, theirs = Operation.objects.get(action="DEDUCT"), Operation.objects.get(action="DEDUCT")
    before = len(wxpay_sandbox.calls)
    operations.advance(mine)
    operations.advance(theirs)
    assert len(wxpay_sandbox.calls) == before + 1


# one broken row


def test_a_message_of_a_merchant_that_left_gives_way_to_the_others(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.delivers = False
    wxpay_sandbox.paid_order(contract)
    letter = letters.catch(wxpay_sandbox)[-1]
    notification = letter.receive()
    due = timezone.now() - timedelta(minutes=1)
    Notification.objects.filter(pk=notification.pk).update(state="FAILED", next_try_at=due)
    values = Notification.objects.filter(pk=notification.pk).values().get() | {
        "id": None,
        "event_id": "x",
        "merchant": "gone",
    }
    Notification.objects.create(**values | {"next_try_at": due - timedelta(hours=1)})
    notifications.retry_due()
    assert Notification.objects.get(pk=notification.pk).state == "PROCESSED"
    assert Notification.objects.get(event_id="x").next_try_at > timezone.now()


def test_a_merchant_that_breaks_does_not_keep_others_from_their_certificates(wxpay_sandbox, settings):
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"broken": {"MCHID": "1"}} | merchants}
    assert certificates.refresh_due() == len(merchants)


def test_a_merchant_that_breaks_does_not_keep_others_from_their_settlements(wxpay_sandbox, settings):
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"broken": {"MCHID": "1"}} | merchants}
    settlements.fetch_due()
    assert any("settlements" in path for _, path in wxpay_sandbox.calls)


def test_an_operation_that_breaks_for_a_day_becomes_a_discrepancy(wxpay_sandbox):
    order = orders.plan_deduction(make_contract(), **ASKED)
    Operation.objects.of(order).update(merchant="gone", created_at=timezone.now() - timedelta(days=2))
    Order.objects.update(merchant="gone")
    operations.send_due()
    assert Discrepancy.objects.get().kind == "STUCK"


# small things


@pytest.mark.parametrize("path", ["amount.payer_total"])
def test_a_number_that_no_column_holds_is_no_number(path):
    data = {"amount": {"payer_total": 2**63}}
    assert Fact("", data, Source.QUERY).whole(path) is None


def test_a_foreign_refund_of_more_than_a_column_holds_is_refused(wxpay_sandbox):
    order = make_order()
    data = {
        "mchid": order.mchid, "out_trade_no": order.out_trade_no, "out_refund_no": "x", "refund_id": "5",
        "refund_status": "SUCCESS", "amount": {"refund": 2**64, "currency": "HKD"},
    }  # fmt: skip
    with transaction.atomic():
        applied = refunds.apply_refund(Fact(conf.merchant("default").mchid, data, Source.NOTIFICATION))
    assert applied.outcome == "REFUSED"


def test_a_reference_that_differs_in_case_only_is_not_the_same(wxpay_sandbox):
    order = make_order(reference="m-1")
    with pytest.raises(ReferenceReused):
        references.refuse_reuse(order, "M-1", Action.DEDUCT, on_row={"amount_total": order.amount_total})


# whoever was away for too long


def test_a_sender_that_slept_before_sending_does_not_send_any_more(wxpay_sandbox, contract, clock, monkeypatch):
    """A machine that was suspended: meanwhile the order may have been reversed and charged under another number."""
    order = orders.plan_deduction(contract, **ASKED)
    claim = operations._claim

    def sleep_after(operation):
        won = claim(operation)
        clock.shift(timedelta(hours=2))
        return won

    monkeypatch.setattr(operations, "_claim", sleep_after)
    with pytest.raises(RequestNotSent):
        operations.send(order.operation)
    assert ("POST", DEDUCT) not in wxpay_sandbox.calls
    monkeypatch.undo()
    clock.shift(timedelta(hours=1))
    operations.send_due()
    assert fresh(order).state == "SUCCESS"


def test_what_another_worker_sent_again_meanwhile_counts_as_under_way(wxpay_sandbox, contract, later):
    """A worker with an old list in hand."""
    wxpay_sandbox.fault("closed_connection", DEDUCT, method="POST", times=2)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    hour = timedelta(hours=1)
    Operation.objects.filter(action="DEDUCT").update(busy_until=timezone.now() - hour, next_try_at=timezone.now())
    in_hand = Operation.objects.get(action="DEDUCT")
    operations.send_due()  # another worker
    Operation.objects.filter(action="DEDUCT").update(next_try_at=timezone.now())
    operations.advance(in_hand)
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 2


def test_what_another_worker_was_told_to_send_later_is_sent_later(wxpay_sandbox, contract):
    order = orders.plan_deduction(contract, **ASKED)
    in_hand = Operation.objects.of(order).get()
    Operation.objects.of(order).update(next_try_at=timezone.now() + timedelta(minutes=1))
    operations.advance(in_hand)
    assert ("POST", DEDUCT) not in wxpay_sandbox.calls


# contracts


def test_a_404_of_some_gateway_ends_no_session(wxpay_sandbox, monkeypatch):
    contract = contracts.sign(plan_id=12345, user_display_name="Li M.")
    Contract.objects.update(expired_time=timezone.now() - timedelta(hours=1))
    monkeypatch.setattr(type(conf.client("default")), "_is_proven", lambda self, raw: False)
    wxpay_sandbox.fault("refuse", "/v3/global/papay/contracts/out-contract-code", status=404, code="")
    with pytest.raises(APIError):
        contracts.sync(contract)
    assert fresh(contract).state == "PENDING"


# certificates


def test_a_certificate_that_ended_long_ago_proves_nothing(wxpay_sandbox):
    certificates.refresh("default")
    assert certificates.KeyStore().load("default")
    PlatformCertificate.objects.update(expire_time=timezone.now() - timedelta(days=3))
    assert certificates.KeyStore().load("default") == {}


# transactions


@pytest.mark.scenario("S29")
@pytest.mark.parametrize("make, sync", [(make_contract, contracts.sync), (make_order, orders.sync)])
def test_not_even_a_query_is_sent_inside_a_transaction(wxpay_sandbox, make, sync):
    row = make()
    with pytest.raises(CalledInTransaction), transaction.atomic():
        sync(row)
    assert wxpay_sandbox.calls == []


def test_what_does_not_fit_and_its_news_are_written_together(wxpay_sandbox, monkeypatch):
    def killed(*args, **known):
        raise KeyboardInterrupt

    monkeypatch.setattr(discrepancies.transitions, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        discrepancies.record(Discrepancy.Kind.STUCK, make_order())
    assert not Discrepancy.objects.exists()


# what WeChat Pay knows


def test_what_wechat_pay_knows_is_not_sent_again_though_it_does_not_fit(wxpay_sandbox, contract, later):
    orders.plan_deduction(contract, **ASKED)
    operation = Operation.objects.get(action="DEDUCT")
    Operation.objects.filter(pk=operation.pk).update(fields=operation.fields | {"amount_total": 1})
    operations.send_due()
    later()
    later()
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1
    assert Operation.objects.get(pk=operation.pk).state == "UNKNOWN"


@pytest.mark.scenario("S30")
def test_after_a_429_to_a_query_the_others_of_this_merchant_wait(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("closed_connection", DEDUCT, method="POST", times=3)
    for number in range(3):
        with pytest.raises(OutcomeUnknown):
            orders.deduct(contract, **ASKED | {"reference": f"m-{number}"})
    wxpay_sandbox.fault("error_429", DEDUCT, method="GET", times=-1)
    before = len(wxpay_sandbox.calls)
    later()
    assert len(wxpay_sandbox.calls) == before + 1
