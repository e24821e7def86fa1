"""Receiving: what WeChat Pay may say, how often, in which order, and what must be true after."""

import json
from datetime import timedelta

import pytest
import time_machine
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_wxpay.client import crypto, signatures
from django_wxpay.client.errors import OutcomeUnknown, SignatureInvalid
from django_wxpay.engine import timeline, transactions
from django_wxpay.exceptions import ProcessingFailed, WrongMerchant
from django_wxpay.models import Contract, Discrepancy, Notification, Order, Refund, Transition
from django_wxpay.services import contracts, notifications, orders, refunds
from django_wxpay.testing import make_contract, make_order
from tests.letters import catch, hearing, payload_of_order, write

pytestmark = pytest.mark.django_db
ACKNOWLEDGED = {"code": "SUCCESS", "message": "OK"}
DEDUCTION = {"amount": 3800, "currency": "HKD", "description": "March plan"}


def state_of(row):
    row.refresh_from_db()
    return row.state


def outcomes():
    return list(Notification.objects.order_by("pk").values_list("event_type", "state", "outcome"))


def became(row):
    return list(Transition.objects.of(row).order_by("pk").values_list("to_state", "source"))


@pytest.fixture
def pending(wxpay_sandbox):
    """A contract that its user has signed, and the message about it, which we have not got yet."""
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
    wxpay_sandbox.sign(contract)
    contract.letter = catch(wxpay_sandbox)[-1]
    return contract


def unknown_payment(sandbox, merchant="default", **asked):
    """An order that was paid, though we do not know it: its answer was lost, its notification is on its way."""
    contract = sandbox.signed_contract(merchant=merchant)
    sandbox.delivers = False
    sandbox.fault("lost_answer", "/v3/global/papay/transactions")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **DEDUCTION | {"reference": "march"} | asked)
    return Order.objects.get()


# Once, twice, late, out of order


@pytest.mark.scenario("S01")
def test_the_same_notification_five_times_is_acknowledged_counted_and_applied_once(wxpay_sandbox, pending):
    with hearing("contract_signed", "state_changed") as heard:
        for _ in range(5):
            answer = pending.letter.signed_by(wxpay_sandbox).post()
            assert (answer.status_code, answer.json()) == (200, ACKNOWLEDGED)
        wxpay_sandbox.deliver()
    assert Notification.objects.get().attempts == 5
    assert became(pending) == [("SIGNED", "NOTIFICATION")]
    assert [name for name, *_ in heard] == ["state_changed", "contract_signed"]


@pytest.mark.scenario("S03")
def test_two_notification_ids_about_one_fact_are_both_kept_and_move_the_row_once(wxpay_sandbox):
    order = unknown_payment(wxpay_sandbox)
    first = catch(wxpay_sandbox)[-1]
    second = write(wxpay_sandbox, "TRANSACTION.SUCCESS", payload_of_order(wxpay_sandbox, order))
    for letter in (first, second):
        assert letter.post().status_code == 200
    assert outcomes()[-2:] == [
        ("TRANSACTION.SUCCESS", "PROCESSED", "APPLIED"),
        ("TRANSACTION.SUCCESS", "PROCESSED", "SAME"),
    ]
    assert became(order) == [("SUCCESS", "NOTIFICATION")]


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("refund_first", [True, False])
def test_payment_and_its_refund_end_the_same_in_either_order(wxpay_sandbox, refund_first):
    order = unknown_payment(wxpay_sandbox)
    payment = catch(wxpay_sandbox)[-1]
    url = payment_url(wxpay_sandbox)
    wxpay_sandbox.wechat.refunds.make_elsewhere(order.out_trade_no, 1000, notify_url=url)
    wxpay_sandbox.wechat.clock.shift += 60
    refund = catch(wxpay_sandbox)[-1]
    with hearing("order_paid", "order_closed", "refund_succeeded") as heard:
        for letter in (refund, payment) if refund_first else (payment, refund):
            assert letter.signed_by(wxpay_sandbox).post().status_code == 200
        wxpay_sandbox.deliver()
    assert (state_of(order), order.refundable_amount) == ("REFUND", 2800)
    assert order.transaction_id and order.success_time
    assert Refund.objects.get().state == "SUCCESS"
    assert {state for _, state, _ in outcomes()} == {"PROCESSED"}
    assert sorted(name for name, *_ in heard) == ["order_paid", "refund_succeeded"]


