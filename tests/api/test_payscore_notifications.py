"""PayScore's notifications at our address, as a bad day brings them: lost, twice, late, altered on their way."""

import json
from datetime import timedelta
from functools import partial

import pytest
import time_machine
from django.utils import timezone

from django_wxpay.engine import transitions
from django_wxpay.models import Discrepancy, Notification, Order, ServiceOrder, SignPlan, Transition
from django_wxpay.sandbox import special
from django_wxpay.services import orders, payscore, refunds, service_orders, sign_plans
from tests.letters import catch, hearing

pytestmark = pytest.mark.django_db
NEVER = special.COLLECTION_AMOUNTS + 2  # collected only when the user does something
SIGNED, CANCELLED, PAID = "PAYSCORE.USER_SIGN_PLAN", "PAYSCORE.USER_CANCEL_SIGN_PLAN", "PAYSCORE.USER_PAID"
EVENTS = (SIGNED, CANCELLED, PAID)
MEANS = {SIGNED: "SIGNED", CANCELLED: "SIGN_PLAN_CANCEL", PAID: "DONE"}
SIGNALS = {SIGNED: "sign_plan_signed", CANCELLED: "sign_plan_cancelled", PAID: "service_order_paid"}


@pytest.fixture(params=["mainland", "mainland_partner"])
def unsigned(request, wxpay_sandbox):
    details = [payscore.Detail("Lesson 1", NEVER, NEVER), payscore.Detail("Lesson 2", NEVER, 5000)]
    return sign_plans.sign(wxpay_sandbox.plan(details=details, merchant=request.param), openid="o-one")


@pytest.fixture
def about(wxpay_sandbox, unsigned):
    """The row that an event is about, as it is before it; and what the user does then."""

    def make(event_type):
        if event_type == SIGNED:
            return unsigned, partial(wxpay_sandbox.wechat.sign_plans.confirm, unsigned.number)
        signed = wxpay_sandbox.sign_plan(unsigned)
        if event_type == CANCELLED:
            row, deed = signed, partial(wxpay_sandbox.wechat.sign_plans.cancel_by_user, signed.number)
        else:
            row = wxpay_sandbox.completed(signed)
            deed = partial(wxpay_sandbox.wechat.service_orders.user_pays, row.number)
        Notification.objects.all().delete()
        return row, deed

    return make


@pytest.fixture
def hours():
    """Our clock, to be moved on."""
    with time_machine.travel(timezone.now(), tick=False) as clock:
        yield clock


def fresh(row):
    row.refresh_from_db()
    return row


def became(row, state):
    return Transition.objects.of(row).filter(to_state=state).count()


def kept():
    return list(Notification.objects.order_by("pk").values_list("event_type", "state", "attempts"))


def poll_of(row):
    return sign_plans.poll if isinstance(row, SignPlan) else service_orders.poll


# Lost


@pytest.mark.scenario("S44")
@pytest.mark.parametrize("event_type", EVENTS)
def test_what_a_lost_notification_would_have_told_the_poller_finds(wxpay_sandbox, about, hours, event_type):
    row, deed = about(event_type)
    wxpay_sandbox.notification_fault("lost", event_type)
    with hearing(SIGNALS[event_type]) as heard:
        deed()
        wxpay_sandbox.deliver()
        assert kept() == [] and fresh(row).state != MEANS[event_type]
        hours.move_to(row.next_poll_at + timedelta(seconds=1))
        assert poll_of(row)() == 1
        transitions.deliver_due()
    assert fresh(row).state == MEANS[event_type]
    assert heard == [(SIGNALS[event_type], row.number, MEANS[event_type])]
    assert Transition.objects.of(row).latest("pk").source == "QUERY"
    if event_type == PAID:
        assert row.is_paid and row.orders.get().amount_total == NEVER
    assert kept() == [] and not Discrepancy.objects.exists()


@pytest.mark.scenario("S44")
@pytest.mark.parametrize("event_type", EVENTS)
def test_a_repeat_after_the_poller_found_it_is_acknowledged_and_changes_nothing(wxpay_sandbox, about, event_type):
    row, deed = about(event_type)
    wxpay_sandbox.notification_fault("lost", event_type, attempts=1)
    with hearing() as heard:
        deed()
        wxpay_sandbox.deliver()
        type(row).objects.update(next_poll_at=timezone.now())
        assert poll_of(row)() == 1 and fresh(row).state == MEANS[event_type]
        wxpay_sandbox.advance(120)  # WeChat Pay repeats it
    assert kept() == [(event_type, "PROCESSED", 1)]
    assert Notification.objects.get().outcome == "SAME"
    assert became(row, MEANS[event_type]) == 1
    assert [name for name, *_ in heard].count(SIGNALS[event_type]) == 1
    assert Order.objects.count() == (event_type == PAID) and not Discrepancy.objects.exists()


