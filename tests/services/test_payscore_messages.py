"""Messages about sign plans and service orders: twice, late, out of order, altered, unknown, odd, or never."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connections
from django.utils import timezone

from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.engine import operations, polling, transactions, transitions
from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.models import (
    Discrepancy,
    Notification,
    Operation,
    Order,
    Refund,
    ServiceOrder,
    SignPlan,
    SignPlanDetail,
    Transition,
)
from django_wxpay.sandbox import special
from django_wxpay.services import notifications, orders, payscore, refunds, service_orders, sign_plans
from tests.letters import catch, hearing, write

pytestmark = pytest.mark.django_db
NEVER = special.COLLECTION_AMOUNTS + 2
SIGNED, CANCELLED = "PAYSCORE.USER_SIGN_PLAN", "PAYSCORE.USER_CANCEL_SIGN_PLAN"
PAID, CONFIRMED = "PAYSCORE.USER_PAID", "PAYSCORE.USER_CONFIRM"
NUL, HALF = "x\x00y", "x\ud83dy"


@pytest.fixture(params=["mainland", "mainland_partner"])
def merchant(request):
    return request.param


@pytest.fixture
def unsigned(wxpay_sandbox, merchant):
    """A sign plan that its user can sign; from now on no notification comes by itself."""
    details = [payscore.Detail("Lesson 1", NEVER, NEVER), payscore.Detail("Lesson 2", NEVER, 5000)]
    sign_plan = sign_plans.sign(wxpay_sandbox.plan(details=details, merchant=merchant), openid="o-one")
    wxpay_sandbox.delivers = False
    return sign_plan


@pytest.fixture
def collecting(wxpay_sandbox, unsigned):
    """A service order that is over and not paid yet."""
    wxpay_sandbox.delivers = True
    order = wxpay_sandbox.completed(wxpay_sandbox.sign_plan(unsigned))
    wxpay_sandbox.delivers = False
    Notification.objects.all().delete()
    return order


def sign(sandbox, sign_plan):
    """The user signs; gives the notice, which we have not got yet."""
    sandbox.wechat.sign_plans.confirm(sign_plan.number)
    return catch(sandbox)[-1]


def pay(sandbox, order):
    """The user pays; gives the notice, which we have not got yet."""
    sandbox.wechat.service_orders.user_pays(order.number)
    return catch(sandbox)[-1]


def fresh(row):
    row.refresh_from_db()
    return row


def about(sandbox, event_type, row, **changes):
    """A genuine message about a row that says something else than WeChat Pay would."""
    content = sandbox.payload_of(row) | changes
    content = {name: value for name, value in content.items() if value is not None}
    return write(sandbox, event_type, content, alias=row.merchant, original_type="payscore")


def became(row):
    return [moved.to_state for moved in Transition.objects.of(row).order_by("pk")]


# Twice, late, out of order


@pytest.mark.scenario("S01")
def test_five_times_the_same_signature_and_payment_are_counted_and_applied_once(wxpay_sandbox, unsigned):
    with hearing("sign_plan_signed", "service_order_paid", "order_paid") as heard:
        signature = sign(wxpay_sandbox, unsigned)
        assert [signature.post().status_code for _ in range(5)] == [200] * 5
        order = service_orders.complete(service_orders.start(fresh(unsigned), reference="lesson"))
        payment = pay(wxpay_sandbox, order)
        assert [payment.post().status_code for _ in range(5)] == [200] * 5
        transitions.deliver_due()
    kept = Notification.objects.order_by("pk").values_list("event_type", "state", "attempts")
    assert list(kept) == [(SIGNED, "PROCESSED", 5), (PAID, "PROCESSED", 5)]
    assert sorted(name for name, *_ in heard) == ["order_paid", "service_order_paid", "sign_plan_signed"]
    assert order.orders.get().amount_total == NEVER


@pytest.mark.scenario("S03")
def test_two_notices_of_one_payment_are_both_kept_and_book_it_once(wxpay_sandbox, collecting):
    pay(wxpay_sandbox, collecting).post()
    assert about(wxpay_sandbox, PAID, collecting).post().status_code == 200
    assert Notification.objects.filter(state="PROCESSED").count() == 2
    assert became(collecting).count("DONE") == 1 and collecting.orders.count() == 1


@pytest.mark.scenario("S03")
def test_a_collection_that_grows_is_kept_as_it_stands_and_never_added_up(wxpay_sandbox, collecting):
    def entry(seq, amount):
        return {"seq": seq, "amount": amount, "paid_type": "NEWTON", "transaction_id": f"42000000{seq}"}

    def grown(*amounts, state="USER_PAYING"):
        details = [entry(seq, amount) for seq, amount in enumerate(amounts, 1)]
        told = {"state": state, "total_amount": NEVER, "paid_amount": sum(amounts), "details": details}
        whole = {"collection": told, "state": "DONE" if state == "USER_PAID" else "DOING"}
        return about(wxpay_sandbox, PAID, collecting, **whole).post().status_code

    parts = [1000, NEVER - 1000]
    assert [grown(parts[0]), grown(parts[0]), grown(*parts, state="USER_PAID"), grown(parts[0])] == [200] * 4
    assert fresh(collecting).is_paid and collecting.paid_amount == NEVER
    assert list(collecting.orders.order_by("attempt").values_list("amount_total", flat=True)) == parts
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("cancelled_first", [True, False])
def test_signing_and_cancelling_end_the_same_in_either_order(wxpay_sandbox, unsigned, cancelled_first):
    signature = sign(wxpay_sandbox, unsigned)
    wxpay_sandbox.wechat.sign_plans.cancel_by_user(unsigned.number)
    letters = [signature, catch(wxpay_sandbox)[-1]]
    for letter in reversed(letters) if cancelled_first else letters:
        assert letter.post().status_code == 200
    sign_plans.poll()
    assert fresh(unsigned).state == "SIGN_PLAN_CANCEL" and unsigned.sign_time is not None
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("refund_first", [True, False])
def test_a_payment_and_its_refund_elsewhere_end_the_same_in_either_order(wxpay_sandbox, collecting, refund_first):
    letters = [pay(wxpay_sandbox, collecting)]
    details = wxpay_sandbox.payload_of(collecting)["collection"]["details"]
    notify_url = f"https://shop.example/wxpay/notify/{collecting.merchant}/"
    wxpay_sandbox.wechat.refunds.make_elsewhere(details[0]["transaction_id"], 2500, notify_url=notify_url)
    wxpay_sandbox.wechat.clock.shift += 10
    letters += catch(wxpay_sandbox)
    assert len(letters) == 2
    for letter in reversed(letters) if refund_first else letters:
        assert letter.post().status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        notifications.retry_due()
    [paid], [refund] = collecting.orders.all(), Refund.objects.all()
    assert (paid.state, paid.refundable_amount, refund.state, refund.foreign) == (
        "REFUND",
        NEVER - 2500,
        "SUCCESS",
        True,
    )
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S05")
def test_an_earlier_part_of_the_story_after_its_end_changes_nothing_and_stays_in_the_timeline(
    wxpay_sandbox, collecting
):
    earlier = about(wxpay_sandbox, CONFIRMED, collecting)
    pay(wxpay_sandbox, collecting).post()
    before = ServiceOrder.objects.values().get()
    assert earlier.post().status_code == 200
    known = Notification.objects.get(event_type=CONFIRMED)
    assert (known.state, known.outcome, known.number) == ("PROCESSED", "STALE", collecting.number)
    after = ServiceOrder.objects.values().get()
    changed = {name for name in after if after[name] != before[name]} - {"next_poll_at"}
    assert not changed and not Discrepancy.objects.exists()


@pytest.mark.scenario("S40")
def test_the_notice_of_our_own_refund_may_come_before_its_answer(wxpay_sandbox, collecting):
    pay(wxpay_sandbox, collecting).post()
    refund = refunds.plan_refund(collecting.orders.get(), amount=1000, reference="return-1")
    wxpay_sandbox.fault("slow", "/v3/refund/domestic", seconds=60)
    operations.send_due()  # carried out there, no answer for us
    wxpay_sandbox.delivers = True
    wxpay_sandbox.advance(10)  # and the notification is quicker
    assert fresh(refund).state == "SUCCESS"
    Operation.objects.open().update(next_try_at=timezone.now(), leased_until=None)
    operations.send_due()
    assert Operation.objects.get(action="REFUND").state == "DONE"
    assert Refund.objects.count() == 1 and became(refund).count("SUCCESS") == 1


# About somebody or something else


OTHERS = [
    ("service_id", "00002000000000000000000000000009"),
    ("appid", "wx0000000000000009"),
]


@pytest.mark.scenario("S18")
@pytest.mark.parametrize(("field", "value"), OTHERS)
def test_a_message_that_names_another_party_is_refused_and_told_once(wxpay_sandbox, collecting, field, value):
    wxpay_sandbox.wechat.service_orders.user_pays(collecting.number)
    catch(wxpay_sandbox)
    for _ in range(3):
        assert about(wxpay_sandbox, PAID, collecting, **{field: value}).post().status_code == 200
    assert fresh(collecting).state == "DOING" and not collecting.orders.exists()
    assert set(Notification.objects.values_list("state", "outcome")) == {("REFUSED", "REFUSED")}
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.about, discrepancy.object_id, discrepancy.seen) == ("service_order", collecting.pk, 3)
    assert value in discrepancy.theirs


@pytest.mark.scenario("S18")
@pytest.mark.parametrize(("field", "value"), [*OTHERS, ("plan_id", "0100000000000000000000000000T009")])
def test_a_signature_that_names_another_party_is_refused(wxpay_sandbox, unsigned, field, value):
    sign(wxpay_sandbox, unsigned)
    about(wxpay_sandbox, SIGNED, unsigned, **{field: value}).post()
    assert fresh(unsigned).state == "UNSIGNED" and Notification.objects.get().state == "REFUSED"
    assert Discrepancy.objects.get().object_id == unsigned.pk


@pytest.mark.scenario("S19")
@pytest.mark.parametrize("total", [NEVER + 1, 1, -5, "5550003", 10**30])
def test_another_total_never_marks_a_service_paid(wxpay_sandbox, collecting, total):
    wxpay_sandbox.wechat.service_orders.user_pays(collecting.number)
    catch(wxpay_sandbox)
    about(wxpay_sandbox, PAID, collecting, total_amount=total).post()
    assert fresh(collecting).state == "DOING" and not collecting.orders.exists()
    discrepancy = Discrepancy.objects.get()
    assert "total_amount" in discrepancy.ours and str(total) in discrepancy.theirs


@pytest.mark.scenario("S19")
def test_a_known_payment_that_changes_its_amount_is_refused(wxpay_sandbox, collecting):
    pay(wxpay_sandbox, collecting).post()
    told = wxpay_sandbox.payload_of(collecting)["collection"]
    [entry] = told["details"]
    about(wxpay_sandbox, PAID, collecting, collection=told | {"details": [entry | {"amount": 1}]}).post()
    assert collecting.orders.get().amount_total == NEVER
    assert Discrepancy.objects.get().kind == "MISMATCH"


@pytest.mark.scenario("S19")
def test_a_sign_plan_with_other_prices_is_not_signed(wxpay_sandbox, unsigned):
    sign(wxpay_sandbox, unsigned)
    listed = wxpay_sandbox.payload_of(unsigned)["signed_detail_list"]
    dearer = [listed[0], listed[1] | {"actual_price": 6000}]
    about(wxpay_sandbox, SIGNED, unsigned, signed_detail_list=dearer).post()
    assert fresh(unsigned).state == "UNSIGNED"
    assert "actual_price" in Discrepancy.objects.get().ours


@pytest.mark.scenario("S20")
def test_a_message_whose_row_is_not_visible_yet_waits_and_is_applied_once_it_is(wxpay_sandbox, collecting):
    letter = pay(wxpay_sandbox, collecting)
    ServiceOrder.objects.filter(pk=collecting.pk).update(out_order_no="elsewhere")
    assert letter.post().status_code == 200
    assert Notification.objects.get().state == "WAITING"
    ServiceOrder.objects.filter(pk=collecting.pk).update(out_order_no=collecting.out_order_no)
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert notifications.retry_due() == 1
    assert fresh(collecting).is_paid and collecting.orders.count() == 1


@pytest.mark.scenario("S20")
@pytest.mark.parametrize("event_type", [SIGNED, CANCELLED, PAID, CONFIRMED])
def test_a_message_about_nothing_we_know_is_a_discrepancy_after_an_hour(wxpay_sandbox, collecting, event_type):
    row = collecting.sign_plan if "SIGN_PLAN" in event_type else collecting
    unknown = {"merchant_sign_plan_no" if row is not collecting else "out_order_no": "n0-0ne-knows"}
    assert about(wxpay_sandbox, event_type, row, **unknown).post().status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=50)):
        notifications.retry_due()
        assert Notification.objects.get().state == "WAITING" and not Discrepancy.objects.exists()
    with time_machine.travel(timezone.now() + timedelta(minutes=100)):
        notifications.retry_due()
    assert Notification.objects.get().state == "REFUSED"
    discrepancy = Discrepancy.objects.get()
    assert discrepancy.kind == "UNKNOWN_ROW" and "n0-0ne-knows" in discrepancy.theirs


# New to us, or odd


@pytest.mark.scenario("S22")
@pytest.mark.parametrize("kind", ["USER_OPEN_SERVICE", "USER_CLOSE_SERVICE", "MCH_PREPAY", "USER_ACCEPTED", "TOMORROW"])
def test_events_of_other_payscore_products_are_kept_acknowledged_and_visible(wxpay_sandbox, collecting, kind):
    content = {"openid": "o-one", "service_id": collecting.service_id, "user_service_status": "USER_OPEN_SERVICE"}
    letter = write(wxpay_sandbox, f"PAYSCORE.{kind}", content, alias=collecting.merchant, original_type="payscore")
    assert [letter.post().status_code for _ in range(2)] == [200, 200]
    kept = Notification.objects.get()
    assert (kept.state, kept.event_type, kept.attempts) == ("UNHANDLED", f"PAYSCORE.{kind}", 2)
    assert fresh(collecting).state == "DOING"


@pytest.mark.scenario("S22")
def test_an_unknown_state_moves_nothing_and_a_person_is_told(wxpay_sandbox, collecting):
    about(wxpay_sandbox, CONFIRMED, collecting, state="TOMORROW").post()
    assert fresh(collecting).state == "DOING"
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"


@pytest.mark.scenario("S22")
def test_unknown_descriptions_and_extra_fields_stop_no_payment(wxpay_sandbox, collecting):
    pay(wxpay_sandbox, collecting)
    extra = {
        "state_description": "MCH_LOADING",
        "device": {"start_device_id": "x"},
        "new": [1, {"deep": None}],
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 1},
        "channel_id": "x" * 200,
    }
    assert about(wxpay_sandbox, PAID, collecting, **extra).post().status_code == 200
    assert fresh(collecting).is_paid and not Discrepancy.objects.exists()


ODD = [7, ["x"], {"x": 1}, NUL, HALF, "x" * 500, True, "名" * 300]


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("odd", ODD)
def test_odd_words_stop_no_payment(wxpay_sandbox, collecting, odd):
    pay(wxpay_sandbox, collecting)
    told = wxpay_sandbox.payload_of(collecting)["collection"]
    [entry] = told["details"]
    entry |= {"paid_time": odd, "promotion_detail": odd, "seq": odd, "paid_type": odd}
    names = ("state_description", "location", "time_range", "attach", "service_introduction", "post_payments")
    changed = dict.fromkeys((*names, "post_discounts", "need_collection"), odd)
    letter = about(wxpay_sandbox, PAID, collecting, **changed, collection=told | {"bank_type": odd, "details": [entry]})
    assert letter.post().status_code == 200
    assert fresh(collecting).is_paid and collecting.orders.get().amount_total == NEVER
    assert "\x00" not in f"{ServiceOrder.objects.values().get()}{Order.objects.values().get()}"


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("odd", ODD)
def test_odd_words_stop_no_signature(wxpay_sandbox, unsigned, odd):
    sign(wxpay_sandbox, unsigned)
    listed = wxpay_sandbox.payload_of(unsigned)["signed_detail_list"]
    names = ("use_time", "complete_time", "cancel_time", "actual_pay_price", "order_id", "plan_detail_name")
    changed = dict.fromkeys(("cancel_reason", "cancel_sign_time", "plan_over_time", "sign_time", "plan_name"), odd)
    letter = about(
        wxpay_sandbox,
        SIGNED,
        unsigned,
        **changed,
        signed_detail_list=[one | dict.fromkeys(names, odd) for one in listed],
    )
    assert letter.post().status_code == 200
    assert fresh(unsigned).state == "SIGNED"
    assert set(unsigned.details.values_list("state", flat=True)) == {"NOT_USED"}


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("name", ["state", "out_order_no", "collection", "total_amount"])
@pytest.mark.parametrize("odd", [7.5, [], NUL, None, 2**70])
def test_what_counts_and_is_odd_moves_no_money_and_fails_nothing(wxpay_sandbox, collecting, name, odd):
    pay(wxpay_sandbox, collecting)
    content = wxpay_sandbox.payload_of(collecting) | {name: odd}
    letter = write(wxpay_sandbox, PAID, content, alias=collecting.merchant, original_type="payscore")
    assert letter.post().status_code == 200
    assert Notification.objects.get().state != "FAILED"
    harmless = name == "total_amount" and odd is None  # said elsewhere
    assert fresh(collecting).is_paid == harmless
    assert service_orders.sync(collecting).is_paid  # a query tells it all


# When we fail


@pytest.mark.scenario("S26")
@pytest.mark.parametrize("table", ["transition", "order"])
def test_a_bug_while_booking_keeps_the_message_and_the_next_repeat_books_it(wxpay_sandbox, collecting, table):
    letter = pay(wxpay_sandbox, collecting)

    def breaking(execute, sql, params, many, context):
        if f"INTO django_wxpay_{table} " in sql.replace('"', "").replace("`", ""):
            raise ZeroDivisionError("a bug")
        return execute(sql, params, many, context)

    with connections[transactions.alias()].execute_wrapper(breaking), pytest.raises(ProcessingFailed):
        letter.receive()
    assert fresh(collecting).state == "DOING" and not collecting.orders.exists()
    assert Notification.objects.get().state == "FAILED"
    assert letter.post().status_code == 200
    assert fresh(collecting).is_paid and collecting.orders.count() == 1
    assert became(collecting).count("DONE") == 1


# Never


@pytest.fixture
def live_through(wxpay_sandbox):
    """Let time go by on both sides, up to some hours, with the workers running; gives how many calls were made."""
    with time_machine.travel(timezone.now(), tick=False) as clock:

        def live(hours, until=lambda: False):
            calls = len(wxpay_sandbox.calls)
            for _ in range(hours * 12):
                clock.shift(300)
                for work in (
                    operations.send_due, payscore.poll, sign_plans.poll, service_orders.poll, orders.poll,
                ):  # fmt: skip
                    work()
                if until():
                    break
            return len(wxpay_sandbox.calls) - calls

        yield live


@pytest.mark.scenario("S44")
def test_without_any_notification_polling_alone_brings_everything_home(wxpay_sandbox, unsigned, live_through):
    """Days without a notice: a signature, a payment at night, the user's cancellation with a lesson begun."""
    with hearing("sign_plan_signed", "service_order_paid", "sign_plan_cancelled", "order_paid") as heard:
        wxpay_sandbox.wechat.sign_plans.confirm(unsigned.number)
        assert live_through(1, lambda: fresh(unsigned).state == "SIGNED") < 10
        assert unsigned.state == "SIGNED"

        order = service_orders.complete(service_orders.start(unsigned, reference="lesson 1"))
        assert live_through(24) < 40  # nobody pays: it is asked ever more rarely
        assert fresh(order).is_collecting
        wxpay_sandbox.wechat.service_orders.user_pays(order.number)
        assert live_through(7, lambda: fresh(order).is_paid) < 15
        assert order.is_paid

        second = service_orders.start(fresh(unsigned), reference="lesson 2")
        wxpay_sandbox.wechat.sign_plans.cancel_by_user(unsigned.number)
        assert live_through(25, lambda: fresh(unsigned).state == "SIGN_PLAN_CANCEL") < 40
        assert unsigned.state == "SIGN_PLAN_CANCEL"
        second = service_orders.complete(fresh(second))  # what had begun is finished all the same
        assert live_through(1, lambda: fresh(second).is_paid) < 10
        assert live_through(1) == 0  # nothing is asked about what is over
        transitions.deliver_due()
    assert second.is_paid and second.orders.get().amount_total == 5000
    assert sorted(name for name, *_ in heard) == [
        "order_paid", "order_paid", "service_order_paid", "service_order_paid", "sign_plan_cancelled",
        "sign_plan_signed",
    ]  # fmt: skip
    assert not Notification.objects.exists() and not Discrepancy.objects.exists()
    assert not Operation.objects.open().exists()