def payment_url(sandbox):
    return sandbox.wechat.store.one("SELECT notify_url FROM orders")["notify_url"]


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("terminate_first", [True, False])
def test_signing_and_terminating_end_the_same_in_either_order(wxpay_sandbox, pending, terminate_first):
    wxpay_sandbox.wechat.contracts.terminate_by_user(pending.out_contract_code)
    letters = [pending.letter, catch(wxpay_sandbox)[-1]]
    for letter in reversed(letters) if terminate_first else letters:
        assert letter.post().status_code == 200
    assert state_of(pending) == "TERMINATED"
    assert pending.contract_id and pending.signed_time and pending.terminated_time
    assert pending.termination_mode == "USER"
    assert {state for _, state, _ in outcomes()} == {"PROCESSED"}


@pytest.mark.scenario("S05")
def test_an_older_state_after_a_final_one_is_ignored_and_stays_in_the_timeline(wxpay_sandbox):
    order = unknown_payment(wxpay_sandbox)
    payment = catch(wxpay_sandbox)[-1]
    for state in ("REFUND", "SUCCESS"):
        write(
            wxpay_sandbox, "TRANSACTION.SUCCESS", payload_of_order(wxpay_sandbox, order) | {"trade_state": state}
        ).post()
    assert payment.post().status_code == 200
    assert state_of(order) == "REFUND"
    assert became(order) == [("REFUND", "NOTIFICATION")]
    outcomes = [entry.row.outcome for entry in timeline.of(order) if entry.kind == "notification"]
    assert outcomes == ["APPLIED", "STALE", "STALE"]
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S05")
def test_a_signing_that_arrives_after_the_termination_signs_nothing_again(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    payload = payload_of_contract(contract)
    contracts.terminate(contract)
    assert write(wxpay_sandbox, "PAPAY.SIGN", payload, original_type="papay").post().status_code == 200
    assert state_of(contract) == "TERMINATED"
    assert Notification.objects.order_by("pk").last().outcome == "STALE"


def payload_of_contract(contract, **changes):
    """What PAPAY.SIGN says of a contract."""
    return {
        "mchid": contract.mchid,
        "appid": contract.appid,
        "contract_id": contract.contract_id or "202603011234567890",
        "out_contract_code": contract.out_contract_code,
        "plan_id": contract.plan_id,
        "openid": contract.openid,
        "operate_time": "2026-03-01T12:10:00+08:00",
    } | changes


@pytest.mark.scenario("S05")
def test_a_message_that_contradicts_a_final_state_is_settled_by_a_query(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    closed = payload_of_order(wxpay_sandbox, order) | {"trade_state": "CLOSED"}
    assert write(wxpay_sandbox, "TRANSACTION.SUCCESS", closed).post().status_code == 200
    assert state_of(order) == "SUCCESS"
    assert order.next_poll_at <= timezone.now()
    orders.poll()
    assert state_of(order) == "SUCCESS"
    assert order.next_poll_at is None


@pytest.mark.scenario("S08")
def test_a_request_replayed_to_the_byte_inside_the_window_changes_nothing(wxpay_sandbox, pending):
    assert [pending.letter.post().status_code for _ in range(2)] == [200, 200]
    assert became(pending) == [("SIGNED", "NOTIFICATION")]
    assert Notification.objects.get().attempts == 2


# What is proved


@pytest.mark.scenario("S06")
@pytest.mark.parametrize(("seconds", "says"), [(-360, "36[01] seconds ago"), (360, "3(59|60) seconds ahead")])
def test_a_right_signature_of_six_minutes_off_is_refused_before_any_rsa(
    wxpay_sandbox, pending, monkeypatch, seconds, says
):
    def no_rsa(*args):
        raise AssertionError("RSA was computed")

    monkeypatch.setattr(crypto, "verifies", no_rsa)
    calls = len(wxpay_sandbox.calls)
    letter = pending.letter.signed_by(wxpay_sandbox, shift=seconds, serial="5A" * 20)  # unknown: it would be looked up
    with pytest.raises(SignatureInvalid, match=says):
        letter.receive()
    assert letter.post().status_code == 401
    assert len(wxpay_sandbox.calls) == calls
    assert not Notification.objects.exists()


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("seconds", [-360, 360])
def test_without_the_window_a_message_six_minutes_off_would_be_believed(wxpay_sandbox, pending, monkeypatch, seconds):
    monkeypatch.setattr(signatures, "TOLERANCE_SECONDS", 3600)
    assert pending.letter.signed_by(wxpay_sandbox, shift=seconds).receive().state == "PROCESSED"


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("seconds", [-290, 290])
def test_a_message_almost_five_minutes_off_is_believed(wxpay_sandbox, pending, seconds):
    assert pending.letter.signed_by(wxpay_sandbox, shift=seconds).receive().state == "PROCESSED"


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(("skew", "says"), [(600, "ahead of our clock"), (-600, "seconds ago")])
def test_a_refusal_names_the_skew_when_our_clock_is_ten_minutes_off(wxpay_sandbox, pending, skew, says):
    wxpay_sandbox.wechat.set_clock(skew=skew)
    answer = pending.letter.signed_by(wxpay_sandbox).post()
    assert answer.status_code == 401
    assert says in answer.json()["message"] and "our clock" in answer.json()["message"]
    wxpay_sandbox.wechat.set_clock(skew=0)
    assert pending.letter.signed_by(wxpay_sandbox).post().status_code == 200


@pytest.mark.scenario("S09")
@pytest.mark.parametrize(
    "change",
    [
        lambda body: json.dumps(json.loads(body)).encode(),
        lambda body: body + b" ",
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body + b"\r\n",
        lambda body: body.replace(b'"id"', b'"ID"'),
        lambda body: body[:-1],
        lambda body: b"",
    ],
    ids=["re-encoded", "space", "BOM", "CRLF", "another letter", "cut", "empty"],
)
def test_changed_bytes_are_refused_though_they_mean_the_same(wxpay_sandbox, pending, change):
    altered = pending.letter._replace(body=change(pending.letter.body))
    assert altered.body != pending.letter.body
    with pytest.raises(SignatureInvalid, match="does not fit"):
        altered.receive()
    assert not Notification.objects.exists()
    assert state_of(pending) == "PENDING"


@pytest.mark.scenario("S09")
@pytest.mark.parametrize(
    "written",
    [
        lambda payload: json.dumps(payload, indent=4).replace("\n", "\r\n"),
        lambda payload: json.dumps(payload, ensure_ascii=True, separators=(" , ", " :  ")),
        lambda payload: json.dumps(payload, ensure_ascii=False, sort_keys=True) + " \n\t",
        lambda payload: json.dumps(payload).replace("/", "\\/").replace("PAPAY", "\\u0050APAY"),
    ],
    ids=["CRLF", "wide", "trailing", "escapes"],
)
def test_genuine_bytes_with_odd_spacing_emoji_and_escapes_are_believed(wxpay_sandbox, pending, written):
    payload = json.loads(pending.letter.body) | {"summary": "签约成功 🎉 \u2028 é"}
    letter = pending.letter._replace(body=written(payload).encode()).signed_by(wxpay_sandbox)
    assert letter.receive().state == "PROCESSED"
    assert state_of(pending) == "SIGNED"
    assert bytes(Notification.objects.get().body) == letter.body


@pytest.mark.scenario("S17")
def test_a_merchants_message_at_another_merchants_address_is_refused_and_touches_neither(wxpay_sandbox, pending):
    before = Transition.objects.count()
    for wrong, letter in (("institution", pending.letter), ("default", institution_letter(wxpay_sandbox))):
        with pytest.raises(WrongMerchant):
            letter.receive(wrong)
        assert letter.post(wrong).status_code == 401
    assert not Notification.objects.exists()
    assert (Transition.objects.count(), state_of(pending)) == (before, "PENDING")


def institution_letter(sandbox):
    contract = contracts.sign(plan_id=12345, openid="o-two", user_display_name="Wu", merchant="institution")
    sandbox.wechat.contracts.sign(contract.session_id)
    return catch(sandbox)[-1]


# What fits


@pytest.mark.scenario("S18")
@pytest.mark.parametrize(
    ("merchant", "field", "value"),
    [
        ("default", "appid", "wx0000000000000000"),
        ("default", "mchid", None),
        ("default", "contract_id", "202600000000000000"),
        ("institution", "sub_mchid", "1900000199"),
        ("institution", "sp_appid", "wx0000000000000000"),
        ("institution", "sub_appid", "wx0000000000000000"),
        ("institution", "sub_mchid", None),
    ],
)
def test_a_merchant_number_or_appid_that_is_not_the_orders_refuses_the_message(wxpay_sandbox, merchant, field, value):
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource={field: value})
    order = unknown_payment(wxpay_sandbox, merchant)
    letter = catch(wxpay_sandbox)[-1]
    again = write(
        wxpay_sandbox, "TRANSACTION.SUCCESS", payload_of_order(wxpay_sandbox, order) | {field: value}, alias=merchant
    )
    for each in (letter, letter, again, again):
        assert each.post().status_code == 200
    assert (state_of(order), became(order)) == ("CREATED", [])
    assert [state for kind, state, _ in outcomes() if kind == "TRANSACTION.SUCCESS"] == ["REFUSED", "REFUSED"]
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about, discrepancy.object_id) == ("MISMATCH", "order", order.pk)
    assert field in discrepancy.ours and repr(value) in discrepancy.theirs


