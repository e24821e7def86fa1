"""Delivering: how a shop hears of what became true, once, in order, whatever its receivers do."""

import time
from datetime import timedelta

import pytest
import time_machine
from celery import Celery
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_wxpay.engine import queue, transitions
from django_wxpay.models import Contract, Notification, Order, Transition
from django_wxpay.services import contracts, orders, refunds
from django_wxpay.testing import make_contract, make_order, make_refund
from tests.celery_app import app as celery_app
from tests.letters import catch, hearing, receiver_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def notified(wxpay_sandbox):
    """A signed contract whose transition nobody was told of yet."""
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
    wxpay_sandbox.sign(contract)
    catch(wxpay_sandbox)[-1].post()
    return Transition.objects.get()


class Flaky:
    """A shop's receiver that raises for its first `times` calls, after it has written."""

    def __init__(self, times, name="member"):
        self.left, self.name, self.calls = times, name, 0

    def __call__(self, sender, row, transition, **kwargs):
        self.calls += 1
        Group.objects.create(name=f"{self.name} {self.calls}")
        if self.left:
            self.left -= 1
            raise LookupError("the shop's own bug")


def deliver_at(moment):
    with time_machine.travel(moment, tick=False):
        return transitions.deliver_due()


# What is heard


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_the_whole_story_is_heard_in_order_with_the_row_as_it_is(wxpay_sandbox, merchant):
    with hearing() as heard:
        contract = wxpay_sandbox.signed_contract(merchant=merchant)
        order = wxpay_sandbox.paid_order(contract)
        refund = wxpay_sandbox.refund(order, 1000)
        wxpay_sandbox.advance(10)
        contracts.terminate(contract)
        wxpay_sandbox.deliver()
    code, number, refund_no = contract.out_contract_code, order.out_trade_no, refund.out_refund_no
    named = [entry for entry in heard if entry[0] != "state_changed"]
    assert named == [
        ("contract_signed", code, "SIGNED"),
        ("order_paid", number, "SUCCESS"),
        ("refund_succeeded", refund_no, "SUCCESS"),
        ("contract_terminated", code, "TERMINATED"),
    ]
    assert len([entry for entry in heard if entry[0] == "state_changed"]) == Transition.objects.count() == 6


@pytest.mark.parametrize(
    ("row", "state", "signal"),
    [
        (lambda: make_order(state="CREATED"), "SUCCESS", "order_paid"),
        (lambda: make_order(state="CREATED"), "REFUND", "order_paid"),
        (lambda: make_order(state="SUCCESS"), "REFUND", None),
        (lambda: make_order(state="SUCCESS"), "REVOKED", "order_closed"),
        (lambda: make_order(state="NOTPAY"), "CLOSED", "order_closed"),
        (lambda: make_order(state="CREATED"), "REFUSED", "order_closed"),
        (lambda: make_order(state="CLOSED"), "PAYERROR", None),
        (lambda: make_order(state="CLOSED"), "SUCCESS", "order_paid"),
        (lambda: make_order(state="CREATED"), "NOTPAY", None),
        (lambda: make_refund(state="CREATED"), "PROCESSING", None),
        (lambda: make_refund(), "SUCCESS", "refund_succeeded"),
        (lambda: make_refund(), "ABNORMAL", "refund_failed"),
        (lambda: make_refund(state="ABNORMAL"), "SUCCESS", "refund_succeeded"),
        (lambda: make_refund(), "CLOSED", "refund_failed"),
        (lambda: make_refund(state="CREATED"), "REFUSED", "refund_failed"),
        (lambda: make_contract(state="PENDING"), "EXPIRED", None),
        (lambda: make_contract(state="PENDING"), "SIGNED", "contract_signed"),
        (lambda: make_contract(), "TERMINATED", "contract_terminated"),
    ],
)
def test_each_move_has_its_signal(wxpay_sandbox, row, state, signal):
    row = row()
    old, row.state = row.state, state
    row.save()
    transitions.record(row, old, source="QUERY")
    with hearing() as heard:
        transitions.deliver_due()
    names = [name for name, *_ in heard]
    assert names == ["state_changed"] + ([signal] if signal else [])


def test_a_receiver_gets_the_row_and_the_transition(notified):
    seen = []

    def receiver(sender, row, transition, **kwargs):
        seen.append((sender, row, transition))

    with receiver_of("contract_signed", receiver):
        transitions.deliver_due()
    [(sender, row, transition)] = seen
    assert (sender, row, transition) == (Contract, Contract.objects.get(), notified)


def test_without_receivers_everything_counts_as_delivered(notified):
    assert transitions.deliver_due() == 1
    notified.refresh_from_db()
    assert notified.delivered_at and notified.deliver_after is None
    assert transitions.deliver_due() == 0


