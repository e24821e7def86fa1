"""For a shop's own tests: the sandbox as a pytest fixture, and factories of rows.

In the shop's `conftest.py`:

    pytest_plugins = ["django_wxpay.testing"]

Then a test takes `wxpay_sandbox` and has the real emulator behind the real client, in process:

    def test_a_new_member_is_charged(wxpay_sandbox, db):
        contract = wxpay_sandbox.signed_contract()
        order = orders.deduct(contract, amount=1000, currency="HKD", description="March", reference="m-1")
        assert order.state == "SUCCESS"
"""

from .factories import (
    make_contract,
    make_order,
    make_payee,
    make_payscore_plan,
    make_refund,
    make_service_order,
    make_sign_plan,
)
from .plugin import wxpay_sandbox
from .sandbox import WxpaySandbox, running_sandbox

__all__ = [
    "WxpaySandbox",
    "make_contract",
    "make_order",
    "make_payee",
    "make_payscore_plan",
    "make_refund",
    "make_service_order",
    "make_sign_plan",
    "running_sandbox",
    "wxpay_sandbox",
]
