"""A genuine message contradicts a final state while an older query is under way: only a later query may settle it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.engine import polling
from django_wxpay.exceptions import OperationPending, OrderNotDead, OrderPaid, RefundTooLarge
from django_wxpay.models import Contract, Discrepancy, Operation, Order, Refund
from django_wxpay.services import contracts, orders, refunds
from django_wxpay.testing import make_order

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S54")]

ORDER_QUERY = "/v3/global/papay/transactions/out-trade-no"
REFUND_QUERY = "/v3/global/refunds/out-refund-no"
CONTRACT_QUERY = "/v3/global/papay/contracts"
NEVER_PAID, STAYS_PROCESSING = 6_660_011, 7_770_004


def closed_order(sandbox):
    """A deduction that hung, and that we reversed; its confirming query is due."""
    asked = {"amount": NEVER_PAID, "currency": "HKD", "description": "March", "reference": "hangs"}
    order = orders.reverse(orders.deduct(sandbox.signed_contract(), **asked))
    assert (order.state, order.next_poll_at is None) == ("CLOSED", False)
    return order


def closed_refund(sandbox):
    refund = sandbox.refund(sandbox.paid_order(amount=STAYS_PROCESSING), STAYS_PROCESSING)
    sandbox.wechat.refunds.finish(refund.out_refund_no, "CLOSED")
    sandbox.deliver()
    refund.refresh_from_db()
    assert (refund.state, refund.next_poll_at is None) == ("CLOSED", False)
    return refund


def expired_contract(sandbox):
    """Nobody signed in time, and somebody asks once more."""
    contract = contracts.sign(plan_id=12345, user_display_name="Li M.", openid="o-late")
    Contract.objects.filter(pk=contract.pk).update(expired_time=timezone.now() - timedelta(hours=1))
    contract = contracts.sync(contract)
    assert contract.state == "EXPIRED"
    polling.plan_query(contract)
    return contract


def is_paid_after_all(sandbox, order):
    wechat = sandbox.wechat
    wechat.orders.become(wechat.orders.get(order.out_trade_no), "SUCCESS", wechat.clock.now())
    payload = sandbox.payload_of(order)
    assert payload["trade_state"] == "SUCCESS"
    assert sandbox.notify("TRANSACTION.SUCCESS", payload)["acknowledged"]


def is_refunded_after_all(sandbox, refund):
    wechat = sandbox.wechat
    known = {"status": "SUCCESS", "success_at": wechat.clock.now()}
    wechat.store.update("refunds", "out_refund_no", refund.out_refund_no, **known)
    changes = {"mchid": refund.mchid, "out_trade_no": refund.order.out_trade_no, "refund_status": "SUCCESS"}
    assert sandbox.notify("REFUND.SUCCESS", sandbox.payload_of(refund) | changes)["acknowledged"]


def is_signed_after_all(sandbox, contract):
    sandbox.sign(contract)


STORIES = [
    pytest.param(closed_order, is_paid_after_all, orders.poll, ORDER_QUERY, "SUCCESS", id="order"),
    pytest.param(closed_refund, is_refunded_after_all, refunds.poll, REFUND_QUERY, "SUCCESS", id="refund"),
    pytest.param(expired_contract, is_signed_after_all, contracts.poll, CONTRACT_QUERY, "SIGNED", id="contract"),
]


def contradicted_during_a_query(sandbox, make, happens, poll, path):
    """The row, after a query that was answered before the contradicting message came and told after it."""
    row = make(sandbox)
    type(row).objects.exclude(pk=row.pk).update(next_poll_at=None)
    type(row).objects.filter(pk=row.pk).update(next_poll_at=timezone.now())
    ended = row.state
    sandbox.meanwhile(lambda: happens(sandbox, row), path, method="GET")
    poll(limit=1)
    row.refresh_from_db()
    assert row.state == ended  # a message by itself overrules no final state
    return row


@pytest.mark.parametrize(("make", "happens", "poll", "path", "truth"), STORIES)
def test_a_query_begun_before_a_contradicting_message_settles_nothing(wxpay_sandbox, make, happens, poll, path, truth):
    row = contradicted_during_a_query(wxpay_sandbox, make, happens, poll, path)
    assert row.next_poll_at <= timezone.now()
    poll()
    row.refresh_from_db()
    assert (row.state, row.next_poll_at, row.recheck_after) == (truth, None if row.is_final else row.next_poll_at, None)
    assert Discrepancy.objects.get().kind == "OVERRULED"
    if isinstance(row, Refund):
        assert Order.objects.get(pk=row.order_id).refundable_amount == 0


@pytest.mark.parametrize(("make", "happens", "poll", "path", "truth"), STORIES)
def test_opposite_without_the_mark_the_older_query_would_be_the_last(
    wxpay_sandbox, monkeypatch, make, happens, poll, path, truth
):
    monkeypatch.setattr(polling, "settles", lambda row, begun_at: True)
    row = contradicted_during_a_query(wxpay_sandbox, make, happens, poll, path)
    assert row.next_poll_at is None
    poll()
    row.refresh_from_db()
    assert row.state != truth
    assert not Discrepancy.objects.exists()


@pytest.mark.parametrize(("make", "happens", "poll", "path", "truth"), STORIES[:2])
def test_a_query_answered_with_an_earlier_part_of_the_story_settles_nothing(
    wxpay_sandbox, make, happens, poll, path, truth
):
    """One of WeChat Pay's machines lags behind: it does not know yet how it ended, whatever the end."""
    row = contradicted_during_a_query(wxpay_sandbox, make, happens, poll, path)
    earlier = {"trade_state": "USERPAYING"} if isinstance(row, Order) else {"status": "PROCESSING"}
    wxpay_sandbox.fault("altered", path, method="GET", answer=earlier)
    poll()
    row.refresh_from_db()
    assert row.next_poll_at is not None
    type(row).objects.filter(pk=row.pk).update(next_poll_at=timezone.now())
    poll()
    row.refresh_from_db()
    assert (row.state, row.next_poll_at, row.recheck_after) == (truth, None, None)
    assert Discrepancy.objects.get().kind == "OVERRULED"


