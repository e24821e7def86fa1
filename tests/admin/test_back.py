"""Back, and confirm again: a page that is made anew for something that was done, or may have been."""

import pytest

from django_wxpay.models import Operation, Order
from django_wxpay.sandbox.special import PAYMENT_AMOUNTS
from django_wxpay.services import orders

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.scenario("S62")]
CONTRACTS, DEDUCT = "/v3/global/papay/contracts", "/v3/global/papay/transactions"


def posts(wxpay_sandbox):
    return [path for method, path in wxpay_sandbox.calls if method == "POST"]


def unpaid(wxpay_sandbox):
    """A deduction that WeChat Pay knows and that is not paid: special amount number 6."""
    contract = wxpay_sandbox.signed_contract()
    return orders.deduct(contract, amount=PAYMENT_AMOUNTS + 6, currency="HKD", description="March", reference="m-1")


CASES = {
    "contract_terminate": lambda sandbox: (sandbox.signed_contract(), CONTRACTS),
    "order_close": lambda sandbox: (unpaid(sandbox), "*/reverse"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fault", ["", "lost_answer", "closed_connection", "error_429"])
def test_what_was_done_or_may_have_been_is_not_asked_for_again(wxpay_sandbox, boss, name, fault):
    row, path = CASES[name](wxpay_sandbox)
    if fault:
        wxpay_sandbox.fault(fault, path, method="POST")
    boss.confirm(name, row.pk)
    before, asked = posts(wxpay_sandbox), Operation.objects.count()
    page = boss.get(name, row.pk)
    if page.token:
        assert "Nothing was sent" in boss.post(name, row.pk, token=page.token).text
    assert (posts(wxpay_sandbox), Operation.objects.count()) == (before, asked)


@pytest.mark.parametrize("fault", ["", "lost_answer", "error_429"])
def test_a_charge_that_was_tried_again_is_not_tried_again_once_more(wxpay_sandbox, boss, fault):
    order = unpaid(wxpay_sandbox)
    orders.reverse(order)
    if fault:
        wxpay_sandbox.fault(fault, DEDUCT, method="POST")
    boss.confirm("order_retry", order.pk)
    page = boss.get("order_retry", order.pk)
    assert "It was tried again already" in page.text and not page.token
    assert Order.objects.count() == 2