@pytest.mark.scenario("S56")
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404, "code": "NOT_FOUND", "message": "no such path"},
        {"status": 404, "code": "", "message": ""},
        {"status": 400, "code": "NO_AUTH", "message": "no permission"},
    ],
)
def test_a_404_of_something_else_ends_nothing(wxpay_sandbox, collecting, answer):
    before = became(collecting)
    wxpay_sandbox.fault("refuse", "/v3/payscore", method="GET", times=-1, **answer)
    for row in (collecting, collecting.sign_plan):
        polling.quietly(service_orders.sync if row is collecting else sign_plans.sync, row)
    assert became(collecting) == before and fresh(collecting).is_collecting
    assert fresh(collecting.sign_plan).state == "SIGNED"


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["lost_answer", "bad_signature", "error_500", "closed_connection", "unsigned"])
@pytest.mark.parametrize("does", ["sign", "start", "complete", "cancel"])
def test_whatever_becomes_of_the_answer_a_query_finds_out_and_nothing_is_done_twice(
    wxpay_sandbox, merchant, later, does, fault
):
    plan = wxpay_sandbox.plan(merchant=merchant)
    signed = None if does == "sign" else wxpay_sandbox.signed_plan(plan)
    running = wxpay_sandbox.started(signed) if does in ("complete", "cancel") else None
    wxpay_sandbox.fault(fault, "/v3/payscore", method="POST")
    asked = {
        "sign": lambda: sign_plans.sign(plan, openid="o-one", reference="course"),
        "start": lambda: service_orders.start(signed, reference="lesson"),
        "complete": lambda: service_orders.complete(running),
        "cancel": lambda: service_orders.cancel(running, reason="rain"),
    }
    with pytest.raises(OutcomeUnknown):
        asked[does]()
    operation = Operation.objects.latest("pk")
    assert operation.state == "UNKNOWN"
    later()
    operation.refresh_from_db()
    assert operation.state == "DONE"
    row = SignPlan.objects.get() if does == "sign" else service_orders.sync(ServiceOrder.objects.get())
    assert row.state == {"sign": "UNSIGNED", "start": "DOING", "complete": "DONE", "cancel": "REVOKED"}[does]
    assert SignPlanDetail.objects.count() == 3
    assert Order.objects.count() == (does == "complete")
