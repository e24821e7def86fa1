"""What queries bring no further: asked about daily, or, a doubt about an end, told to a person and no more."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.engine import polling
from django_wxpay.models import Discrepancy, Order
from django_wxpay.services import orders, refunds
from django_wxpay.testing import make_contract, make_order

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=90)
ORDER_QUERY = "/v3/global/papay/transactions/out-trade-no"
STAYS_PROCESSING = 7_770_004


def is_due(row, age=LONG_AGO, **values):
    """As if the row had come into its state so long ago."""
    past = timezone.now() - age
    aged = {"created_at": past, "state_at": past, "next_poll_at": timezone.now()} | values
    type(row).objects.filter(pk=row.pk).update(**aged)
    row.refresh_from_db()
    return row


def reported():
    return list(Discrepancy.objects.values_list("kind", "about", "ours"))


def seconds_until(row):
    row.refresh_from_db()
    return row.next_poll_at and (row.next_poll_at - timezone.now()).total_seconds()


@pytest.fixture
def processing(wxpay_sandbox):
    refund = wxpay_sandbox.refund(wxpay_sandbox.paid_order(amount=STAYS_PROCESSING), STAYS_PROCESSING)
    assert refund.state == "PROCESSING"
    return refund


@pytest.mark.parametrize("fault", [None, {"answer": {"out_refund_no": "another"}}, {}], ids=["open", "misfit", "500"])
def test_a_row_that_stays_open_for_longer_than_its_patience_is_asked_about_daily(wxpay_sandbox, processing, fault):
    if fault is not None:
        wxpay_sandbox.fault("altered" if fault else "error_500", "/v3/global/refunds/out-refund-no", times=-1, **fault)
    is_due(processing)
    assert refunds.poll() == 1
    assert 23 * 3600 < seconds_until(processing) <= 24 * 3600


def test_a_row_of_a_few_days_keeps_its_usual_rhythm(processing):
    is_due(processing, timedelta(days=6))
    refunds.poll()
    assert seconds_until(processing) <= 6 * 3600


def test_an_end_that_no_query_can_confirm_is_a_persons_in_the_end_and_asked_about_no_more(wxpay_sandbox):
    order = is_due(make_order(state="REFUSED"), recheck_after=timezone.now() - LONG_AGO)
    wxpay_sandbox.fault("refuse", ORDER_QUERY, status=404, code="ORDER_NOT_EXIST", signed=False, times=-1)
    orders.poll()
    assert seconds_until(order) is None
    assert reported() == [("STUCK", "order", "REFUSED, in doubt")]
    assert order.recheck_after is not None  # in doubt it is

    wxpay_sandbox.wechat.faults.remove()
    polling.plan_query(order)
    assert orders.poll() == 1
    order.refresh_from_db()
    assert (order.recheck_after, order.next_poll_at) == (None, None)


def test_an_end_that_cannot_be_confirmed_is_asked_about_some_dozen_times(wxpay_sandbox):
    order = make_order(state="REFUSED", recheck_after=timezone.now(), next_poll_at=timezone.now())
    wxpay_sandbox.fault("error_500", ORDER_QUERY, times=-1)
    tries = 0
    while order.next_poll_at is not None:
        assert orders.poll() == 1
        tries += 1
        gone = (seconds_until(order) or 0) + 1
        for name in ("recheck_after", "next_poll_at"):
            if moment := getattr(order, name):
                Order.objects.filter(pk=order.pk).update(**{name: moment - timedelta(seconds=gone)})
        order.refresh_from_db()
    assert 20 < tries < 60
    assert reported() == [("STUCK", "order", "REFUSED, in doubt")]


def test_a_row_that_has_just_moved_is_not_overdue_though_it_is_old(wxpay_sandbox):
    contract = is_due(make_contract(state="PENDING"))
    assert polling.is_overdue(contract)
    is_due(contract, timedelta(seconds=1), created_at=timezone.now() - LONG_AGO)
    assert not polling.is_overdue(contract)
