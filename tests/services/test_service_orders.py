"""Service orders, from the start of a lesson to its payment, through the sandbox in both modes."""

import pytest

from django_wxpay.models import Order, ServiceOrder, SignPlan
from django_wxpay.services import service_orders, sign_plans

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["mainland", "mainland_partner"])
def plan(wxpay_sandbox, request):
    return wxpay_sandbox.plan(merchant=request.param)


def test_a_course_of_three_lessons_goes_from_its_signature_to_its_end(wxpay_sandbox, plan):
    signed = wxpay_sandbox.signed_plan(plan)
    assert signed.state == SignPlan.State.SIGNED
    first = wxpay_sandbox.started(signed)
    assert (first.state, first.state_description) == ("DOING", "USER_CONFIRM")
    first = wxpay_sandbox._after(service_orders.complete(first))
    first = service_orders.sync(first)
    assert first.is_paid, (first.state, first.state_description, first.collection_state)
    [payment] = first.orders.all()
    assert (payment.state, payment.amount_total, payment.currency) == ("SUCCESS", 10000, "CNY")
