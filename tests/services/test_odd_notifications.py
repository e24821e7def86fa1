"""What is genuine and odd, unreadable or new to us: kept, acknowledged, shown; and processed when it can be."""

import dataclasses
import json
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from django_wxpay.engine import registry
from django_wxpay.engine.registry import Event
from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.models import Discrepancy, MerchantState, Notification, Order, Transition
from django_wxpay.services import attention, contracts, notifications
from django_wxpay.testing import make_contract, make_order, make_refund
from tests.letters import catch, write

pytestmark = pytest.mark.django_db
ACKNOWLEDGED = {"code": "SUCCESS", "message": "OK"}
NUL, HALF = "x\x00y", "x\ud83dy"
ODD_TYPES = ["F" * 200, "TRANSACTION." + "F" * 200, NUL, HALF, "transaction.success", "TRANSACTION.SUCCESS ", "", 7]


@pytest.fixture
def pending(wxpay_sandbox):
    """A contract that its user has signed, and the message about it, which we have not got yet."""
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
    wxpay_sandbox.sign(contract)
    contract.letter = catch(wxpay_sandbox)[-1]
    return contract


def fresh(row):
    row.refresh_from_db()
    return row


def repeated(letter, times=2):
    """Post a letter some times; gives the last answer's status."""
    return [letter.post() for _ in range(times)][-1].status_code


# The outer part


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("name", ["i" * 200, NUL, HALF, "", None, 7, ["x"], {"x": 1}, "名"])
def test_a_message_with_an_odd_id_is_processed_once(wxpay_sandbox, pending, name):
    letter = pending.letter.altered(wxpay_sandbox, id=name)
    assert repeated(letter, 3) == 200
    notification = Notification.objects.get()
    assert (notification.state, notification.attempts) == ("PROCESSED", 3)
    assert fresh(pending).state == "SIGNED"
    assert bytes(notification.body) == letter.body


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("event_type", ODD_TYPES)
def test_a_message_of_an_odd_type_is_kept_and_acknowledged(wxpay_sandbox, pending, event_type):
    letter = pending.letter.altered(wxpay_sandbox, event_type=event_type)
    assert repeated(letter) == 200
    notification = Notification.objects.get()
    assert (notification.state, notification.attempts, notification.outcome) == ("UNHANDLED", 2, "")
    assert len(notification.event_type) <= 64 and "\x00" not in notification.event_type
    assert notification.event_type.isascii() or "\ufffd" in notification.event_type
    assert fresh(pending).state == "PENDING"


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("odd", [7, ["x"], NUL, HALF, "x" * 500])
def test_odd_words_in_the_outer_part_stop_nothing(wxpay_sandbox, pending, odd):
    names = ("create_time", "summary", "resource_type", "new")
    letter = pending.letter.altered(wxpay_sandbox, **dict.fromkeys(names, odd))
    assert letter.post().status_code == 200
    assert fresh(pending).state == "SIGNED"


# What is sealed

NO_OBJECT = [b"", b"null", b"[]", b"7", b"\xff\xfe", b"{", b'{"a":' * 9000, b'{"a": "\x00"}', b"\xef\xbb\xbf{}"]


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("plain", NO_OBJECT)
def test_a_message_for_us_that_nobody_can_read_is_kept_acknowledged_and_shown(wxpay_sandbox, pending, plain):
    letter = pending.letter.sealing(wxpay_sandbox, plain)
    assert repeated(letter, 3) == 200
    notification = Notification.objects.get()
    assert (notification.state, notification.outcome, notification.attempts) == ("REFUSED", "REFUSED", 3)
    assert notification.error == "What is sealed in it is no JSON object."
    assert bytes(notification.body) == letter.body
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about) == ("UNREADABLE", "notification")
    assert discrepancy.object_id == notification.pk
    assert (notifications.retry_due(), fresh(pending).state) == (0, "PENDING")
    assert notifications.retry(notification).state == "REFUSED"  # by hand: no better


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("mchid", [1900000001, ["1900000001"], {"x": 1}, True])
def test_a_merchants_number_of_another_type_is_refused_and_kept(wxpay_sandbox, mchid):
    contract = make_contract(state="PENDING")
    payload = {"mchid": mchid, "out_contract_code": contract.out_contract_code, "plan_id": contract.plan_id}
    assert repeated(write(wxpay_sandbox, "PAPAY.SIGN", payload)) == 200
    assert (Notification.objects.get().state, fresh(contract).state) == ("REFUSED", "PENDING")
    assert Discrepancy.objects.get().about == "contract"