# When a receiver fails


@pytest.mark.scenario("S25")
def test_a_receiver_that_raises_delays_neither_our_row_nor_the_answer_to_wechat_pay(wxpay_sandbox):
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
    wxpay_sandbox.sign(contract)
    failing = Flaky(100)
    with receiver_of("contract_signed", failing):
        assert catch(wxpay_sandbox)[-1].post().status_code == 200
        assert failing.calls == 0  # nobody waits for it
        contract.refresh_from_db()
        assert contract.state == "SIGNED"
        assert transitions.deliver_due() == 0
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    assert Notification.objects.get().state == "PROCESSED"


@pytest.mark.scenario("S25")
@pytest.mark.scenario("S26")
def test_a_receivers_writes_happen_exactly_once_however_often_it_raised(notified):
    flaky = Flaky(2)
    with receiver_of("contract_signed", flaky):
        for minutes in range(4):
            deliver_at(timezone.now() + timedelta(minutes=minutes))
    assert flaky.calls == 3
    assert Group.objects.get().name == "member 3"
    notified.refresh_from_db()
    assert notified.delivered_at and notified.delivery_error == ""


@pytest.mark.scenario("S25")
def test_one_receiver_that_raises_undoes_the_writes_of_the_others_too(notified):
    first, second = Flaky(0, "first"), Flaky(1, "second")
    with receiver_of("state_changed", first), receiver_of("contract_signed", second):
        assert transitions.deliver_due() == 0
        assert not Group.objects.exists()
        deliver_at(timezone.now() + timedelta(minutes=1))
    assert set(Group.objects.values_list("name", flat=True)) == {"first 2", "second 2"}


@pytest.mark.scenario("S25")
def test_deliveries_back_off_park_after_ten_and_are_delivered_by_hand(notified):
    flaky = Flaky(10)
    start = moment = timezone.now()
    pauses = []
    with receiver_of("contract_signed", flaky):
        for attempt in range(1, 11):
            assert deliver_at(moment) == 0
            notified.refresh_from_db()
            assert notified.delivery_attempts == attempt
            assert "LookupError: the shop's own bug" in notified.delivery_error
            if notified.deliver_after is None:
                break
            assert deliver_at(notified.deliver_after - timedelta(seconds=1)) == 0
            assert flaky.calls == attempt  # not before its time
            pauses.append(notified.deliver_after - moment)
            moment = notified.deliver_after
        assert notified.is_parked
        assert list(Transition.objects.parked()) == [notified]
        assert pauses == sorted(pauses) and pauses[0] >= timedelta(seconds=2)
        assert timedelta(minutes=5) < moment - start < timedelta(hours=2)
        assert deliver_at(moment + timedelta(days=3)) == 0
        assert flaky.calls == 10

        assert transitions.deliver_again(notified)
    notified.refresh_from_db()
    assert notified.delivered_at and not notified.is_parked
    assert Group.objects.count() == 1


@pytest.mark.scenario("S25")
def test_a_delivery_by_hand_that_fails_again_is_tried_again_by_itself(notified):
    Transition.objects.filter(pk=notified.pk).update(deliver_after=None, delivery_attempts=10)
    with receiver_of("contract_signed", Flaky(1)):
        assert not transitions.deliver_again(notified)
        notified.refresh_from_db()
        assert notified.delivery_attempts == 1
        assert deliver_at(timezone.now() + timedelta(seconds=10)) == 1


@pytest.mark.scenario("S25")
def test_what_was_delivered_is_not_delivered_again_by_hand(notified):
    transitions.deliver_due()
    with hearing() as heard:
        assert not transitions.deliver_again(notified)
    assert heard == []