# Twice


@pytest.mark.scenario("S01")
@pytest.mark.parametrize("event_type", EVENTS)
def test_a_notification_that_comes_three_times_is_counted_and_applied_once(wxpay_sandbox, about, event_type):
    row, deed = about(event_type)
    wxpay_sandbox.notification_fault("twice", event_type, copies=3)
    with hearing() as heard:
        deed()
        wxpay_sandbox.deliver()
    assert kept() == [(event_type, "PROCESSED", 3)]
    assert fresh(row).state == MEANS[event_type] and became(row, MEANS[event_type]) == 1
    assert [name for name, *_ in heard].count(SIGNALS[event_type]) == 1
    if event_type == PAID:
        assert row.orders.count() == 1
        assert [name for name, *_ in heard].count("order_paid") == 1


# Late


@pytest.mark.scenario("S05")
@pytest.mark.parametrize("fault", ["late", "out_of_order"])
def test_a_signature_told_after_its_cancellation_signs_nothing(wxpay_sandbox, about, fault):
    row, deed = about(SIGNED)
    wxpay_sandbox.notification_fault(fault, SIGNED)
    with hearing() as heard:
        deed()
        wxpay_sandbox.deliver()
        assert fresh(row).state == "UNSIGNED"
        wxpay_sandbox.wechat.sign_plans.cancel_by_user(row.number)
        wxpay_sandbox.deliver()
        wxpay_sandbox.advance(90)
    assert [event_type for event_type, *_ in kept()] == [CANCELLED, SIGNED]
    assert {state for _, state, _ in kept()} == {"PROCESSED"}
    assert fresh(row).state == "SIGN_PLAN_CANCEL" and became(row, "SIGNED") == 0
    assert "sign_plan_signed" not in [name for name, *_ in heard]
    sign_plans.poll()
    assert fresh(row).state == "SIGN_PLAN_CANCEL" and not Discrepancy.objects.exists()


@pytest.mark.scenario("S05")
def test_a_late_signature_does_not_make_a_service_in_use_unused(wxpay_sandbox, about):
    row, deed = about(SIGNED)
    deed()
    [late] = catch(wxpay_sandbox)
    running = wxpay_sandbox.started(sign_plans.sync(row))
    assert late.post().status_code == 200
    states = list(row.details.values_list("state", flat=True))
    assert (fresh(row).state, states) == ("SIGNED", ["USING", "NOT_USED"])
    assert fresh(running).is_running and became(row, "SIGNED") == 1


@pytest.mark.scenario("S05")
def test_a_payment_told_after_its_refund_brings_no_refunded_money_back(wxpay_sandbox, about):
    row, deed = about(PAID)
    deed()
    [late] = catch(wxpay_sandbox)
    paid = service_orders.sync(row).orders.get()
    refund = refunds.create(paid, amount=2500, reference="return-1")
    wxpay_sandbox.advance(30)
    assert (fresh(refund).state, fresh(paid).state) == ("SUCCESS", "REFUND")
    with hearing() as heard:
        assert late.post().status_code == 200
        transitions.deliver_due()
    assert (fresh(row).is_paid, fresh(paid).state, paid.refundable_amount) == (True, "REFUND", NEVER - 2500)
    assert became(row, "DONE") == 1 and became(paid, "SUCCESS") == 1 and heard == []
    assert Notification.objects.get(event_type=PAID).outcome == "SAME"


@pytest.mark.scenario("S05")
@pytest.mark.parametrize(
    ("older", "newer", "outcome"),
    [("USER_CONFIRM", "MCH_COMPLETE", "SAME"), ("USER_CONFIRM", "DONE", "STALE"), ("MCH_COMPLETE", "DONE", "STALE")],
)
def test_an_older_state_of_a_service_order_takes_nothing_back(wxpay_sandbox, unsigned, older, newer, outcome):
    order = wxpay_sandbox.started(wxpay_sandbox.sign_plan(unsigned))
    told = {"USER_CONFIRM": wxpay_sandbox.payload_of(order)}
    order = service_orders.sync(service_orders.complete(order))
    told["MCH_COMPLETE"] = wxpay_sandbox.payload_of(order)
    if newer == "DONE":
        wxpay_sandbox.pay_service(order)
    before = ServiceOrder.objects.values().get()
    last = wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", told[older], merchant=order.merchant)
    assert last["status"] == 200
    assert Notification.objects.latest("pk").outcome == outcome
    after = ServiceOrder.objects.values().get()
    assert {name for name in after if after[name] != before[name]} <= {"next_poll_at", "recheck_after"}
    assert fresh(order).is_paid == (newer == "DONE") and order.is_collecting == (newer != "DONE")
    assert order.orders.count() == (newer == "DONE") and not Discrepancy.objects.exists()


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("event_type", EVENTS)
def test_a_notification_signed_an_hour_ago_is_refused_and_signed_afresh_applied(wxpay_sandbox, about, event_type):
    row, deed = about(event_type)
    deed()
    [late] = catch(wxpay_sandbox)
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        refused = late.post()
        assert refused.status_code == 401 and kept() == [] and fresh(row).state != MEANS[event_type]
    assert late.signed_by(wxpay_sandbox).post().status_code == 200
    assert fresh(row).state == MEANS[event_type]