@pytest.mark.scenario("S58")
def test_what_is_sealed_for_somebody_else_is_repeated_later_kept_nowhere_and_shown_once(wxpay_sandbox, pending):
    plain = pending.letter.opened(wxpay_sandbox).encode()
    stranger = pending.letter.sealing(wxpay_sandbox, plain, key="k" * 32)
    letters = [stranger.altered(wxpay_sandbox, id=name) for name in ("one", "two")]
    assert [letter.post().status_code for letter in (*letters, *letters)] == [500] * 4
    assert not Notification.objects.exists()
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about) == ("UNREADABLE", "merchant")
    assert discrepancy.object_id == MerchantState.objects.get(mchid="1900000001").pk
    assert "APIv3 key" in discrepancy.theirs and discrepancy.merchant == "default"


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("body", [b"[]", b'{"code": "ORDER_NOT_EXIST", "message": "an answer"}', b"[" * 9000])
def test_what_is_signed_but_no_message_is_kept_nowhere_and_shown_once(wxpay_sandbox, pending, body):
    letter = pending.letter._replace(body=body).signed_by(wxpay_sandbox)
    assert repeated(letter, 3) == 400
    assert not Notification.objects.exists()
    assert Discrepancy.objects.get().kind == "UNREADABLE"


@pytest.mark.scenario("S58")
def test_an_algorithm_that_we_do_not_know_is_told_to_people(wxpay_sandbox, pending):
    resource = json.loads(pending.letter.body)["resource"] | {"algorithm": "AEAD_SM4_GCM"}
    assert pending.letter.altered(wxpay_sandbox, resource=resource).post().status_code == 400
    assert "unknown algorithm" in Discrepancy.objects.get().theirs


# What is new to us


def new_message(sandbox, event_type, row):
    """A message of that type about a row."""
    payload = {"mchid": row.mchid, "amount": {"total": 1}}
    names = {"contract": "out_contract_code", "order": "out_trade_no", "refund": "out_refund_no"}
    return write(sandbox, event_type, payload | {names[row.subject]: row.number})


@pytest.mark.scenario("S22")
@pytest.mark.parametrize(
    ("event_type", "make"),
    [
        ("PAPAY.SUSPEND", make_contract),
        ("TRANSACTION.PAY_BACK", make_order),
        ("TRANSACTION.FAIL", make_order),
        ("REFUND.CHANGE", make_refund),
    ],
)
def test_an_unknown_type_of_our_own_products_is_kept_acknowledged_shown_and_its_object_queried(
    wxpay_sandbox, event_type, make
):
    row = make(next_poll_at=None)
    letter = new_message(wxpay_sandbox, event_type, row)
    for _ in range(2):
        assert letter.post().json() == ACKNOWLEDGED
    notification = Notification.objects.get()
    assert (notification.state, notification.attempts, notification.error) == ("UNHANDLED", 2, "")
    assert (notification.subject, notification.number) == (row.subject, row.number)
    assert list(attention.unknown_notifications()) == [notification]
    assert fresh(row).next_poll_at <= timezone.now()
    assert not Transition.objects.exists() and not Discrepancy.objects.exists()


@pytest.mark.scenario("S22")
def test_news_about_a_refund_that_we_do_not_know_has_its_order_queried(wxpay_sandbox):
    order = make_order(next_poll_at=None)
    payload = {"mchid": order.mchid, "out_refund_no": "elsewhere", "out_trade_no": order.out_trade_no}
    write(wxpay_sandbox, "REFUND.CHANGE", payload).post()
    assert fresh(order).next_poll_at <= timezone.now()


