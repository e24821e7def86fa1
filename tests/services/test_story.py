"""The whole story of a contract, against the emulator, in both modes."""

import pytest

from django_wxpay.models import Notification, Transition
from django_wxpay.services import contracts, orders, refunds

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_contract_is_signed_charged_refunded_and_terminated(wxpay_sandbox, merchant):
    contract = contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.", merchant=merchant)
    assert contract.state == "PENDING"
    assert contract.launch_params()["path"].endswith(contract.session_id)

    contract = wxpay_sandbox.sign(contract)
    assert (contract.state, contract.openid) == ("SIGNED", "o-one")
    assert contract.contract_id and contract.signed_time
    assert contract.launch_params() is None

    order = orders.deduct(contract, amount=3800, currency="HKD", description="March", reference="march")
    assert (order.state, order.amount_total, order.refundable_amount) == ("SUCCESS", 3800, 3800)
    assert order.transaction_id and order.success_time

    refund = refunds.create(order, amount=1000, reference="return", reason="sorry")
    assert (refund.state, refund.amount) == ("PROCESSING", 1000)
    wxpay_sandbox.advance(10)
    refund.refresh_from_db()
    order.refresh_from_db()
    assert (refund.state, order.state, order.refundable_amount) == ("SUCCESS", "REFUND", 2800)

    contract = contracts.terminate(contract, note="bye")
    assert contract.state == "TERMINATED"
    wxpay_sandbox.deliver()
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}
    assert Notification.objects.count() == 4
    transitions = [(t.subject, t.to_state, t.source) for t in Transition.objects.order_by("pk")]
    assert transitions == [
        ("contract", "SIGNED", "NOTIFICATION"),
        ("order", "SUCCESS", "ANSWER"),
        ("refund", "PROCESSING", "ANSWER"),
        ("refund", "SUCCESS", "NOTIFICATION"),
        ("order", "REFUND", "NOTIFICATION"),
        ("contract", "TERMINATED", "ANSWER"),
    ]