# Altered on its way

SPOILT = {
    "a space more": lambda body: body + b" ",
    "re-encoded": lambda body: json.dumps(json.loads(body), indent=1).encode(),
    "another id": lambda body: with_outer(body, id="evt-made-up"),
    "another type": lambda body: with_outer(body, event_type=CANCELLED if SIGNED.encode() in body else SIGNED),
    "another ciphertext": lambda body: with_sealed(body, "ciphertext"),
    "another nonce": lambda body: with_sealed(body, "nonce"),
    "another associated_data": lambda body: with_sealed(body, "associated_data"),
    "nothing": lambda body: b"",
}


def with_outer(body, **changes):
    return json.dumps(json.loads(body) | changes, separators=(",", ":")).encode()


def with_sealed(body, name):
    resource = json.loads(body)["resource"]
    value = resource.get(name) or "x"
    return with_outer(body, resource=resource | {name: ("B" if value[0] == "A" else "A") + value[1:]})


@pytest.mark.scenario("S09")
@pytest.mark.parametrize("unsigned", ["mainland"], indirect=True)
@pytest.mark.parametrize("event_type", EVENTS)
@pytest.mark.parametrize("how", SPOILT)
def test_an_altered_body_is_refused_and_the_genuine_one_still_counts(wxpay_sandbox, about, event_type, how):
    row, deed = about(event_type)
    before = fresh(row).state
    deed()
    [letter] = catch(wxpay_sandbox)
    altered = letter._replace(body=SPOILT[how](letter.body))
    assert altered.body != letter.body
    answer = altered.post()
    assert (answer.status_code, answer.json()["code"]) == (401, "FAIL")
    assert kept() == [] and fresh(row).state == before
    assert became(row, MEANS[event_type]) == 0 and not Order.objects.exists() and not Discrepancy.objects.exists()
    assert letter.post().status_code == 200
    assert fresh(row).state == MEANS[event_type]


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("unsigned", ["mainland"], indirect=True)
@pytest.mark.parametrize("event_type", EVENTS)
@pytest.mark.parametrize("fault", ["bad_signature", "probe", "unsigned", "stale", "unknown_serial"])
def test_what_is_not_rightly_signed_is_refused_and_its_repeat_is_applied(wxpay_sandbox, about, event_type, fault):
    row, deed = about(event_type)
    wxpay_sandbox.notification_fault(fault, event_type)
    deed()
    wxpay_sandbox.deliver()
    assert kept() == [] and fresh(row).state != MEANS[event_type]
    wxpay_sandbox.advance(120)
    assert kept() == [(event_type, "PROCESSED", 1)] and fresh(row).state == MEANS[event_type]


@pytest.mark.scenario("S17")
@pytest.mark.parametrize("event_type", EVENTS)
def test_one_merchants_notification_at_anothers_address_touches_neither(wxpay_sandbox, about, event_type):
    row, deed = about(event_type)
    deed()
    [letter] = catch(wxpay_sandbox)
    for alias in {"mainland", "mainland_partner", "default"} - {row.merchant}:
        assert letter.post(alias).status_code == 401
        assert fresh(row).state != MEANS[event_type] and became(row, MEANS[event_type]) == 0, alias
    assert kept() == [] and not Discrepancy.objects.exists()
    assert letter.post().status_code == 200
    assert fresh(row).state == MEANS[event_type]


@pytest.mark.scenario("S01")
def test_the_same_bytes_of_a_payment_after_everything_was_refunded_change_nothing(wxpay_sandbox, about):
    row, deed = about(PAID)
    deed()
    [letter] = catch(wxpay_sandbox)
    assert letter.post().status_code == 200
    paid = row.orders.get()
    refunds.create(paid, amount=NEVER, reference="all")
    wxpay_sandbox.advance(30)
    assert letter.post().status_code == 200
    assert fresh(paid).state == "REFUND" and paid.refundable_amount == 0
    assert orders.sync(paid).state == "REFUND" and row.orders.count() == 1
