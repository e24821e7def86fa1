"""Back, and confirm again: a page that is made anew for something that was done, or may have been."""

import pytest
from django.contrib.admin.models import LogEntry

from django_wxpay.models import Operation, Order
from django_wxpay.sandbox.special import COLLECTION_AMOUNTS, PAYMENT_AMOUNTS
from django_wxpay.services import orders, payscore, service_orders

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.scenario("S62")]
CONTRACTS, DEDUCT = "/v3/global/papay/contracts", "/v3/global/papay/transactions"


def posts(wxpay_sandbox):
    return [path for method, path in wxpay_sandbox.calls if method == "POST"]


def unpaid(wxpay_sandbox):
    """A deduction that WeChat Pay knows and that is not paid: special amount number 6."""
    contract = wxpay_sandbox.signed_contract()
    return orders.deduct(contract, amount=PAYMENT_AMOUNTS + 6, currency="HKD", description="March", reference="m-1")


def collecting(wxpay_sandbox):
    """A completed service that nobody pays: special amount number 3."""
    details = [payscore.Detail("Lesson", COLLECTION_AMOUNTS + 2, COLLECTION_AMOUNTS + 2)]
    started = wxpay_sandbox.started(wxpay_sandbox.signed_plan(wxpay_sandbox.plan(details=details)))
    return service_orders.complete(started)


REASON = {"reason": "a mistake"}
BILL = {"payments": "Lesson 80", "discounts": ""}
NAMING_AMOUNTS = ["serviceorder_complete", "serviceorder_modify"]
CASES = {
    "contract_terminate": lambda sandbox: (sandbox.signed_contract(), CONTRACTS, {}),
    "order_close": lambda sandbox: (unpaid(sandbox), "*/reverse", {}),
    "payscoreplan_stop": lambda sandbox: (sandbox.plan(), "*/stop", {}),
    "signplan_start": lambda sandbox: (sandbox.signed_plan(), "*/serviceorder", {}),
    "signplan_cancel": lambda sandbox: (sandbox.signed_plan(), "*/stop", REASON),
    "serviceorder_complete": lambda sandbox: (sandbox.started(), "*/complete", BILL),
    "serviceorder_modify": lambda sandbox: (collecting(sandbox), "*/modify", BILL | REASON),
    "serviceorder_report_paid": lambda sandbox: (collecting(sandbox), "*/sync", {"paid_time": "2026-01-02T03:04"}),
    "serviceorder_cancel": lambda sandbox: (sandbox.started(), "*/cancel", REASON),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fault", ["", "lost_answer", "closed_connection", "error_429"])
def test_what_was_done_or_may_have_been_is_not_asked_for_again(wxpay_sandbox, boss, name, fault):
    row, path, values = CASES[name](wxpay_sandbox)
    if fault:
        wxpay_sandbox.fault(fault, path, method="POST")
    boss.confirm(name, row.pk, **values)
    before, asked = posts(wxpay_sandbox), Operation.objects.count()
    if boss.get(name, row.pk).token:
        page = boss.confirm(name, row.pk, **values)
        assert "Nothing was sent" in page.text or "it must be less than" in page.text
    assert (posts(wxpay_sandbox), Operation.objects.count()) == (before, asked)


@pytest.mark.parametrize("name", CASES)
def test_a_form_sent_twice_asks_once_and_shows_what_the_first_one_did(wxpay_sandbox, boss, name):
    row, _, values = CASES[name](wxpay_sandbox)
    page = boss.fill(name, row.pk, **values) if name in NAMING_AMOUNTS else boss.get(name, row.pk)
    boss.post(name, row.pk, token=page.token, **values)
    before, logged = posts(wxpay_sandbox), LogEntry.objects.count()
    again = boss.post(name, row.pk, token=page.token, **values)
    assert "This was asked for before; nothing more was asked now." in again.text
    assert (posts(wxpay_sandbox), LogEntry.objects.count()) == (before, logged)


@pytest.mark.parametrize("name", NAMING_AMOUNTS)
def test_of_two_tabs_the_second_asks_for_nothing(wxpay_sandbox, boss, name):
    row, _, values = CASES[name](wxpay_sandbox)
    one, other = (boss.fill(name, row.pk, **values) for _ in range(2))
    boss.post(name, row.pk, token=one.token, **values)
    before = posts(wxpay_sandbox)
    boss.post(name, row.pk, token=other.token, **values)
    assert posts(wxpay_sandbox) == before


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