def test_an_end_that_a_message_brought_is_not_borne_out_by_an_earlier_part_of_the_story(wxpay_sandbox):
    contract = wxpay_sandbox.terminate(wxpay_sandbox.signed_contract())
    Contract.objects.update(next_poll_at=timezone.now())
    wxpay_sandbox.fault("altered", CONTRACT_QUERY, method="GET", answer={"state": "SIGNED"})
    contracts.poll()
    contract.refresh_from_db()
    assert (contract.state, contract.next_poll_at is None) == ("TERMINATED", False)
    Contract.objects.update(next_poll_at=timezone.now())
    contracts.poll()
    contract.refresh_from_db()
    assert (contract.state, contract.next_poll_at) == ("TERMINATED", None)


@pytest.mark.parametrize(("make", "happens", "poll", "path", "truth"), STORIES)
def test_a_query_that_fails_while_the_message_comes_does_not_put_its_answer_off(
    wxpay_sandbox, make, happens, poll, path, truth
):
    wxpay_sandbox.fault("closed_connection", path, method="GET")
    row = make(wxpay_sandbox)
    type(row).objects.filter(pk=row.pk).update(next_poll_at=timezone.now())
    happened = []

    def once():
        if not happened:
            happened.append(True)
            happens(wxpay_sandbox, row)

    wxpay_sandbox.meanwhile(once, path, method="GET", before=True)
    poll()
    row.refresh_from_db()
    assert row.next_poll_at <= timezone.now()
    poll()
    row.refresh_from_db()
    assert row.state == truth


def test_a_refund_of_a_dead_order_is_asked_about_though_an_older_query_says_closed(wxpay_sandbox):
    paid = wxpay_sandbox.paid_order()
    refund = wxpay_sandbox.refund(paid, 500)
    Order.objects.filter(pk=paid.pk).update(state="CLOSED", state_at=timezone.now(), next_poll_at=timezone.now())
    wxpay_sandbox.wechat.store.update("orders", "out_trade_no", paid.out_trade_no, trade_state="CLOSED")

    def comes_true():
        wxpay_sandbox.wechat.store.update("orders", "out_trade_no", paid.out_trade_no, trade_state="REFUND")
        wxpay_sandbox.wechat.refunds.finish(refund.out_refund_no, "SUCCESS")
        wxpay_sandbox.deliver()

    wxpay_sandbox.meanwhile(comes_true, ORDER_QUERY, method="GET")
    orders.poll()
    orders.poll()
    paid.refresh_from_db()
    assert paid.state == "REFUND"


def test_what_staff_want_asked_is_asked_after_they_wanted_it(wxpay_sandbox):
    order = closed_order(wxpay_sandbox)
    Order.objects.filter(pk=order.pk).update(next_poll_at=timezone.now())
    wxpay_sandbox.meanwhile(lambda: polling.plan_query(order), ORDER_QUERY, method="GET")
    orders.poll()
    order.refresh_from_db()
    assert order.next_poll_at <= timezone.now()
    orders.poll()
    order.refresh_from_db()
    assert (order.next_poll_at, order.recheck_after) == (None, None)


def test_a_refusal_that_may_still_be_under_way_is_confirmed_only_once_it_no_longer_can_be(wxpay_sandbox):
    order = make_order(state="REFUSED")
    until = timezone.now() + timedelta(seconds=40)
    polling.recheck(order, until)
    begun_at = timezone.now()
    for moment, settled in ((begun_at, False), (until + timedelta(seconds=1), True)):
        polling.not_there(order, moment)
        order.refresh_from_db()
        assert (order.next_poll_at is None) == settled
    assert order.recheck_after is None