@pytest.mark.scenario("S22")
@pytest.mark.parametrize("number", [None, 7, NUL, HALF, "z" * 3000, ["x"]])
def test_an_unknown_type_about_nothing_that_can_be_is_kept_all_the_same(wxpay_sandbox, number):
    payload = {"mchid": "1900000001", "out_trade_no": number, "out_refund_no": number, "out_contract_code": number}
    assert repeated(write(wxpay_sandbox, "TRANSACTION.PAY_BACK", payload)) == 200
    assert Notification.objects.get().state == "UNHANDLED"


def upgrade(monkeypatch, subject, event_type, number):
    """A version that knows one more type."""
    known = registry.SUBJECT[subject]
    wider = dataclasses.replace(known, events=(*known.events, Event(event_type, number)))
    monkeypatch.setitem(registry.SUBJECT, subject, wider)


def paid(order, **changes):
    return {
        "mchid": order.mchid, "appid": order.appid, "out_trade_no": order.out_trade_no, "trade_state": "SUCCESS",
        "transaction_id": "4200000000202603010000000009",
        "amount": {"total": order.amount_total, "currency": order.currency},
    } | changes  # fmt: skip


@pytest.mark.scenario("S22")
def test_an_unknown_type_is_processed_after_an_upgrade_and_costs_little_until_then(wxpay_sandbox, monkeypatch):
    order = make_order(state="CREATED")
    for _ in range(3):
        write(wxpay_sandbox, "TRANSACTION.PAY_BACK", paid(order)).post()
    write(wxpay_sandbox, "COUPON.USE", {"mchid": order.mchid}, original_type="coupon").post()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(5):
            clock.shift(3601)
            assert notifications.retry_due() == 0  # one statement put them all off
        assert set(Notification.objects.values_list("attempts", flat=True)) == {1}
        upgrade(monkeypatch, "order", "TRANSACTION.PAY_BACK", "out_trade_no")
        clock.shift(3601)
        assert notifications.retry_due() == 3
    assert fresh(order).state == "SUCCESS"
    states = Notification.objects.order_by("pk").values_list("state", "outcome", "next_try_at")
    same = ("PROCESSED", "SAME", None)
    assert list(states) == [("PROCESSED", "APPLIED", None), same, same, ("UNHANDLED", "", None)]


@pytest.mark.scenario("S22")
def test_an_unknown_type_can_be_tried_by_hand_before_and_after_an_upgrade(wxpay_sandbox, monkeypatch):
    order = make_order(state="CREATED")
    write(wxpay_sandbox, "TRANSACTION.PAY_BACK", paid(order)).post()
    assert notifications.retry(Notification.objects.get()).state == "UNHANDLED"
    upgrade(monkeypatch, "order", "TRANSACTION.PAY_BACK", "out_trade_no")
    assert notifications.retry(Notification.objects.get()).state == "PROCESSED"
    assert fresh(order).state == "SUCCESS"


@pytest.mark.scenario("S22")
def test_an_unknown_type_is_shown_for_as_long_as_messages_are_kept(wxpay_sandbox):
    write(wxpay_sandbox, "TRANSACTION.PAY_BACK", {"mchid": "1900000001"}).post()
    for days, shown in ((89, 1), (91, 0)):
        with time_machine.travel(timezone.now() + timedelta(days=days)):
            notifications.retry_due()
            assert attention.unknown_notifications().count() == shown
    assert Notification.objects.get().state == "UNHANDLED"


@pytest.mark.scenario("S22")
def test_what_an_earlier_version_failed_at_because_it_did_not_know_it_is_failed_no_more(wxpay_sandbox):
    write(wxpay_sandbox, "TRANSACTION.PAY_BACK", {"mchid": "1900000001"}).post()
    Notification.objects.update(state="FAILED", error="not known to this version", next_try_at=timezone.now())
    assert notifications.retry_due() == 1
    notification = Notification.objects.get()
    assert (notification.state, notification.error) == ("UNHANDLED", "")
    assert notification.next_try_at > timezone.now()