@pytest.mark.scenario("S19")
@pytest.mark.parametrize(
    ("amount", "ours", "theirs"),
    [
        ({"total": 1}, "3800", "1"),
        ({"total": "3800"}, "3800", "'3800'"),
        ({"total": 3800.0}, "3800", "3800.0"),
        ({"total": None}, "3800", "None"),
        ({"currency": "USD"}, "'HKD'", "'USD'"),
        ({"currency": "hkd"}, "'HKD'", "'hkd'"),
    ],
)
def test_another_amount_or_currency_never_marks_an_order_paid(wxpay_sandbox, amount, ours, theirs):
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource={"amount": amount})
    order = unknown_payment(wxpay_sandbox)
    letter = catch(wxpay_sandbox)[-1]
    assert letter.post().status_code == 200
    assert (state_of(order), order.refundable_amount) == ("CREATED", 0)
    discrepancy = Discrepancy.objects.get()
    name = next(iter(amount))
    assert discrepancy.ours == f"amount.{name}: {ours}"
    assert discrepancy.theirs == f"amount.{name}: {theirs}"
    notification = Notification.objects.get(event_type="TRANSACTION.SUCCESS")
    assert (notification.state, notification.error) == ("REFUSED", f"differs in amount.{name}")


@pytest.mark.scenario("S19")
def test_without_the_comparison_another_amount_would_mark_the_order_paid(wxpay_sandbox, monkeypatch):
    monkeypatch.setattr("django_wxpay.services.orders.facts.differences", lambda fact, known: [])
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource={"amount": {"total": 1}})
    order = unknown_payment(wxpay_sandbox)
    catch(wxpay_sandbox)[-1].post()
    assert state_of(order) == "SUCCESS"


