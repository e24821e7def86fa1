from __future__ import annotations

from django_wxpay.services import contracts, operations, orders
from django_wxpay.testing import WxpaySandbox, make_contract, make_order, make_refund


def test_a_member_signs_and_is_charged(wxpay_sandbox: WxpaySandbox) -> None:
    contract = wxpay_sandbox.sign(contracts.sign(plan_id=12345, user_display_name="Li M."))
    order = orders.plan_deduction(contract, amount=3800, currency="HKD", description="March", reference="m-1")
    operations.send_due()
    wxpay_sandbox.deliver()
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    assert wxpay_sandbox.refund(order, 1000).amount == 1000
    assert ("POST", "/v3/global/refunds") in wxpay_sandbox.calls


def test_what_remains_refundable(wxpay_sandbox: WxpaySandbox) -> None:
    order = make_order(amount_total=3800, contract=make_contract(state="TERMINATED"))
    make_refund(order=order, amount=1000)
    assert order.refundable_amount == 2800
