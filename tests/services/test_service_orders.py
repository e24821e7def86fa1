"""Service orders, from the start of a service to its payment, through the sandbox in both modes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import operations, transactions
from django_wxpay.exceptions import CalledInTransaction, NotAllowedNow, ReferenceReused
from django_wxpay.models import Discrepancy, Operation, Order, ServiceOrder, SignPlan
from django_wxpay.sandbox import special
from django_wxpay.services import payscore, service_orders, sign_plans
from tests.letters import catch, hearing

pytestmark = pytest.mark.django_db
Item = service_orders.Item
ORDERS = "/v3/payscore"
COLLECTION = special.COLLECTION_AMOUNTS
AT_10_S, NEVER, RUNNING, RUNS_UNPAID, RACES, KEPT, LOST, FAILS_FIRST = (COLLECTION + number for number in range(1, 9))


@pytest.fixture(params=["mainland", "mainland_partner"])
def merchant(request):
    return request.param


@pytest.fixture
def signed(wxpay_sandbox, merchant):
    return wxpay_sandbox.signed_plan(wxpay_sandbox.plan(merchant=merchant))


@pytest.fixture
def costing(wxpay_sandbox):
    """A started service that costs so much."""

    def start(price, merchant="mainland"):
        details = [payscore.Detail("Lesson", price, price), payscore.Detail("Lesson 2", price, price)]
        return wxpay_sandbox.started(wxpay_sandbox.signed_plan(wxpay_sandbox.plan(details=details, merchant=merchant)))

    return start


def details_of(sign_plan):
    sign_plans.sync(sign_plan)
    return list(sign_plan.details.values_list("state", flat=True))


def asked(sandbox, what):
    return [path for method, path in sandbox.calls if method == "POST" and path.endswith(f"/{what}")]


# The whole way


def test_a_course_goes_from_its_signature_to_its_free_lesson(wxpay_sandbox, signed):
    with hearing("service_order_paid", "order_paid", "sign_plan_cancelled", "discrepancy_found") as heard:
        first = wxpay_sandbox.completed(signed)
        assert first.is_paid and (first.total_amount, first.paid_amount) == (10000, 10000)
        second = wxpay_sandbox.completed(signed)
        assert second.is_paid and second.total_amount == 5000
        third = service_orders.sync(wxpay_sandbox.completed(signed))
        assert third.is_paid and third.total_amount == 0 and not third.orders.exists()
    wxpay_sandbox.deliver()
    assert details_of(signed) == ["USED"] * 3
    signed.refresh_from_db()
    assert signed.state == "COMPLETE"
    paid = Order.objects.order_by("pk")
    assert [(order.amount_total, order.state, order.currency) for order in paid] == [
        (10000, "SUCCESS", "CNY"),
        (5000, "SUCCESS", "CNY"),
    ]
    assert all(order.product == "PAYSCORE" and order.out_trade_no is None and order.transaction_id for order in paid)
    assert [name for name, *_ in heard].count("order_paid") == 2
    assert not Discrepancy.objects.exists()


def test_each_service_order_is_told_as_paid_once_the_free_one_too(wxpay_sandbox, signed):
    with hearing("service_order_paid", "service_order_closed") as heard:
        for _ in range(3):
            service_orders.sync(wxpay_sandbox.completed(signed))
        wxpay_sandbox.deliver()
    assert [name for name, *_ in heard] == ["service_order_paid"] * 3


# Starting


def test_a_service_begins_under_the_number_that_was_signed_for_it(wxpay_sandbox, signed):
    order = service_orders.start(signed, reference="lesson-1", introduction="游泳课", location="Pool 1", attach="a&b")
    detail = signed.details.first()
    assert order.out_order_no == detail.merchant_plan_detail_no and order.order_id
    assert (order.state, order.state_description, order.is_running) == ("DOING", "USER_CONFIRM", True)
    assert order.start_time <= timezone.now() and order.service_introduction == "游泳课"
    assert details_of(signed) == ["USING", "NOT_USED", "NOT_USED"]


def test_the_same_reference_starts_one_service(wxpay_sandbox, signed):
    first = service_orders.start(signed, reference="lesson-1", introduction="Swim")
    again = service_orders.start(signed, reference="lesson-1", introduction="Swim")
    assert first.pk == again.pk and again.was_known
    with pytest.raises(ReferenceReused, match="service_introduction"):
        service_orders.start(signed, reference="lesson-1", introduction="Dive")
    wxpay_sandbox._after(service_orders.complete(first))
    assert service_orders.start(signed, reference="lesson-1", introduction="Swim").pk == first.pk
    assert ServiceOrder.objects.count() == 1


def test_no_service_begins_before_the_one_before_it_is_paid_or_cancelled(wxpay_sandbox, costing):
    running = costing(NEVER)
    with pytest.raises(NotAllowedNow, match="paid or cancelled"):
        service_orders.start(running.sign_plan, reference="next")
    collecting = service_orders.complete(running)
    with pytest.raises(NotAllowedNow, match="paid or cancelled"):
        service_orders.start(running.sign_plan, reference="next")
    wxpay_sandbox.pay_service(collecting)
    assert wxpay_sandbox.started(running.sign_plan).detail.plan_detail_no == 2


def test_no_service_is_skipped(wxpay_sandbox, signed):
    third = signed.details.last()
    with pytest.raises(NotAllowedNow, match="1. Lesson 1, not 3. Lesson 3"):
        service_orders.start(signed, reference="last", detail=third)
    assert not ServiceOrder.objects.exists()


def test_a_cancelled_service_is_used_up_and_the_next_one_begins(wxpay_sandbox, signed):
    with hearing("service_order_closed") as heard:
        cancelled = service_orders.cancel(wxpay_sandbox.started(signed), reason="pool closed")
        wxpay_sandbox.deliver()
    assert cancelled.state == "REVOKED" and len(heard) == 1
    assert wxpay_sandbox.started(signed).detail.plan_detail_no == 2
    assert details_of(signed) == ["SIGN_PLAN_DETAIL_CANCEL", "USING", "NOT_USED"]


def test_a_plan_that_was_cancelled_elsewhere_starts_nothing(wxpay_sandbox, signed):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.sign_plans.cancel_by_user(signed.number)
    with pytest.raises(InvalidField, match="SIGN_PLAN_CANCEL"):
        service_orders.start(signed, reference="lesson-1")
    assert ServiceOrder.objects.get().state == "REFUSED"
    assert not asked(wxpay_sandbox, "serviceorder")
    signed.refresh_from_db()
    assert signed.state == "SIGN_PLAN_CANCEL"


def test_a_refused_start_is_tried_again_under_another_reference(wxpay_sandbox, signed):
    wxpay_sandbox.fault("refuse", "*/serviceorder", method="POST", status=400, code="INVALID_REQUEST")
    with pytest.raises(APIError):
        service_orders.start(signed, reference="lesson-1")
    refused = ServiceOrder.objects.get()
    assert (refused.state, refused.error_code) == ("REFUSED", "INVALID_REQUEST")
    assert service_orders.start(signed, reference="lesson-1").state == "REFUSED"
    again = service_orders.start(signed, reference="lesson-1, again")
    assert again.pk == refused.pk and again.state == "DOING" and again.error_code == ""


def test_starting_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox, signed):
    with pytest.raises(CalledInTransaction, match="plan_start"), transactions.atomic():
        service_orders.start(signed, reference="lesson-1")
    with transactions.atomic():
        order = service_orders.plan_start(signed, reference="lesson-1")
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "DOING"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("service_introduction", {"introduction": "x" * 21}),
        ("location.start_location", {"location": "x" * 51}),
        ("time_range.start_time", {"start_time": timezone.now().replace(tzinfo=None)}),
        ("reference", {"reference": ""}),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_anything_is_written(wxpay_sandbox, signed, field, given):
    with pytest.raises(InvalidField) as refused:
        service_orders.start(signed, **{"reference": "lesson-1"} | given)
    assert refused.value.field == field
    assert not ServiceOrder.objects.exists()


@pytest.mark.parametrize("fault", ["lost_answer", "error_500"])
def test_a_lost_start_is_found_out_and_never_started_twice(wxpay_sandbox, signed, later, fault):
    wxpay_sandbox.fault(fault, "*/serviceorder", method="POST")
    with pytest.raises(OutcomeUnknown):
        service_orders.start(signed, reference="lesson-1")
    later()
    order = ServiceOrder.objects.get()
    assert order.state == "DOING"
    assert len(wxpay_sandbox.wechat.describe()["service_orders"]) == 1


# Completing


def test_items_and_discounts_make_the_amount(wxpay_sandbox, signed):
    order = wxpay_sandbox.started(signed)
    order = service_orders.complete(
        order,
        payments=[Item("Lesson 1", 9000), {"name": "Towel", "amount": 500, "count": 1}],
        discounts=[Item("Member", 1500, "thank you")],
        end_location="Pool 2",
        profit_sharing=False,
        goods_tag="SWIM",
    )
    order = service_orders.sync(order)
    assert (order.total_amount, order.paid_amount, order.end_location) == (8000, 8000, "Pool 2")
    assert order.post_discounts == [{"name": "Member", "amount": 1500, "description": "thank you"}]
    sent = wxpay_sandbox.wechat.service_orders.get(order.number)
    assert len(sent["post_payments"]) == 2


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("total_amount", {"payments": [Item("a", 10001)]}),
        ("post_discounts", {"payments": [Item("a", 1)], "discounts": [Item("b", 2)]}),
        ("post_payments[0].amount", {"payments": [Item("a", -1)]}),
        ("post_payments[0].amount", {"payments": [Item("a", 1.5)]}),
        ("post_payments[1].name", {"payments": [Item("a", 1), Item("", 1)]}),
        ("post_payments", {"payments": []}),
        ("time_range.end_time", {"end_time": timezone.now() + timedelta(minutes=1)}),
        ("time_range.end_time", {"end_time": timezone.now() - timedelta(days=1)}),
        ("time_range.end_time", {"end_time": timezone.now().replace(tzinfo=None)}),
        ("location.end_location", {"end_location": "x" * 51}),
        ("goods_tag", {"goods_tag": "x" * 33}),
    ],
)
def test_a_completion_that_cannot_be_is_refused_before_anything_is_written(wxpay_sandbox, field, given):
    order = wxpay_sandbox.started()
    with pytest.raises(InvalidField) as refused:
        service_orders.complete(order, **given)
    assert refused.value.field == field
    assert not Operation.objects.filter(action="COMPLETE").exists()


def test_a_service_ends_no_later_than_wechat_pays_clock_may_say(wxpay_sandbox):
    began = timezone.now() - timedelta(hours=2)
    order = wxpay_sandbox.started(start_time=began)
    service_orders.complete(order, end_time=timezone.now())
    sent = Operation.objects.get(action="COMPLETE").fields["time_range"]
    assert sent["start_time"] < sent["end_time"]
    order.refresh_from_db()
    assert timedelta(seconds=55) < timezone.now() - order.end_time < timedelta(seconds=75)


def test_what_is_accepted_is_not_yet_paid_and_is_paid_by_the_query(wxpay_sandbox, costing, merchant):
    order = service_orders.complete(costing(AT_10_S, merchant))
    assert (order.state, order.state_description, order.is_collecting) == ("DOING", "MCH_COMPLETE", True)
    assert order.completed_at is not None and not order.is_paid and not Order.objects.exists()
    with pytest.raises(NotAllowedNow, match="MCH_COMPLETE"):
        service_orders.complete(order)
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.advance(15)
    ServiceOrder.objects.update(next_poll_at=timezone.now())
    assert service_orders.poll() == 1
    order.refresh_from_db()
    assert order.is_paid and order.orders.get().success_time is not None


def test_a_service_that_lasted_for_weeks_is_asked_about_soon_once_it_is_completed(wxpay_sandbox, costing):
    order = costing(NEVER)
    long_ago = timezone.now() - timedelta(days=20)
    ServiceOrder.objects.update(created_at=long_ago, next_poll_at=timezone.now() + timedelta(hours=6))
    order = service_orders.complete(order)
    assert order.next_poll_at - timezone.now() < timedelta(seconds=31)
    assert service_orders.sync(order).next_poll_at - timezone.now() < timedelta(seconds=31)


@pytest.mark.parametrize("price", [LOST, FAILS_FIRST])
def test_a_lost_completion_is_found_out_and_collected_once(wxpay_sandbox, costing, later, merchant, price):
    order = costing(price, merchant)
    with pytest.raises(OutcomeUnknown):
        service_orders.complete(order)
    later()
    order = service_orders.sync(order)
    assert order.is_paid and order.orders.count() == 1
    assert Operation.objects.get(action="COMPLETE").state == "DONE"


def test_orders_that_run_are_finished_after_the_user_cancelled_the_plan(wxpay_sandbox, signed):
    order = wxpay_sandbox.started(signed)
    wxpay_sandbox.cancel_plan(signed)
    order = service_orders.sync(wxpay_sandbox._after(service_orders.complete(order)))
    assert order.is_paid and order.orders.count() == 1
    signed.refresh_from_db()
    assert signed.state == "SIGN_PLAN_CANCEL"


# While it is collected


def test_a_collection_is_lowered_and_the_lower_amount_is_paid(wxpay_sandbox, costing, merchant):
    order = service_orders.complete(costing(NEVER, merchant))
    for wrong in (NEVER, NEVER + 1):
        with pytest.raises(InvalidField) as refused:
            service_orders.modify(order, payments=[Item("Lesson", wrong)], reason="half of it")
        assert refused.value.field == "total_amount"
    order = service_orders.modify(order, payments=[Item("Lesson", 8000)], reason="half of it")
    assert order.total_amount == 8000
    order = wxpay_sandbox.pay_service(order)
    assert order.is_paid and order.orders.get().amount_total == 8000


def test_what_was_paid_elsewhere_is_kept_and_makes_no_order(wxpay_sandbox, costing, merchant):
    order = service_orders.complete(costing(NEVER, merchant))
    order = service_orders.report_paid(order, paid_time=timezone.now())
    order = service_orders.sync(order)
    assert order.is_paid and not Order.objects.exists() and not Discrepancy.objects.exists()
    [entry] = order.collection_details
    assert (entry["paid_type"], entry["amount"]) == ("MCH", NEVER)
    assert Operation.objects.get(action="REPORT_PAID").state == "DONE"


@pytest.mark.scenario("S69")
def test_a_deduction_that_wins_against_a_report_makes_a_discrepancy_and_is_done_once(wxpay_sandbox, costing, later):
    order = service_orders.complete(costing(RUNNING))
    with pytest.raises(APIError, match="in progress"):
        service_orders.report_paid(order, paid_time=timezone.now())
    assert Operation.objects.get(action="REPORT_PAID").state == "PLANNED"
    with hearing("service_order_paid") as heard:
        wxpay_sandbox.advance(15)
        wxpay_sandbox.deliver()
    order.refresh_from_db()
    assert order.is_paid and order.orders.count() == 1 and len(heard) == 1
    assert Discrepancy.objects.get(kind="PAID_TWICE").object_id == order.pk
    later()
    assert Operation.objects.get(action="REPORT_PAID").state == "REFUSED"
    assert not asked(wxpay_sandbox, "sync")[1:]


@pytest.mark.scenario("S69")
def test_both_payments_of_a_race_are_shown_and_what_was_collected_can_be_refunded(wxpay_sandbox, costing, merchant):
    order = service_orders.complete(costing(RACES, merchant))
    order = service_orders.sync(service_orders.report_paid(order, paid_time=timezone.now()))
    assert order.state == "DONE" and {one["paid_type"] for one in order.collection_details} == {"NEWTON", "MCH"}
    assert Discrepancy.objects.get(kind="PAID_TWICE")
    assert order.orders.get().refundable_amount == RACES


@pytest.mark.scenario("S69")
def test_a_report_that_wins_leaves_nothing_to_collect(wxpay_sandbox, costing):
    order = service_orders.complete(costing(RUNS_UNPAID))
    with pytest.raises(APIError):
        service_orders.report_paid(order, paid_time=timezone.now())
    wxpay_sandbox.wechat.advance(15)
    Operation.objects.open().update(next_try_at=timezone.now())
    operations.send_due()
    order = service_orders.sync(order)
    assert order.is_paid and not Order.objects.exists() and not Discrepancy.objects.exists()


def test_what_was_just_reported_as_paid_is_left_alone_until_a_query_tells(wxpay_sandbox, costing, merchant):
    order = service_orders.report_paid(service_orders.complete(costing(NEVER, merchant)), paid_time=timezone.now())
    assert order.is_collecting  # the answer tells of no collection, a partner's of nothing
    for ask in (
        lambda: service_orders.collect(order),
        lambda: service_orders.modify(order, payments=[Item("Less", 1)], reason="rain"),
        lambda: service_orders.report_paid(order, paid_time=timezone.now()),
    ):
        with pytest.raises(NotAllowedNow, match="not been queried since"):
            ask()
    assert not asked(wxpay_sandbox, "pay") and not asked(wxpay_sandbox, "modify")
    assert service_orders.sync(order).is_paid


def test_a_report_is_due_to_be_queried_at_once_and_its_form_sent_again_is_no_second_report(
    wxpay_sandbox, costing, merchant
):
    order = service_orders.complete(costing(NEVER, merchant))
    ServiceOrder.objects.update(next_poll_at=timezone.now() + timedelta(hours=6))
    order = service_orders.report_paid(order, paid_time=timezone.now(), reference="form")
    assert service_orders.was_just_reported(order)
    assert service_orders.report_paid(order, paid_time=timezone.now(), reference="form").was_known
    assert len(asked(wxpay_sandbox, "sync")) == 1
    assert service_orders.poll() == 1
    order.refresh_from_db()
    assert order.is_paid and not service_orders.was_just_reported(order)


def test_what_was_just_reported_as_paid_is_not_cancelled_before_a_query_tells(wxpay_sandbox, costing, merchant):
    order = service_orders.report_paid(service_orders.complete(costing(NEVER, merchant)), paid_time=timezone.now())
    with pytest.raises(NotAllowedNow, match="not been queried since"):
        service_orders.cancel(order, reason="rain")
    assert not asked(wxpay_sandbox, "cancel") and not Operation.objects.filter(action="CANCEL").exists()
    assert service_orders.sync(order).is_paid and not Discrepancy.objects.exists()


def test_while_it_is_collected_a_cancellation_may_work_or_not(wxpay_sandbox, costing, merchant):
    order = service_orders.complete(costing(NEVER, merchant))
    assert service_orders.cancel(order, reason="a mistake").state == "REVOKED"
    kept = service_orders.complete(costing(KEPT, merchant))
    with pytest.raises(APIError):
        service_orders.cancel(kept, reason="a mistake")
    kept.refresh_from_db()
    assert kept.is_collecting and Operation.objects.filter(action="CANCEL").last() is not None


def test_a_cancellation_waits_for_a_running_deduction(wxpay_sandbox, costing):
    order = service_orders.complete(costing(RUNS_UNPAID))
    with pytest.raises(APIError, match="in progress"):
        service_orders.cancel(order, reason="a mistake")
    waiting = Operation.objects.get(action="CANCEL")
    assert waiting.state == "PLANNED" and waiting.next_try_at - timezone.now() > timedelta(minutes=2)
    wxpay_sandbox.wechat.advance(15)
    Operation.objects.open().update(next_try_at=timezone.now())
    operations.send_due()
    order.refresh_from_db()
    assert order.state == "REVOKED"


def test_a_collection_is_asked_for_only_while_there_is_one(wxpay_sandbox, costing, merchant):
    order = costing(NEVER, merchant)
    for what in (
        lambda: service_orders.collect(order),
        lambda: service_orders.report_paid(order, paid_time=timezone.now()),
        lambda: service_orders.modify(order, payments=[Item("a", 1)], reason="less"),
    ):
        with pytest.raises(NotAllowedNow, match="USER_CONFIRM"):
            what()
    collecting = service_orders.complete(order)
    service_orders.collect(collecting)
    assert Operation.objects.get(action="COLLECT").state == "DONE"
    assert asked(wxpay_sandbox, "pay")


def test_what_is_over_is_not_cancelled(wxpay_sandbox):
    paid = wxpay_sandbox.completed()
    with pytest.raises(NotAllowedNow, match="refunded"):
        service_orders.cancel(paid, reason="late")


# What WeChat Pay says


def test_an_older_message_takes_nothing_back(wxpay_sandbox, costing):
    order = costing(NEVER)
    before = wxpay_sandbox.payload_of(order)
    order = service_orders.complete(order)
    wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", before, merchant="mainland")
    order.refresh_from_db()
    assert order.is_collecting and order.total_amount == NEVER
    dearer = wxpay_sandbox.payload_of(order)
    order = service_orders.modify(order, payments=[Item("Lesson", 8000)], reason="half of it")
    wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", dearer, merchant="mainland")
    order.refresh_from_db()
    assert order.total_amount == 8000


def test_a_payment_is_booked_once_however_often_it_is_told(wxpay_sandbox):
    order = wxpay_sandbox.completed()
    for _ in range(3):
        wxpay_sandbox.notify("PAYSCORE.USER_PAID", wxpay_sandbox.payload_of(order), merchant="mainland")
        service_orders.sync(order)
    assert order.orders.count() == 1


def test_amounts_as_text_are_amounts(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    wxpay_sandbox.fault("altered", ORDERS, answer={"total_amount": str(NEVER)})
    assert service_orders.sync(order).total_amount == NEVER
    assert not Discrepancy.objects.exists()


@pytest.mark.parametrize("collection", [{"state": ""}, {"state": "USER_PAYING"}, None])
def test_done_without_a_proof_of_payment_is_not_paid(wxpay_sandbox, costing, collection):
    order = service_orders.complete(costing(NEVER))
    told = wxpay_sandbox.payload_of(order) | {"state": "DONE", "state_description": None, "collection": collection}
    assert wxpay_sandbox.notify("PAYSCORE.USER_PAID", told, merchant="mainland")["status"] == 200
    order.refresh_from_db()
    assert order.state == "DOING" and not order.is_paid
    assert Discrepancy.objects.get().kind == "MISMATCH"


def test_unknown_words_are_no_states(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    wxpay_sandbox.fault("altered", ORDERS, answer={"state": "CLOSED", "state_description": "MCH_LOADING"})
    order = service_orders.sync(order)
    assert order.is_collecting
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"


def test_a_payment_of_another_service_order_is_not_booked(wxpay_sandbox, signed):
    first = wxpay_sandbox.completed(signed)
    number = first.orders.get().transaction_id
    wxpay_sandbox.delivers = False
    second = service_orders.complete(service_orders.start(signed, reference="second"))
    wxpay_sandbox.wechat.settle()
    told = wxpay_sandbox.payload_of(second)
    told["collection"]["details"][0]["transaction_id"] = number
    wxpay_sandbox.notify("PAYSCORE.USER_PAID", told, merchant=signed.merchant)
    second.refresh_from_db()
    assert second.state == "DOING" and Order.objects.count() == 1
    assert Discrepancy.objects.get().kind == "MISMATCH"


def test_what_was_completed_elsewhere_counts_up_to_what_was_signed(wxpay_sandbox):
    order = wxpay_sandbox.started()
    told = wxpay_sandbox.payload_of(order) | {"state_description": "MCH_COMPLETE", "total_amount": 10001}
    wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", told, merchant="mainland")
    order.refresh_from_db()
    assert order.is_running and Discrepancy.objects.get().kind == "MISMATCH"
    wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", told | {"total_amount": 9000}, merchant="mainland")
    order.refresh_from_db()
    assert order.is_collecting and order.total_amount == 9000


def test_created_and_confirmed_is_in_use(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    wxpay_sandbox.fault("altered", "*/serviceorder", method="POST", answer={"state": "CREATED"})
    order = service_orders.start(signed, reference="lesson-1")
    assert order.state == "CREATED" and order.is_running
    wxpay_sandbox.delivers = False
    assert service_orders.complete(order).is_collecting


def test_a_created_one_that_is_not_confirmed_can_be_cancelled_not_completed(wxpay_sandbox):
    signed = wxpay_sandbox.signed_plan()
    answer = {"state": "CREATED", "state_description": None}
    wxpay_sandbox.fault("altered", "*/serviceorder", method="POST", answer=answer)
    order = service_orders.start(signed, reference="lesson-1")
    with pytest.raises(NotAllowedNow):
        service_orders.complete(order)
    assert service_orders.cancel(order, reason="never confirmed").state == "REVOKED"


def test_the_payment_of_a_cancelled_order_is_known_after_the_next_query(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    cancelled = service_orders.cancel(order, reason="a mistake")
    row = wxpay_sandbox.wechat.service_orders.get(order.number)
    wxpay_sandbox.wechat.store.update("service_orders", "order_id", row["order_id"], state_description="MCH_COMPLETE")
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.service_orders.user_pays(order.number)
    [letter] = catch(wxpay_sandbox)
    letter.receive()
    cancelled.refresh_from_db()
    assert cancelled.state == "REVOKED" and cancelled.contradicted_at is not None
    service_orders.poll()
    cancelled.refresh_from_db()
    assert cancelled.is_paid and cancelled.orders.count() == 1
    assert Discrepancy.objects.get().kind == "OVERRULED"


def test_a_status_page_asks_once_in_some_seconds(wxpay_sandbox):
    order = wxpay_sandbox.started()
    before = len(wxpay_sandbox.calls)
    assert service_orders.status(order).state == "DOING"
    assert service_orders.status(order).state == "DOING"
    assert len(wxpay_sandbox.calls) == before + 1


def test_a_queried_payment_is_confirmed_by_its_service_order(wxpay_sandbox, merchant):
    from django_wxpay.services import orders

    plan = wxpay_sandbox.plan(merchant=merchant)
    payment = wxpay_sandbox.completed(wxpay_sandbox.signed_plan(plan)).orders.get()
    assert orders.sync(payment).state == "SUCCESS"
    assert payment.synced_at is not None and not Discrepancy.objects.exists()
    assert SignPlan.objects.count() == 1


# What happened elsewhere, or only in part


def test_a_total_lowered_elsewhere_is_paid_though_we_had_asked_for_more(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    told = wxpay_sandbox.payload_of(order) | {"total_amount": NEVER - 1}
    wxpay_sandbox.notify("PAYSCORE.USER_CONFIRM", told, merchant="mainland")
    order.refresh_from_db()
    assert order.total_amount == NEVER - 1 and not Discrepancy.objects.exists()


def paid_in_part(sandbox, order):
    sandbox.delivers = False
    sandbox.wechat.service_orders.user_pays(order.number)
    return sandbox.payload_of(order) | {"collection": {"state": "USER_PAID", "details": []}}


def test_paid_without_its_payments_is_queried_and_booked(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    wxpay_sandbox.notify("PAYSCORE.USER_PAID", paid_in_part(wxpay_sandbox, order), merchant="mainland")
    order.refresh_from_db()
    assert order.state == "DONE" and order.next_poll_at is not None
    service_orders.sync(order)
    assert order.orders.get().amount_total == NEVER and not Discrepancy.objects.exists()


def test_paid_without_its_payments_is_shown_when_the_query_lists_none_either(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    told = paid_in_part(wxpay_sandbox, order)
    wxpay_sandbox.fault("altered", ORDERS, answer={"collection": told["collection"]})
    service_orders.sync(order)
    assert "come to 0" in Discrepancy.objects.get(kind="MISMATCH").theirs


def test_a_repeat_does_not_reopen_what_people_ended(wxpay_sandbox, costing):
    order = service_orders.sync(
        service_orders.report_paid(service_orders.complete(costing(RACES)), paid_time=timezone.now())
    )
    Discrepancy.objects.filter(kind="PAID_TWICE").update(state="RESOLVED", open_key=None)
    service_orders.sync(order)
    assert Discrepancy.objects.filter(kind="PAID_TWICE").count() == 1


def test_a_service_that_begins_later_is_not_over_yet(wxpay_sandbox):
    order = wxpay_sandbox.started()
    ServiceOrder.objects.update(start_time=timezone.now() + timedelta(hours=1))
    with pytest.raises(InvalidField, match="cannot be over") as refused:
        service_orders.complete(order)
    assert refused.value.field == "time_range.end_time"


def test_a_service_order_that_is_cancelled_already_counts_as_cancelled(wxpay_sandbox):
    order = wxpay_sandbox.started()
    wxpay_sandbox.fault("refuse", "*/cancel", status=400, code="ORDER_CANCELED")
    assert service_orders.cancel(order, reason="a mistake").state == "REVOKED"
    assert Operation.objects.get(action="CANCEL").state == "DONE"


def test_a_service_order_that_is_paid_is_not_called_cancelled_by_a_refusal(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    wxpay_sandbox.fault("refuse", "*/cancel", status=400, code="ORDER_CANCELED")
    wxpay_sandbox.meanwhile(lambda: wxpay_sandbox.pay_service(order), "*/cancel")
    with pytest.raises(APIError):
        service_orders.cancel(order, reason="a mistake")
    order.refresh_from_db()
    assert order.is_paid and Operation.objects.get(action="CANCEL").state == "REFUSED"


@pytest.mark.scenario("S69")
def test_a_total_lowered_elsewhere_and_paid_twice_is_booked_and_shown(wxpay_sandbox, costing):
    order = service_orders.complete(costing(NEVER))
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.service_orders.user_pays(order.number)
    told = wxpay_sandbox.payload_of(order) | {"total_amount": NEVER - 1}
    [entry] = told["collection"]["details"]
    entry["amount"] = NEVER - 1
    told["collection"]["details"] = [entry, {"seq": 2, "amount": NEVER - 1, "paid_type": "MCH"}]
    wxpay_sandbox.notify("PAYSCORE.USER_PAID", told, merchant="mainland")
    order.refresh_from_db()
    assert order.is_paid and order.orders.get().amount_total == NEVER - 1
    assert [one.kind for one in Discrepancy.objects.all()] == ["PAID_TWICE"]
