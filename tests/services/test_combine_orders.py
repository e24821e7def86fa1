"""Combined orders, from placing to refunds of their parts, through the sandbox in both modes."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import operations, transactions, transitions
from django_wxpay.exceptions import (
    CalledInTransaction,
    NotAllowedNow,
    OperationPending,
    OrderPaid,
    ReferenceReused,
    RefundTooLarge,
)
from django_wxpay.models import CombineOrder, Discrepancy, Notification, Operation, Order, Refund, Transition
from django_wxpay.services import combine_orders, notifications, orders, payees, refunds
from tests.letters import catch, hearing, write

pytestmark = pytest.mark.django_db
PLACE = "/v3/combine-transactions/miniprogram"
ROOT = "/v3/combine-transactions"
Part = combine_orders.Part


@pytest.fixture(params=["mainland", "mainland_partner"])
def merchant(request):
    return request.param


@pytest.fixture
def placed(wxpay_sandbox, merchant):
    return wxpay_sandbox.combined(1200, 800, merchant=merchant)


def fresh(row):
    row.refresh_from_db()
    return row


def states(order):
    return sorted(order.orders.values_list("state", flat=True))


def calls(sandbox, method, path):
    return sum(1 for known, target in sandbox.calls if known == method and target.startswith(path))


def became(row):
    return [moved.to_state for moved in Transition.objects.of(row).order_by("pk")]


# The whole way


def test_a_basket_is_paid_and_each_payees_order_with_it(wxpay_sandbox, merchant):
    user = get_user_model().objects.create_user("mei")
    with hearing("combine_order_paid", "order_paid") as heard:
        placed = wxpay_sandbox.combined(1200, 800, merchant=merchant, user=user, trade_scenario="RECOMMERCE")
        assert (placed.state, placed.amount_total, states(placed)) == ("NOTPAY", 2000, ["NOTPAY", "NOTPAY"])
        paid = wxpay_sandbox.pay_combined(placed)
    assert (paid.state, states(paid)) == ("SUCCESS", ["SUCCESS", "SUCCESS"])
    assert sorted(name for name, *_ in heard) == ["combine_order_paid", "order_paid", "order_paid"]
    for order, amount in zip(paid.orders.order_by("pk"), (1200, 800), strict=True):
        assert (order.product, order.amount_total, order.currency, order.user) == ("COMBINE", amount, "CNY", user)
        assert order.transaction_id and order.success_time and order.refundable_amount == amount
        assert order.individual_auth_id == order.payee.individual_auth_id
    before = calls(wxpay_sandbox, "GET", ROOT)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        assert combine_orders.poll() == 1 and orders.poll() == 0  # one query confirms them all, as the guide asks
        assert combine_orders.poll() == 0
    assert calls(wxpay_sandbox, "GET", ROOT) == before + 1
    assert fresh(paid).combine_transaction_id and not Discrepancy.objects.exists()


def test_what_pays_is_signed_anew_each_time_and_never_for_what_is_over(wxpay_sandbox, placed):
    first, second = combine_orders.payment_params(placed), combine_orders.payment_params(placed)
    assert first["package"] == second["package"] and first["paySign"] != second["paySign"]
    wxpay_sandbox.pay_combined(placed)
    assert combine_orders.payment_params(placed) is None
    closed = combine_orders.close(wxpay_sandbox.combined(100))
    assert combine_orders.payment_params(closed) is None
    expired = wxpay_sandbox.combined(100)
    CombineOrder.objects.filter(pk=expired.pk).update(time_expire=timezone.now())
    assert combine_orders.payment_params(expired) is None


def test_an_old_prepay_id_is_renewed_by_the_identical_request(wxpay_sandbox, placed):
    first = combine_orders.payment_params(placed)["package"]
    wxpay_sandbox.wechat.clock.shift += 7300
    wxpay_sandbox.wechat.store.run("UPDATE combine_orders SET expires_at = expires_at + 9000")
    CombineOrder.objects.update(prepay_expires=timezone.now())
    second = combine_orders.payment_params(placed)["package"]
    assert first != second and calls(wxpay_sandbox, "POST", PLACE) == 2
    sent = Operation.objects.filter(action="PREPAY").values_list("fields", flat=True)
    assert sent[0] == sent[1]
    wxpay_sandbox.pay_combined(placed)
    assert fresh(placed).is_paid


def test_the_same_reference_places_one_order_and_other_particulars_are_refused(wxpay_sandbox, placed, merchant):
    parts = [Part(order.payee, order.amount_total, order.description) for order in placed.orders.order_by("pk")]
    asked = {"parts": parts, "openid": placed.openid, "reference": placed.reference, "merchant": merchant}
    again = combine_orders.place(**asked)
    assert again.pk == placed.pk and again.was_known
    for changed in (
        {"parts": parts[:1]},
        {"parts": parts[::-1]},
        {"parts": [parts[0], Part(parts[1].payee, 801, "Item 2")]},
        {"openid": "o-other"},
        {"trade_scenario": "TIP"},
        {"device_id": "till", "payer_client_ip": "192.0.2.1"},
    ):
        with pytest.raises(ReferenceReused):
            combine_orders.place(**asked | changed)
    assert CombineOrder.objects.count() == 1 and calls(wxpay_sandbox, "POST", PLACE) == 1


def test_placing_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox, merchant):
    payee = wxpay_sandbox.payee(merchant=merchant)
    asked = {"parts": [Part(payee, 500, "Book")], "openid": "o-payer", "reference": "basket", "merchant": merchant}
    with transactions.atomic():
        with pytest.raises(CalledInTransaction):
            combine_orders.place(**asked)
        planned = combine_orders.plan_order(**asked)
    assert planned.state == "CREATED"
    with pytest.raises(OperationPending):
        combine_orders.payment_params(planned)
    operations.send_due()
    assert fresh(planned).state == "NOTPAY" and combine_orders.payment_params(planned)


# What cannot be


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("parts", {"parts": []}),
        ("parts", {"count": 11}),
        ("parts[0].amount", {"amount": 0}),
        ("parts[0].amount", {"amount": 12.5}),
        ("parts[0].description", {"description": ""}),
        ("parts[0].attach", {"attach": "x" * 128}),
        ("openid", {"openid": ""}),
        ("reference", {"reference": "x" * 65}),
        ("expires_in_seconds", {"expires_in_seconds": 59}),
        ("expires_in_seconds", {"expires_in_seconds": 8 * 86400}),
        ("payer_client_ip", {"device_id": "till"}),
        ("client", {"client": "h5"}),
        ("trade_scenario", {"trade_scenario": "x" * 33}),
    ],
)
def test_an_order_that_cannot_be_is_refused_before_anything_is_written(wxpay_sandbox, field, changed):
    payee = wxpay_sandbox.payee()
    part = {"amount": 500, "description": "Book"} | {
        name: changed.pop(name) for name in ("amount", "description", "attach") if name in changed
    }
    parts = [Part(payee, **part)] * changed.pop("count", 1)
    asked = {"parts": parts, "openid": "o-payer", "reference": "basket", "merchant": "mainland"}
    with pytest.raises(InvalidField) as caught:
        combine_orders.place(**asked | changed)
    assert caught.value.field == field
    assert not CombineOrder.objects.exists() and not Order.objects.exists()


def test_a_payee_of_another_merchant_or_without_an_authorisation_is_not_ordered_for(wxpay_sandbox):
    other, withdrawn = wxpay_sandbox.payee(merchant="mainland_partner"), wxpay_sandbox.payee()
    wxpay_sandbox.withdraw(withdrawn)
    payees.sync(withdrawn)
    for payee in (other, withdrawn, payees.enrol(openid="o-new", merchant="mainland")):
        with pytest.raises(InvalidField) as caught:
            combine_orders.place(
                parts=[Part(payee, 500, "Book")], openid="o-payer", reference="basket", merchant="mainland"
            )
        assert caught.value.field == "parts[0].payee"
    assert not CombineOrder.objects.exists()


@pytest.mark.scenario("S70")
@pytest.mark.parametrize("again", [False, True])
def test_who_withdrew_or_signed_anew_between_check_and_order_is_not_ordered_for(wxpay_sandbox, merchant, again):
    payee = wxpay_sandbox.payee(merchant=merchant)
    wxpay_sandbox.withdraw(payee)
    if again:
        wxpay_sandbox.wechat.payees.authorize(payee.openid, mchid=payee.mchid)
    with pytest.raises(InvalidField) as caught:
        combine_orders.place(parts=[Part(payee, 500, "Book")], openid="o-payer", reference="basket", merchant=merchant)
    assert caught.value.field == "sub_orders[0].individual_auth_id"
    order = CombineOrder.objects.get()
    assert (order.state, states(order)) == ("REFUSED", ["REFUSED"])
    assert calls(wxpay_sandbox, "POST", PLACE) == 0
    assert fresh(payee).is_authorized == again
    if again:
        another = combine_orders.place_again(order)
        assert (another.state, another.attempt) == ("NOTPAY", 2) and another.orders.get().payee == payee
        assert combine_orders.place_again(order).pk == another.pk


def test_a_refusal_ends_the_whole_and_its_parts_with_its_code(wxpay_sandbox, merchant):
    with hearing("combine_order_closed", "order_closed") as heard:
        wxpay_sandbox.fault("refuse", PLACE, code="RULE_LIMIT", status=403)
        with pytest.raises(APIError):
            wxpay_sandbox.combined(500, merchant=merchant)
        transitions.deliver_due()
    order = CombineOrder.objects.get()
    assert (order.state, order.error_code, states(order)) == ("REFUSED", "RULE_LIMIT", ["REFUSED"])
    assert sorted(name for name, *_ in heard) == ["combine_order_closed", "order_closed"]


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["lost_answer", "bad_signature", "error_500", "closed_connection", "unsigned"])
def test_a_lost_placing_is_found_out_and_ordered_once(wxpay_sandbox, merchant, later, fault):
    wxpay_sandbox.fault(fault, PLACE)
    with pytest.raises(OutcomeUnknown):
        wxpay_sandbox.combined(500, merchant=merchant)
    order = CombineOrder.objects.get()
    later()
    assert (fresh(order).state, states(order)) == ("NOTPAY", ["NOTPAY"])
    assert not Operation.objects.open().exists()
    assert wxpay_sandbox.pay_combined(order).is_paid  # its prepay_id is asked for anew where it was lost
    assert len(wxpay_sandbox.wechat.store.all("SELECT * FROM combine_orders")) == 1


# Closing


def test_an_unpaid_order_is_closed_with_each_part_as_it_was_sent(wxpay_sandbox, placed):
    closed = combine_orders.close(placed)
    assert (closed.state, states(closed), closed.close_after) == ("CLOSED", ["CLOSED", "CLOSED"], None)
    assert combine_orders.close(closed).state == "CLOSED"
    assert calls(wxpay_sandbox, "POST", f"{ROOT}/out-trade-no/{placed.number}/close") == 1
    with pytest.raises(NotAllowedNow, match="part of a combined order"):
        orders.reverse(wxpay_sandbox.combined(100).orders.get())


@pytest.mark.scenario("S70")
def test_while_the_payer_pays_it_is_not_closed_and_a_query_decides(wxpay_sandbox, placed, later):
    wxpay_sandbox.wechat.combine_orders.begins(placed.number)
    with pytest.raises(OutcomeUnknown) as caught:
        combine_orders.close(placed)
    assert caught.value.code == "USERPAYING" and fresh(placed).state == "NOTPAY"
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.combine_orders.pays(placed.number)
    later()
    assert (fresh(placed).state, states(placed)) == ("SUCCESS", ["SUCCESS", "SUCCESS"])
    assert Operation.objects.get(action="CLOSE").state == "REFUSED"
    with pytest.raises(OrderPaid):
        combine_orders.close(placed)
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S70")
def test_a_payer_who_left_is_closed_by_the_next_try(wxpay_sandbox, placed, later):
    wxpay_sandbox.wechat.combine_orders.begins(placed.number)
    with pytest.raises(OutcomeUnknown):
        combine_orders.close(placed)
    wxpay_sandbox.wechat.combine_orders.leaves(placed.number)
    later()
    later()
    assert fresh(placed).state == "CLOSED" and not Operation.objects.open().exists()


def test_what_turns_out_to_be_paid_is_not_closed(wxpay_sandbox, placed):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.combine_orders.pays(placed.number)
    with pytest.raises(OrderPaid):
        combine_orders.close(placed)
    assert fresh(placed).is_paid and calls(wxpay_sandbox, "POST", f"{ROOT}/out-trade-no") == 0


@pytest.mark.scenario("S70")
def test_paid_after_all_though_it_was_closed_is_believed_from_a_query_and_shown(wxpay_sandbox, placed):
    combine_orders.close(placed)
    wechat = wxpay_sandbox.wechat
    wechat.store.run("UPDATE orders SET trade_state = 'NOTPAY' WHERE product = 'combine'")
    wxpay_sandbox.delivers = False
    wechat.combine_orders.pays(placed.number)
    [letter] = catch(wxpay_sandbox)
    letter.receive()
    assert fresh(placed).state == "CLOSED"  # one message alone overrules no end
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        combine_orders.poll()
    assert (fresh(placed).state, states(placed)) == ("SUCCESS", ["SUCCESS", "SUCCESS"])
    assert set(Discrepancy.objects.values_list("kind", flat=True)) == {"OVERRULED"}


@pytest.mark.parametrize("lost", [True, False])
def test_whose_time_is_over_is_closed_by_the_task(wxpay_sandbox, merchant, lost):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        placed = wxpay_sandbox.combined(500, merchant=merchant)
        clock.shift(1800)
        assert combine_orders.close_expired() == 0 and combine_orders.payment_params(placed) is None
        clock.shift(61)
        if lost:
            wxpay_sandbox.wechat.store.run("UPDATE combine_orders SET expires_at = NULL")
        assert combine_orders.close_expired() == 1
        operations.send_due()
        assert (fresh(placed).state, states(placed)) == ("CLOSED", ["CLOSED"])
        assert combine_orders.close_expired() == 0


def test_after_a_failed_payment_the_old_number_is_closed_before_a_new_one_is_used(wxpay_sandbox, placed):
    wxpay_sandbox.fail_combined(placed)
    with pytest.raises(NotAllowedNow):
        combine_orders.place_again(placed)
    assert combine_orders.sync(placed).state == "PAYERROR"
    with pytest.raises(NotAllowedNow):
        combine_orders.place_again(placed)
    operations.send_due()
    assert (fresh(placed).state, states(placed)) == ("CLOSED", ["CLOSED", "CLOSED"])
    another = combine_orders.place_again(placed)
    assert (another.attempt, another.state, another.amount_total) == (2, "NOTPAY", 2000)
    assert not set(another.orders.values_list("out_trade_no")) & set(placed.orders.values_list("out_trade_no"))
    assert wxpay_sandbox.pay_combined(another).is_paid
    assert became(placed) == ["NOTPAY", "PAYERROR", "CLOSED"]


# Refunds of a part


def test_a_part_is_refunded_and_told(wxpay_sandbox, placed):
    paid = combine_orders.sync(wxpay_sandbox.pay_combined(placed))
    first, second = paid.orders.order_by("pk")
    with hearing("refund_succeeded") as heard:
        refund = refunds.create(first, amount=200, reference="torn", reason="torn")
        assert refund.state == "PROCESSING" and refund.refund_id
        wxpay_sandbox.advance(10)
    assert fresh(refund).state == "SUCCESS" and len(heard) == 1
    assert (fresh(first).state, first.refundable_amount) == ("REFUND", 1000)
    assert (fresh(second).state, second.refundable_amount) == ("SUCCESS", 800)
    assert refunds.sync(refund).state == "SUCCESS"
    assert combine_orders.sync(paid).state == "SUCCESS" and fresh(first).state == "REFUND"
    with pytest.raises(RefundTooLarge):
        refunds.create(first, amount=1001, reference="more")
    assert not Discrepancy.objects.exists()


@pytest.mark.parametrize("source", ["AVAILABLE", "UNSETTLED", "PREPAID"])
def test_a_refund_may_be_paid_from_each_account(wxpay_sandbox, placed, source):
    paid = combine_orders.sync(wxpay_sandbox.pay_combined(placed))
    refund = refunds.create(paid.orders.first(), amount=200, reference="torn", source=source)
    row = wxpay_sandbox.wechat.refunds.get(refund.out_refund_no)
    assert row["fund_source"] == source
    with pytest.raises(InvalidField):
        refunds.create(paid.orders.last(), amount=1, reference="x", source="REFUND_SOURCE_RECHARGE_FUNDS")


def test_a_refund_elsewhere_is_adopted(wxpay_sandbox, placed):
    paid = combine_orders.sync(wxpay_sandbox.pay_combined(placed))
    wxpay_sandbox.refund_elsewhere(paid.orders.first(), 300)
    wxpay_sandbox.advance(10)
    assert Refund.objects.get().foreign and states(paid) == ["REFUND", "SUCCESS"]
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S40")
def test_the_notice_of_our_own_refund_may_come_before_its_answer(wxpay_sandbox, placed):
    paid = combine_orders.sync(wxpay_sandbox.pay_combined(placed))
    refund = refunds.plan_refund(paid.orders.first(), amount=200, reference="torn")
    wxpay_sandbox.fault("slow", "/v3/ecommerce/refunds", seconds=60)
    operations.send_due()
    wxpay_sandbox.advance(10)
    assert fresh(refund).state == "SUCCESS"
    Operation.objects.open().update(next_try_at=timezone.now(), leased_until=None)
    operations.send_due()
    assert Operation.objects.get(action="REFUND").state == "DONE"
    assert Refund.objects.count() == 1 and became(refund).count("SUCCESS") == 1


def test_a_whole_whose_number_is_unknown_is_queried_before_it_is_refunded(wxpay_sandbox, placed):
    wxpay_sandbox.pay_combined(placed)
    CombineOrder.objects.update(combine_transaction_id=None)
    with pytest.raises(NotAllowedNow, match="must be queried"):
        refunds.create(placed.orders.first(), amount=200, reference="torn")
    combine_orders.sync(placed)
    assert refunds.create(placed.orders.first(), amount=200, reference="torn").state == "PROCESSING"


# Messages


def pay(sandbox, order):
    """The payer pays; gives the message, which we have not got yet."""
    sandbox.delivers = False
    sandbox.wechat.combine_orders.pays(order.number, mchid=order.mchid)
    return catch(sandbox)[-1]


def told(sandbox, order):
    """What WeChat Pay would say of it."""
    row = sandbox.wechat.combine_orders.get(order.number, mchid=order.mchid)
    shown = sandbox.wechat.combine_orders.shown(row)
    return {name: value for name, value in shown.items() if value is not None}


def about(sandbox, order, **changes):
    content = {name: value for name, value in (told(sandbox, order) | changes).items() if value is not None}
    return write(sandbox, "TRANSACTION.SUCCESS", content, alias=order.merchant)


@pytest.mark.scenario("S01")
def test_five_times_the_same_payment_is_counted_and_applied_once(wxpay_sandbox, placed):
    with hearing("order_paid", "combine_order_paid") as heard:
        letter = pay(wxpay_sandbox, placed)
        assert [letter.post().status_code for _ in range(5)] == [200] * 5
        transitions.deliver_due()
    kept = Notification.objects.get()
    assert (kept.state, kept.attempts, kept.subject, kept.number) == ("PROCESSED", 5, "combine_order", placed.number)
    assert len(heard) == 3 and fresh(placed).is_paid


@pytest.mark.scenario("S03")
def test_two_messages_of_one_payment_are_both_kept_and_applied_once(wxpay_sandbox, placed):
    pay(wxpay_sandbox, placed).post()
    assert about(wxpay_sandbox, placed).post().status_code == 200
    assert Notification.objects.filter(state="PROCESSED").count() == 2
    assert became(placed).count("SUCCESS") == 1
    assert [became(order).count("SUCCESS") for order in placed.orders.all()] == [1, 1]


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("refund_first", [True, False])
def test_a_payment_and_its_refund_end_the_same_in_either_order(wxpay_sandbox, placed, refund_first):
    letters = [pay(wxpay_sandbox, placed)]
    first = placed.orders.order_by("pk").first()
    wxpay_sandbox.refund_elsewhere(first, 300)
    wxpay_sandbox.wechat.clock.shift += 10
    letters += catch(wxpay_sandbox)
    for letter in reversed(letters) if refund_first else letters:
        assert letter.post().status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        notifications.retry_due()
    assert states(placed) == ["REFUND", "SUCCESS"] and fresh(placed).is_paid
    assert fresh(first).refundable_amount == 900 and Refund.objects.get().state == "SUCCESS"
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S05")
def test_an_earlier_state_after_the_payment_changes_nothing(wxpay_sandbox, placed):
    earlier = about(wxpay_sandbox, placed)
    pay(wxpay_sandbox, placed).post()
    earlier.post()
    assert Notification.objects.latest("pk").outcome == "STALE"
    assert fresh(placed).is_paid and states(placed) == ["SUCCESS", "SUCCESS"]
    assert not Discrepancy.objects.exists()


OTHERS = [
    {"combine_appid": "wx0000000000000009"},
    {"combine_payer_info": {"openid": "o-other"}},
    {"sub_orders": []},
    {"sub_orders": None},
]


@pytest.mark.scenario("S18")
@pytest.mark.parametrize("changed", OTHERS)
def test_a_message_about_another_party_is_refused_and_told_once(wxpay_sandbox, placed, changed):
    pay(wxpay_sandbox, placed)
    for _ in range(2):
        assert about(wxpay_sandbox, placed, **changed).post().status_code == 200
    assert fresh(placed).state == "NOTPAY" and states(placed) == ["NOTPAY", "NOTPAY"]
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.about, discrepancy.object_id, discrepancy.seen) == ("combine_order", placed.pk, 2)


PARTS = [
    {"mchid": "1900000999"},
    {"individual_auth_id": "IA9"},
    {"out_trade_no": "elsewhere"},
    {"amount": {"total_amount": 799, "currency": "CNY"}},
    {"amount": {"total_amount": 800, "currency": "HKD"}},
    {"amount": {}},
    {"trade_state": "CLOSED"},
    {"transaction_id": None},
]


@pytest.mark.scenario("S19")
@pytest.mark.parametrize("changed", PARTS)
def test_where_one_part_does_not_fit_nothing_of_any_moves(wxpay_sandbox, placed, changed):
    pay(wxpay_sandbox, placed)
    listed = told(wxpay_sandbox, placed)["sub_orders"]
    odd = {name: value for name, value in (listed[1] | changed).items() if value is not None}
    assert about(wxpay_sandbox, placed, sub_orders=[listed[0], odd]).post().status_code == 200
    assert fresh(placed).state == "NOTPAY" and states(placed) == ["NOTPAY", "NOTPAY"]
    assert Discrepancy.objects.get().kind == "MISMATCH"
    assert Notification.objects.get().state == "REFUSED"


@pytest.mark.scenario("S20")
def test_a_message_whose_row_is_not_visible_yet_waits_and_is_applied_once_it_is(wxpay_sandbox, placed):
    letter = pay(wxpay_sandbox, placed)
    CombineOrder.objects.update(combine_out_trade_no="elsewhere")
    assert letter.post().status_code == 200 and Notification.objects.get().state == "WAITING"
    CombineOrder.objects.update(combine_out_trade_no=placed.number)
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert notifications.retry_due() == 1
    assert fresh(placed).is_paid


@pytest.mark.scenario("S22")
def test_an_unknown_state_moves_nothing_and_a_person_is_told(wxpay_sandbox, placed):
    listed = told(wxpay_sandbox, placed)["sub_orders"]
    odd = [part | {"trade_state": "TOMORROW"} for part in listed]
    about(wxpay_sandbox, placed, sub_orders=odd, new={"deep": [1]}).post()
    assert fresh(placed).state == "NOTPAY" and Discrepancy.objects.get().kind == "UNKNOWN_STATE"


@pytest.mark.scenario("S58")
@pytest.mark.parametrize("odd", [7, ["x"], {"x": 1}, "x\x00y", "x\ud83dy", "x" * 400, True, "名" * 300])
def test_odd_words_stop_no_payment(wxpay_sandbox, placed, odd):
    pay(wxpay_sandbox, placed)
    names = ("attach", "bank_type", "trade_type", "success_time", "promotion_detail", "individual_name")
    listed = [part | dict.fromkeys(names, odd) for part in told(wxpay_sandbox, placed)["sub_orders"]]
    letter = about(wxpay_sandbox, placed, sub_orders=listed, scene_info=odd, trade_scenario=odd)
    assert letter.post().status_code == 200
    assert fresh(placed).is_paid and states(placed) == ["SUCCESS", "SUCCESS"]


@pytest.mark.scenario("S56")
@pytest.mark.parametrize("code", ["", "NOT_FOUND", "RESOURCE_NOT_EXISTS"])
def test_a_404_of_something_else_ends_nothing(wxpay_sandbox, placed, code):
    wxpay_sandbox.fault("refuse", ROOT, code=code, status=404, times=-1)
    with pytest.raises(APIError):
        combine_orders.sync(placed)
    assert combine_orders.status(placed).state == "NOTPAY" and states(placed) == ["NOTPAY", "NOTPAY"]


@pytest.mark.scenario("S44")
def test_without_any_notification_polling_alone_brings_everything_home(wxpay_sandbox, merchant):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        paid, failed, left = (wxpay_sandbox.combined(500, merchant=merchant) for _ in range(3))
        wxpay_sandbox.delivers = False
        before = len(wxpay_sandbox.calls)
        wxpay_sandbox.wechat.combine_orders.pays(paid.number)
        wxpay_sandbox.wechat.combine_orders.fails(failed.number)
        for _ in range(12 * 60):
            clock.shift(10)
            for work in (operations.send_due, combine_orders.poll, combine_orders.close_expired, orders.poll):
                work()
        assert [fresh(one).state for one in (paid, failed, left)] == ["SUCCESS", "CLOSED", "CLOSED"]
        assert len(wxpay_sandbox.calls) - before < 45
    assert not Operation.objects.open().exists() and not Discrepancy.objects.exists()
    assert not Order.objects.filter(next_poll_at__isnull=False).exists()


def test_syncing_one_part_asks_about_the_whole(wxpay_sandbox, placed):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.combine_orders.pays(placed.number)
    first = placed.orders.first()
    assert orders.sync(first).state == "SUCCESS"
    assert (fresh(placed).state, states(placed)) == ("SUCCESS", ["SUCCESS", "SUCCESS"])