def test_a_genuine_payment_is_found_though_a_query_in_between_does_not_fit(wxpay_sandbox):
    order = closed_order(wxpay_sandbox)
    is_paid_after_all(wxpay_sandbox, order)
    wxpay_sandbox.fault("altered", ORDER_QUERY, method="GET", answer={"out_trade_no": "another"})
    orders.poll()
    order.refresh_from_db()
    assert order.state == "CLOSED"
    assert order.next_poll_at is not None  # nobody knows yet
    Order.objects.update(next_poll_at=timezone.now())
    orders.poll()
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert not Operation.objects.open().exists()


# While the doubt stands, no money moves on what it is about


def doubted_order(sandbox):
    order = closed_order(sandbox)
    is_paid_after_all(sandbox, order)
    order.refresh_from_db()
    assert (order.state, order.contradicted_at is None) == ("CLOSED", False)
    return order


def test_an_order_in_doubt_is_not_charged_again(wxpay_sandbox):
    order = doubted_order(wxpay_sandbox)
    with pytest.raises(OrderNotDead, match="has said otherwise since"):
        orders.plan_retry(order)
    with pytest.raises(OrderPaid):  # it asks first, and finds it paid
        orders.retry_deduction(order)
    assert Order.objects.count() == 1


def test_opposite_without_the_mark_an_order_in_doubt_would_be_charged_twice(wxpay_sandbox):
    order = doubted_order(wxpay_sandbox)
    Order.objects.update(contradicted_at=None)
    order.refresh_from_db()
    orders.retry_deduction(order)
    orders.sync(order)
    assert not Order.objects.filter(state="CLOSED").exists()
    assert Order.objects.count() == 2


def test_a_refund_in_doubt_is_not_made_again_under_another_reference(wxpay_sandbox):
    refund = closed_refund(wxpay_sandbox)
    is_refunded_after_all(wxpay_sandbox, refund)
    with pytest.raises(OperationPending, match="has said otherwise since"):
        refunds.plan_refund(refund.order, amount=100, reference="once more")
    assert Refund.objects.count() == 1
    refunds.sync(refund)
    with pytest.raises(RefundTooLarge):
        refunds.plan_refund(refund.order, amount=100, reference="once more")


@pytest.mark.parametrize("state", ["CLOSED", "REFUSED"])
def test_a_machine_that_lags_and_knows_nothing_ends_no_doubt(wxpay_sandbox, state):
    order = doubted_order(wxpay_sandbox)
    Order.objects.filter(pk=order.pk).update(state=state)
    wxpay_sandbox.fault("refuse", ORDER_QUERY, status=404, code="ORDER_NOT_EXIST")
    orders.sync(order)
    order.refresh_from_db()
    assert (order.state, order.contradicted_at is None, order.next_poll_at is None) == (state, False, False)
    orders.sync(order)
    order.refresh_from_db()
    assert (order.state, order.contradicted_at) == ("SUCCESS", None)
    assert Discrepancy.objects.filter(kind="OVERRULED").count() == 1


def test_a_refusal_in_doubt_is_not_borne_out_by_a_machine_that_lags(wxpay_sandbox):
    order = doubted_order(wxpay_sandbox)
    Order.objects.filter(pk=order.pk).update(state="REFUSED")
    wxpay_sandbox.fault("altered", ORDER_QUERY, answer={"trade_state": "NOTPAY"})
    orders.sync(order)
    order.refresh_from_db()
    assert (order.state, order.contradicted_at is None) == ("REFUSED", False)


def test_a_later_query_that_bears_the_end_out_settles_the_doubt(wxpay_sandbox):
    order = closed_order(wxpay_sandbox)
    payload = wxpay_sandbox.payload_of(order) | {"trade_state": "SUCCESS"}
    wxpay_sandbox.notify("TRANSACTION.SUCCESS", payload)
    order.refresh_from_db()
    assert order.contradicted_at is not None
    orders.sync(order)
    order.refresh_from_db()
    assert (order.state, order.contradicted_at) == ("CLOSED", None)


def test_an_order_that_is_open_again_is_closed_in_its_time(wxpay_sandbox):
    order = closed_order(wxpay_sandbox)
    Order.objects.filter(pk=order.pk).update(state="REFUSED", state_at=timezone.now() - timedelta(days=1))
    wxpay_sandbox.fault("altered", ORDER_QUERY, answer={"trade_state": "USERPAYING"})
    orders.sync(order)
    order.refresh_from_db()
    assert (order.state, order.close_after is None) == ("USERPAYING", False)