# Trying again


def failing(sandbox, count):
    """So many genuine messages about payments that failed once, and are due."""
    orders = [make_order(state="CREATED") for _ in range(count)]
    for order in orders:
        write(sandbox, "TRANSACTION.SUCCESS", paid(order, transaction_id=f"42{order.pk:030}")).post()
    Order.objects.update(state="CREATED")
    Notification.objects.update(state="FAILED", next_try_at=timezone.now() - timedelta(seconds=1))
    return orders


def when(part, times, deed):
    """Call `deed` before statements that contain `part`, the first `times` times."""
    left = [times]

    def wrapper(execute, sql, params, many, context):
        if part in sql.replace('"', "").replace("`", "") and left[0]:
            left[0] -= 1
            deed()
        return execute(sql, params, many, context)

    return connection.execute_wrapper(wrapper)


def breaks():
    raise ZeroDivisionError("a bug")


@pytest.mark.scenario("S26")
def test_a_message_that_is_deleted_meanwhile_stops_no_other_and_is_not_made_again(wxpay_sandbox):
    orders = failing(wxpay_sandbox, 3)
    first = Notification.objects.order_by("pk").first()
    with when("FROM django_wxpay_notification WHERE django_wxpay_notification.id", 1, first.delete):
        assert notifications.retry_due() == 3
    assert not Notification.objects.filter(event_id=first.event_id).exists()
    assert [fresh(order).state for order in orders] == ["CREATED", "SUCCESS", "SUCCESS"]
    with pytest.raises(ProcessingFailed, match="deleted meanwhile"):
        notifications.retry(first)


@pytest.mark.scenario("S26")
@pytest.mark.parametrize("count", [1, 4])
def test_messages_of_a_merchant_that_left_the_settings_are_put_off_and_stop_no_other(wxpay_sandbox, count):
    orders = failing(wxpay_sandbox, 2)
    gone = list(Notification.objects.order_by("pk")[:1])
    Notification.objects.filter(pk=gone[0].pk).update(merchant="left")
    for _ in range(count):
        notifications.retry_due()
    assert [fresh(order).state for order in orders] == ["CREATED", "SUCCESS"]
    left = Notification.objects.get(merchant="left")
    assert (left.state, left.attempts) == ("FAILED", 2)
    assert left.next_try_at > timezone.now() and "left" in left.error


@pytest.mark.scenario("S26")
def test_a_message_that_cannot_even_be_put_off_as_failed_stops_no_other(wxpay_sandbox):
    orders = failing(wxpay_sandbox, 3)
    with when("UPDATE django_wxpay_notification SET state", 2, breaks):  # what it became, then that it failed
        assert notifications.retry_due() == 3
    assert [fresh(order).state for order in orders] == ["CREATED", "SUCCESS", "SUCCESS"]
    assert Notification.objects.get(state="FAILED").next_try_at > timezone.now()


@pytest.mark.scenario("S26")
def test_a_message_known_at_last_that_breaks_waits_longer_each_time(wxpay_sandbox, monkeypatch):
    order = make_order(state="CREATED")
    write(wxpay_sandbox, "TRANSACTION.PAY_BACK", paid(order)).post()
    upgrade(monkeypatch, "order", "TRANSACTION.PAY_BACK", "out_trade_no")
    Notification.objects.update(next_try_at=timezone.now())
    with when("INTO django_wxpay_transition", 1, breaks):
        assert notifications.retry_due() == 1
    assert notifications.retry_due() == 0
    assert Notification.objects.get().state == "FAILED"
    Notification.objects.update(next_try_at=timezone.now())
    assert notifications.retry_due() == 1
    assert fresh(order).state == "SUCCESS"