@pytest.mark.scenario("S19")
@pytest.mark.parametrize("amount", [{"refund": 999}, {"currency": "USD"}, {"total": 3801}, {"refund": None}])
def test_a_refund_of_another_amount_is_not_recorded(wxpay_sandbox, amount):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.notification_fault("altered", "REFUND", resource={"amount": amount})
    refund = wxpay_sandbox.refund(order, 1000)
    wxpay_sandbox.advance(10)
    assert state_of(refund) == "PROCESSING"
    assert Notification.objects.get(event_type="REFUND.SUCCESS").state == "REFUSED"
    assert Discrepancy.objects.get().about == "refund"


@pytest.mark.scenario("S18")
def test_a_plan_or_openid_that_is_not_the_contracts_refuses_the_message(wxpay_sandbox, pending):
    for changes in ({"plan_id": 999}, {"openid": "o-other"}, {"plan_id": "12345"}, {"out_contract_code": "C" * 32}):
        letter = write(wxpay_sandbox, "PAPAY.SIGN", payload_of_contract(pending, **changes), original_type="papay")
        assert letter.post().status_code == 200
    assert state_of(pending) == "PENDING"
    assert [state for _, state, _ in outcomes()] == ["REFUSED", "REFUSED", "REFUSED", "WAITING"]
    assert Discrepancy.objects.get().seen == 3