@pytest.mark.scenario("S25")
def test_an_object_is_told_in_order_and_others_do_not_wait_for_it(wxpay_sandbox):
    wxpay_sandbox.delivers = False
    slow = wxpay_sandbox.sign(contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M."))
    quick = wxpay_sandbox.sign(contracts.sign(plan_id=12345, openid="o-two", user_display_name="Wu"))
    wxpay_sandbox.wechat.deliver_due()
    for contract in (slow, quick):
        contract.refresh_from_db()
        contracts.terminate(contract)

    class Stubborn:
        left = 1

        def __call__(self, sender, row, transition, **kwargs):
            if row.pk == slow.pk and self.left:
                self.left -= 1
                raise LookupError

    stubborn = Stubborn()
    with receiver_of("contract_signed", stubborn), hearing("contract_signed", "contract_terminated") as heard:
        transitions.deliver_due()
        assert [number for _, number, _ in heard] == [quick.out_contract_code] * 2
        assert not transitions.deliver_again(Transition.objects.get(object_id=slow.pk, to_state="TERMINATED"))
        deliver_at(timezone.now() + timedelta(minutes=1))
    assert [state for _, number, state in heard if number == slow.out_contract_code] == ["SIGNED", "TERMINATED"]
    assert [state for _, number, state in heard if number == quick.out_contract_code] == ["SIGNED", "TERMINATED"]


@pytest.mark.scenario("S25")
def test_hundreds_that_wait_for_a_parked_one_are_not_looked_at_again_and_come_in_order_after_it(wxpay_sandbox):
    stuck, other = make_order(), make_order()
    stories = [transitions.record(stuck, "CREATED", source="ANSWER").pk for _ in range(300)]
    Transition.objects.filter(pk=stories[0]).update(deliver_after=None, delivery_attempts=10)
    heard = []

    def receiver(sender, row, transition, **kwargs):
        heard.append(transition.pk)

    with receiver_of("state_changed", receiver):
        assert transitions.deliver_due() == 0  # they find out once that they wait
        late = transitions.record(other, "CREATED", source="ANSWER")
        stories.append(transitions.record(stuck, "CREATED", source="ANSWER").pk)
        with CaptureQueriesContext(connection) as statements:
            assert transitions.deliver_due() == 1
        assert heard == [late.pk]
        assert len(statements) < 30
        assert list(Transition.objects.parked().values_list("pk", flat=True)) == stories[:1]
        assert transitions.deliver_again(Transition.objects.get(pk=stories[0]))
        while transitions.deliver_due():
            pass
    assert heard == [late.pk, *stories]
    assert not Transition.objects.undelivered().exists()


def test_a_row_that_is_gone_parks_its_transition_and_holds_up_nobody(wxpay_sandbox):
    gone, there = make_order(), make_order()
    for order in (gone, there):
        transitions.record(order, "CREATED", source="ANSWER")
    gone.delete()
    with hearing("order_paid") as heard:
        assert transitions.deliver_due() == 1
    assert [number for _, number, _ in heard] == [there.out_trade_no]


# What a receiver may do


def test_a_receiver_may_plan_a_charge_and_it_commits_with_the_delivery(wxpay_sandbox):
    class Charge:
        left = 1

        def __call__(self, sender, row, transition, **kwargs):
            orders.plan_deduction(row, amount=100, currency="HKD", description="first", reference=f"first-{row.pk}")
            if self.left:
                self.left -= 1
                raise LookupError

    with receiver_of("contract_signed", Charge()):
        wxpay_sandbox.signed_contract()
        assert not Order.objects.exists()  # it raised after it planned: neither is there
        deliver_at(timezone.now() + timedelta(minutes=1))
    assert Order.objects.get().reference.startswith("first-")


def test_a_receiver_that_speaks_to_wechat_pay_is_told_to_plan_instead(notified):
    def receiver(sender, row, transition, **kwargs):
        contracts.terminate(row)

    with receiver_of("contract_signed", receiver):
        transitions.deliver_due()
    notified.refresh_from_db()
    assert notified.delivery_error.startswith("CalledInTransaction")
    assert "plan_termination" in notified.delivery_error


@pytest.mark.django_db(transaction=True)
def test_delivering_inside_a_transaction_is_refused(wxpay_sandbox):
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        transitions.deliver_due()


# Without a broker


@pytest.mark.scenario("S24")
@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_down_hinders_no_transition_and_beat_delivers(wxpay_sandbox, caplog, monkeypatch):
    monkeypatch.setattr(queue, "_quiet_until", 0.0)
    down = Celery("down", broker="redis://127.0.0.1:1/0", set_as_current=False)
    down.set_current()
    heard, started = [], time.monotonic()

    def receiver(sender, row, transition, **kwargs):
        heard.append(row.pk)

    try:
        wxpay_sandbox.delivers = False
        with receiver_of("order_paid", receiver):
            contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
            wxpay_sandbox.sign(contract)
            assert catch(wxpay_sandbox)[-1].post().status_code == 200
            contract.refresh_from_db()
            order = orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r")
            assert catch(wxpay_sandbox)[-1].post().status_code == 200
            refunds.plan_refund(order, amount=50, reference="later")
            assert time.monotonic() - started < 1  # nobody waited for the broker
            assert heard == []
            assert transitions.deliver_due() == Transition.objects.count()
            assert heard == [order.pk]
    finally:
        assert queue.wait(60)
        celery_app.set_current()
    assert order.state == "SUCCESS"
    assert "could not queue" in caplog.text
