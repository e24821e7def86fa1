"""Rule 9: whatever state a row is in, and however it got there, it is due some time, ends, and someone is told."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from django_wxpay.engine import operations, registry, transitions, watch
from django_wxpay.models import Contract, Discrepancy, Notification, Operation, Order, Refund, Transition
from django_wxpay.services import attention, contracts, orders, refunds
from django_wxpay.testing import make_contract, make_order, make_refund

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S66")]
HOUR = timedelta(hours=1)
OPEN = [
    (name, state, product)
    for name, model, products in (
        ("contract", Contract, [""]), ("order", Order, Order.Product.values), ("refund", Refund, [""]),
    )
    for state in model.State.values if state not in model.FINAL
    for product in products
]  # fmt: skip
ACTIONS = {
    "contract": {"PENDING": "SIGN", "SIGNED": "TERMINATE"},
    "refund": dict.fromkeys(Refund.State.values, "REFUND"),
}
ROUNDS = [timedelta(minutes=1)] * 5 + [timedelta(minutes=20)] * 6 + [timedelta(hours=12)] * 18  # nine days


@pytest.fixture
def clock():
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


def make(name, state, product, **values):
    if name == "contract":
        return make_contract(state=state, **values)
    if name == "order":
        return make_order(state=state, product=product, **values)
    return make_refund(state=state, **values)


def open_one(row, state, **values):
    """An open operation of that row, as a crash or a hand may leave one."""
    action = ACTIONS.get(row.subject, {}).get(row.state) or ("PAY" if row.product == "MICROPAY" else "DEDUCT")
    known = {"merchant": row.merchant, "mchid": row.mchid, "subject": row.subject, "object_id": row.pk}
    fields = {"REFUND": {"out_refund_no": row.number}, "TERMINATE": {"contract_id": getattr(row, "contract_id", "")}}
    return Operation.objects.create(
        **known, action=action, state=state, open_key=f"{row.subject}:{row.pk}", fields=fields.get(action, {}), **values
    )


def is_due_again(row, within):
    until = timezone.now() + within
    if row.next_poll_at is not None and row.next_poll_at <= until:
        return True
    return Operation.objects.of(row).open().filter(next_try_at__lte=until).exists()


def workers_run():
    for work in (operations.send_due, contracts.poll, orders.poll, refunds.poll, orders.close_expired, watch.watch):
        work()


@pytest.mark.parametrize("open_operation", [None, "PLANNED", "SENT", "UNKNOWN"])
@pytest.mark.parametrize(("name", "state", "product"), OPEN)
def test_an_open_row_that_nothing_would_query_is_made_due(wxpay_sandbox, name, state, product, open_operation):
    row = make(name, state, product, next_poll_at=None)
    if open_operation:
        open_one(row, open_operation, next_try_at=None)
    assert not is_due_again(row, within=24 * HOUR)
    assert watch.mend() >= 1  # its contract or order may have none either
    row.refresh_from_db()
    assert is_due_again(row, within=timedelta(0))
    assert watch.mend() == 0


@pytest.mark.parametrize("open_operation", [None, "PLANNED", "UNKNOWN"])
@pytest.mark.parametrize(("name", "state", "product"), OPEN)
def test_an_open_row_comes_to_its_end_or_to_a_person(wxpay_sandbox, clock, name, state, product, open_operation):
    """WeChat Pay knows nothing of it: the least that it can tell."""
    row = make(name, state, product, next_poll_at=None)
    if open_operation:
        sent = None if open_operation == "PLANNED" else timezone.now()
        open_one(row, open_operation, sent_at=sent, busy_until=sent and sent + timedelta(seconds=43), next_try_at=None)
    for pause in ROUNDS:
        clock.shift(pause)
        workers_run()
    row.refresh_from_db()
    reported = Discrepancy.objects.filter(about=name, object_id=row.pk).exists() or row.state == Refund.State.ABNORMAL
    open_by_nature = row.state == Contract.State.SIGNED
    assert row.is_final or reported or open_by_nature
    assert row.is_final or is_due_again(row, within=24 * HOUR)
    for operation in Operation.objects.of(row).open():
        assert operation.next_try_at is not None and reported


def test_every_open_state_has_a_limit_or_is_open_by_its_nature():
    without = {
        (name, state)
        for name, state, _ in OPEN
        if state not in registry.SUBJECT[name].patience
    }  # fmt: skip
    assert without == {("contract", "SIGNED"), ("refund", "ABNORMAL")}  # the latter is told when it comes


def test_who_is_told_once_is_not_told_again_by_the_clock(wxpay_sandbox, clock):
    make_refund(state="PROCESSING")
    clock.shift(timedelta(days=8))
    assert watch.tell() == 1
    assert watch.tell() == 0
    Discrepancy.objects.update(state="IGNORED", open_key=None)
    assert watch.tell() == 0


def undelivered(number, **values):
    known = {"merchant": "default", "subject": "order", "object_id": number, "to_state": "SUCCESS"}
    return Transition.objects.create(**known, source="ANSWER", deliver_after=None, **values)


def test_a_parked_delivery_is_shown_to_a_person_and_those_behind_it_wait(wxpay_sandbox):
    parked = undelivered(1, delivery_attempts=10)
    undelivered(1)
    assert list(attention.parked_transitions()) == [parked]
    assert watch.mend() == 0


def test_a_delivery_that_waits_for_nothing_is_made_due(wxpay_sandbox):
    lost = undelivered(1)
    assert watch.mend() == 1
    assert list(Transition.objects.due()) == [lost]


def test_a_delivery_whose_row_is_gone_is_parked_and_holds_up_no_other(wxpay_sandbox, clock):
    order = make_order()
    gone = Transition.objects.create(merchant="default", subject="order", object_id=0, to_state="X", source="ANSWER")
    there = Transition.objects.create(
        merchant="default", subject="order", object_id=order.pk, to_state="SUCCESS", source="ANSWER"
    )
    for _ in range(20):
        transitions.deliver_due()
        clock.shift(HOUR)
    there.refresh_from_db()
    assert there.delivered_at is not None
    assert list(attention.parked_transitions()) == [gone]


@pytest.mark.parametrize("state", ["WAITING", "FAILED"])
def test_a_notification_without_a_next_try_is_given_one_and_is_shown(wxpay_sandbox, state):
    row = Notification.objects.create(
        merchant="default", mchid="1", event_id="e", event_type="PAPAY.SIGN", state=state, body=b"{}"
    )
    shown = {"WAITING": attention.waiting_notifications, "FAILED": attention.failed_notifications}[state]
    assert watch.mend() == 1
    assert list(shown()) == list(Notification.objects.due()) == [row]


def test_nothing_is_said_where_all_is_well(wxpay_sandbox, caplog):
    wxpay_sandbox.paid_order()
    asked = {"amount": 1, "currency": "HKD", "description": "March", "reference": "r"}
    orders.plan_deduction(make_contract(next_poll_at=timezone.now()), **asked)
    caplog.clear()
    assert watch.watch() == 0
    assert caplog.records == []


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        (lambda: Operation.objects.due().order_by("next_try_at"), "next_try_at"),
        (lambda: Order.objects.open().filter(created_at__lte=timezone.now()), "wxpay_order_state"),
        (lambda: Order.objects.open().filter(next_poll_at__isnull=True), "next_poll_at|wxpay_order_state"),
        (lambda: Contract.objects.open().filter(next_poll_at__isnull=True), "next_poll_at|wxpay_contract_state"),
        (lambda: Refund.objects.filter(state="ABNORMAL"), "wxpay_refund_state"),
        (lambda: Transition.objects.parked(), "wxpay_transition_delivered|deliver_after"),
        (lambda: Notification.objects.due().order_by("next_try_at"), "wxpay_notification_state"),
    ],
)
def test_what_is_looked_for_each_tick_has_an_index(rows, index):
    if connection.vendor != "sqlite":
        pytest.skip("a planner of the others reads so small a table as it is")
    plan = rows().explain()
    assert any(name in plan for name in index.split("|")), plan
    assert "SCAN" not in plan, plan