@pytest.mark.scenario("S52")
def test_a_discrepancy_about_an_openid_does_not_show_it_in_full(wxpay_sandbox, pending):
    other = "o-somebody-else-0123456789"
    write(wxpay_sandbox, "PAPAY.SIGN", payload_of_contract(pending, openid=other), original_type="papay").post()
    discrepancy = Discrepancy.objects.get()
    assert discrepancy.ours != discrepancy.theirs
    assert "openid" in discrepancy.ours
    assert other not in discrepancy.theirs and "o-one" not in discrepancy.ours


# What is unknown


@pytest.mark.scenario("S20")
def test_a_message_whose_row_is_not_visible_yet_waits_and_is_applied_once_it_is(wxpay_sandbox):
    payload = payload_of_contract(make_contract(state="PENDING"))
    Contract.objects.all().delete()
    letter = write(wxpay_sandbox, "PAPAY.SIGN", payload, original_type="papay")
    answer = letter.post()
    assert (answer.status_code, answer.json()) == (200, ACKNOWLEDGED)
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.outcome, waiting.number) == ("WAITING", "UNKNOWN_ROW", payload["out_contract_code"])

    contract = make_contract(state="PENDING", out_contract_code=payload["out_contract_code"])
    assert notifications.retry_due() == 0  # its time has not come
    with time_machine.travel(timezone.now() + timedelta(seconds=6)):
        assert notifications.retry_due() == 1
    assert state_of(contract) == "SIGNED"
    waiting.refresh_from_db()
    assert (waiting.state, waiting.next_try_at) == ("PROCESSED", None)
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S20")
def test_a_message_about_nothing_we_know_is_a_discrepancy_after_an_hour(wxpay_sandbox):
    payload = payload_of_contract(make_contract(state="PENDING"))
    Contract.objects.all().delete()
    write(wxpay_sandbox, "PAPAY.SIGN", payload, original_type="papay").post()
    start, tries = timezone.now(), 0
    with time_machine.travel(start, tick=False) as clock:
        for _ in range(59):
            clock.shift(60)
            tries += notifications.retry_due()
        assert Notification.objects.get().state == "WAITING"
        assert not Discrepancy.objects.exists()
        assert 5 < tries < 20
        clock.shift(1900)
        notifications.retry_due()
        assert Notification.objects.get().state == "REFUSED"
        clock.shift(7200)
        assert notifications.retry_due() == 0
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.about) == ("UNKNOWN_ROW", "notification")
    assert payload["out_contract_code"] in discrepancy.theirs


@pytest.mark.scenario("S20")
def test_an_unknown_message_that_waits_is_acknowledged_when_it_is_repeated(wxpay_sandbox):
    payload = payload_of_contract(make_contract(state="PENDING"))
    Contract.objects.all().delete()
    letter = write(wxpay_sandbox, "PAPAY.SIGN", payload, original_type="papay")
    assert [letter.post().status_code for _ in range(3)] == [200, 200, 200]
    assert Notification.objects.get().attempts == 3


