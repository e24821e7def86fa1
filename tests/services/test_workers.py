"""A row that breaks its worker holds up no other."""

import pytest
from django.utils import timezone

from django_wxpay.engine import operations
from django_wxpay.models import Operation, Order
from django_wxpay.services import orders
from django_wxpay.testing import make_contract, make_order

pytestmark = pytest.mark.django_db


def plan(contract, reference):
    asked = {"amount": 3800, "currency": "HKD", "description": "March", "reference": reference}
    return orders.plan_deduction(contract, **asked)


@pytest.fixture
def orphan(wxpay_sandbox):
    """A planned deduction of a merchant that left the settings."""
    order = plan(make_contract(), "orphan")
    type(order).objects.filter(pk=order.pk).update(merchant="gone")
    Operation.objects.of(order).update(merchant="gone")
    return order


def test_an_operation_of_a_merchant_that_left_gives_way_to_the_others(wxpay_sandbox, orphan):
    order = plan(wxpay_sandbox.signed_contract(), "other")
    assert operations.send_due(limit=1) == 1
    assert operations.send_due(limit=1) == 1
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert Operation.objects.of(orphan).get().state == "PLANNED"


def test_a_late_order_of_a_merchant_that_left_does_not_keep_others_from_being_reversed(wxpay_sandbox, orphan, settings):
    settings.WXPAY = {**settings.WXPAY, "ORDER_EXPIRES_SECONDS": 0}
    Operation.objects.of(orphan).update(state="UNKNOWN", busy_until="2026-01-01T00:00:00Z")
    order = plan(wxpay_sandbox.signed_contract(), "late")
    assert orders.close_expired() == 1
    assert Operation.objects.of(order).filter(action="REVERSE").exists()


def test_late_orders_that_cannot_be_asked_for_do_not_block_the_others_for_ever(wxpay_sandbox, settings):
    settings.WXPAY = {**settings.WXPAY, "ORDER_EXPIRES_SECONDS": 0}
    blocking = [make_order(state="CREATED") for _ in range(3)]
    Order.objects.update(merchant="left")
    order = plan(wxpay_sandbox.signed_contract(), "late")
    Order.objects.filter(pk=order.pk).update(close_after=timezone.now())
    rounds = [orders.close_expired(limit=3) for _ in range(2)]
    assert rounds == [0, 1]
    assert Order.objects.filter(pk__in=[one.pk for one in blocking], close_after__gt=timezone.now()).count() == 3


def test_an_order_that_is_final_is_no_longer_looked_at(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    assert order.state == "SUCCESS" and order.close_after is None


def test_orders_whose_reversal_is_asked_for_already_do_not_take_the_turn_of_others(wxpay_sandbox, settings):
    settings.WXPAY = {**settings.WXPAY, "ORDER_EXPIRES_SECONDS": 0}
    contract = wxpay_sandbox.signed_contract()
    late = [plan(contract, str(number)) for number in range(3)]
    assert [orders.close_expired(limit=1) for _ in late] == [1, 1, 1]
    assert Operation.objects.filter(action="REVERSE").count() == 3