@pytest.mark.scenario("S20")
@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_refund_made_elsewhere_is_adopted_as_foreign(wxpay_sandbox, merchant):
    order = wxpay_sandbox.paid_order(wxpay_sandbox.signed_contract(merchant=merchant))
    wxpay_sandbox.wechat.refunds.make_elsewhere(
        order.out_trade_no, 1000, notify_url=payment_url(wxpay_sandbox), reason="by hand"
    )
    with hearing("refund_succeeded") as heard:
        wxpay_sandbox.advance(10)
    refund = Refund.objects.get()
    assert (refund.foreign, refund.state, refund.amount, refund.reference) == (True, "SUCCESS", 1000, None)
    assert refund.sub_mchid == order.sub_mchid
    assert (state_of(order), order.refundable_amount) == ("REFUND", 2800)
    assert len(heard) == 1
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S20")
def test_refunds_made_elsewhere_beyond_our_own_reservations_are_adopted_with_a_discrepancy(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    refunds.plan_refund(order, amount=3000, reference="planned")  # not at WeChat Pay yet
    wxpay_sandbox.wechat.refunds.make_elsewhere(order.out_trade_no, 2000, notify_url=payment_url(wxpay_sandbox))
    wxpay_sandbox.advance(10)
    assert Refund.objects.get(foreign=True).state == "SUCCESS"
    assert Discrepancy.objects.get().kind == "REFUND_EXCEEDS"
    assert (state_of(order), order.refundable_amount) == ("REFUND", 0)


@pytest.mark.scenario("S20")
def test_a_refund_of_an_order_we_do_not_know_waits(wxpay_sandbox):
    order = make_order()
    payload = payload_of_refund(order)
    order.delete()
    letter = write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund")
    assert letter.post().status_code == 200
    assert Notification.objects.get().state == "WAITING"
    assert not Refund.objects.exists()


def payload_of_refund(order, **changes):
    return {
        "mchid": order.mchid,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "refund_id": "50300000002026030100000000001",
        "out_refund_no": "platform-1",
        "refund_status": "SUCCESS",
        "success_time": "2026-03-01T15:02:11+08:00",
        "recv_account": "balance",
        "amount": {"total": order.amount_total, "refund": 1000, "currency": order.currency},
    } | changes


def test_two_foreign_refunds_without_a_merchants_number_are_two_refunds(wxpay_sandbox):
    order = make_order()
    for refund_id in ("503001", "503002", "503002"):
        payload = payload_of_refund(order, refund_id=refund_id, out_refund_no=None)
        assert write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund").post().status_code == 200
    assert set(Refund.objects.values_list("refund_id", "state")) == {("503001", "SUCCESS"), ("503002", "SUCCESS")}
    assert (state_of(order), order.refundable_amount) == ("REFUND", 1800)
    assert not Discrepancy.objects.exists()


def test_a_message_without_a_number_is_about_no_row(wxpay_sandbox):
    order = make_order(state="NOTPAY", out_trade_no=None)
    payload = {
        "mchid": order.mchid,
        "trade_state": "SUCCESS",
        "amount": {"total": order.amount_total, "currency": order.currency},
    }
    assert write(wxpay_sandbox, "TRANSACTION.SUCCESS", payload).post().status_code == 200
    assert state_of(order) == "NOTPAY"
    assert Notification.objects.get().state == "WAITING"


@pytest.mark.parametrize(("event", "state"), [("SUCCESS", "SUCCESS"), ("ABNORMAL", "ABNORMAL"), ("CLOSED", "CLOSED")])
def test_a_refund_notification_without_a_status_says_what_its_type_says(wxpay_sandbox, event, state):
    payload = payload_of_refund(make_order(), refund_status=None)
    assert write(wxpay_sandbox, f"REFUND.{event}", payload, original_type="refund").post().status_code == 200
    assert Refund.objects.get().state == state


# What is new to us


@pytest.mark.scenario("S22")
def test_an_unknown_type_of_another_product_is_kept_acknowledged_and_visible(wxpay_sandbox):
    letter = write(wxpay_sandbox, "COUPON.USE", {"mchid": "1900000001", "coupon_id": "1"}, original_type="coupon")
    for _ in range(2):
        assert letter.post().json() == ACKNOWLEDGED
    notification = Notification.objects.get()
    assert (notification.state, notification.outcome, notification.attempts) == ("UNHANDLED", "", 2)
    assert bytes(notification.body) == letter.body
    assert notifications.retry_due() == 0


@pytest.mark.scenario("S22")
@pytest.mark.parametrize("unknown_state", ["FROZEN", None, 7, {"state": "SUCCESS"}, "REFUSED", "CREATED"])
def test_an_unknown_state_moves_nothing_and_a_person_is_told(wxpay_sandbox, unknown_state):
    order = unknown_payment(wxpay_sandbox)
    genuine = catch(wxpay_sandbox)[-1]
    payload = payload_of_order(wxpay_sandbox, order) | {"trade_state": unknown_state}
    assert write(wxpay_sandbox, "TRANSACTION.SUCCESS", payload).post().status_code == 200
    assert state_of(order) == "CREATED"
    assert Notification.objects.order_by("pk").last().state == "REFUSED"
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"
    genuine.post()
    assert state_of(order) == "SUCCESS"


@pytest.mark.scenario("S22")
def test_extra_fields_and_long_or_odd_words_do_not_stop_a_payment(wxpay_sandbox):
    odd = {
        "bank_type": "A" * 200,
        "trade_type": {"new": "shape"},
        "trade_state_desc": "说明" * 300,
        "success_time": "yesterday",
        "new_field": [{"deep": {"deeper": None}}],
        "amount": {"payer_total": "3496", "payer_currency": "A-LONG-NAME", "new": 1},
    }
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource=odd)
    order = unknown_payment(wxpay_sandbox)
    assert catch(wxpay_sandbox)[-1].post().status_code == 200
    assert state_of(order) == "SUCCESS"
    order.full_clean(exclude=["error_code"])
    assert order.payer_total is None


@pytest.mark.scenario("S22")
def test_long_or_odd_words_do_not_stop_a_refund_or_a_contract(wxpay_sandbox, pending):
    order = make_order()
    odd = payload_of_refund(order, recv_account="招商银行" * 40, channel="Z" * 80)
    odd["amount"] |= {"payer_refund": "1", "payer_currency": 5}
    assert write(wxpay_sandbox, "REFUND.SUCCESS", odd, original_type="refund").post().status_code == 200
    Refund.objects.get().full_clean(exclude=["reference"])
    odd = payload_of_contract(pending, contract_termination_mode="M" * 300, contract_expire_time=5, operate_time=None)
    assert write(wxpay_sandbox, "PAPAY.TERMINATE", odd, original_type="papay").post().status_code == 200
    assert state_of(pending) == "TERMINATED"
    pending.full_clean()


@pytest.mark.scenario("S22")
@pytest.mark.parametrize("fault", ["without_original_type", "create_time_14", "without_summary"])
def test_an_envelope_with_less_or_odder_fields_is_processed(wxpay_sandbox, fault):
    wxpay_sandbox.notification_fault(fault, "PAPAY.SIGN")
    assert wxpay_sandbox.signed_contract().state == "SIGNED"
    assert outcomes() == [("PAPAY.SIGN", "PROCESSED", "APPLIED")]


# When we fail


@pytest.mark.scenario("S26")
def test_a_bug_while_applying_keeps_the_message_and_the_next_repeat_processes_it(wxpay_sandbox, pending):
    with connections[transactions.alias()].execute_wrapper(breaking('INTO "django_wxpay_transition"')):
        with pytest.raises(ProcessingFailed, match="ZeroDivisionError"):
            pending.letter.receive()
        assert pending.letter.post().status_code == 500
    failed = Notification.objects.get()
    assert (failed.state, failed.attempts) == ("FAILED", 2)
    assert "ZeroDivisionError" in failed.error
    assert (state_of(pending), became(pending)) == ("PENDING", [])

    assert pending.letter.post().status_code == 200
    failed.refresh_from_db()
    assert (failed.state, failed.outcome, failed.error, failed.attempts) == ("PROCESSED", "APPLIED", "", 3)
    assert became(pending) == [("SIGNED", "NOTIFICATION")]


def breaking(part, error=ZeroDivisionError):
    """A bug, as the database's driver would show it: statements that contain `part` raise."""

    def wrapper(execute, sql, params, many, context):
        if part.replace('"', "") in sql.replace('"', "").replace("`", ""):
            raise error("a bug")
        return execute(sql, params, many, context)

    return wrapper


@pytest.mark.scenario("S26")
def test_a_failed_message_is_processed_by_the_worker_when_nobody_repeats_it(wxpay_sandbox, pending):
    with (
        connections[transactions.alias()].execute_wrapper(breaking("INTO django_wxpay_transition")),
        pytest.raises(ProcessingFailed),
    ):
        pending.letter.receive()
    assert notifications.retry_due() == 0
    with time_machine.travel(timezone.now() + timedelta(seconds=10)):
        with connections[transactions.alias()].execute_wrapper(breaking("INTO django_wxpay_transition")):
            assert notifications.retry_due() == 1
        assert Notification.objects.get().state == "FAILED"
    with time_machine.travel(timezone.now() + timedelta(seconds=60)):
        assert notifications.retry_due() == 1
    failed = Notification.objects.get()
    assert (failed.state, failed.attempts, failed.error) == ("PROCESSED", 3, "")
    assert state_of(pending) == "SIGNED"


@pytest.mark.scenario("S26")
def test_processing_again_by_hand_leaves_a_processed_message_alone(wxpay_sandbox, pending):
    notification = pending.letter.receive()
    again = notifications.retry(Notification.objects.get())
    assert (again.state, again.attempts) == ("PROCESSED", 1)
    assert notification.pk == again.pk
    assert became(pending) == [("SIGNED", "NOTIFICATION")]


def test_a_refused_message_can_be_processed_by_hand_once_our_row_is_mended(wxpay_sandbox, pending):
    Contract.objects.filter(pk=pending.pk).update(plan_id=999)
    assert pending.letter.receive().state == "REFUSED"
    Contract.objects.filter(pk=pending.pk).update(plan_id=12345)
    assert notifications.retry(Notification.objects.get()).state == "PROCESSED"
    assert state_of(pending) == "SIGNED"


def test_old_processed_messages_are_pruned_and_others_are_kept(wxpay_sandbox, pending):
    pending.letter.receive()
    write(wxpay_sandbox, "PAPAY.SUSPEND", {"mchid": "1900000001"}).receive()
    assert notifications.prune() == 0
    with time_machine.travel(timezone.now() + timedelta(days=91)):
        assert notifications.prune() == 1
    assert Notification.objects.get().state == "UNHANDLED"


# What it costs


def statements(queries):
    """The statements sent, BEGIN and COMMIT included."""
    return [query["sql"].split()[0].upper() + " " + query["sql"][:60] for query in queries]


@pytest.mark.django_db(transaction=True)
def test_a_first_delivery_takes_six_statements_and_a_repeat_four(wxpay_sandbox):
    order = unknown_payment(wxpay_sandbox)
    letter = catch(wxpay_sandbox)[-1]
    with CaptureQueriesContext(connections[transactions.alias()]) as first:
        letter.post()
    assert state_of(order) == "SUCCESS"
    with CaptureQueriesContext(connections[transactions.alias()]) as repeat:
        letter.post()
    assert Notification.objects.get(event_type="TRANSACTION.SUCCESS").attempts == 2
    assert len(first) <= 6, statements(first)
    assert len(repeat) <= 4, statements(repeat)


@pytest.mark.django_db(transaction=True)
def test_a_signing_takes_six_statements_and_a_known_fact_no_more(wxpay_sandbox, pending):
    with CaptureQueriesContext(connections[transactions.alias()]) as first:
        pending.letter.post()
    assert state_of(pending) == "SIGNED"
    second = write(wxpay_sandbox, "PAPAY.SIGN", payload_of_contract(pending), original_type="papay")
    with CaptureQueriesContext(connections[transactions.alias()]) as known:
        second.post()
    assert Notification.objects.order_by("pk").last().outcome == "SAME"
    assert len(first) <= 6, statements(first)
    assert len(known) <= 6, statements(known)
