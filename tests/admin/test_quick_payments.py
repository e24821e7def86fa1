"""Quick payments among the orders: what staff may do about them."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from django_wxpay.engine import operations
from django_wxpay.models import Operation, Order, Refund, Transition
from django_wxpay.sandbox.special import CODE_PREFIX
from django_wxpay.services import orders
from django_wxpay.testing import make_order

pytestmark = pytest.mark.django_db(transaction=True)
CODE = "130000000000000001"
PAID_LATER, PAYING_FOR_EVER, CHARGED_CUT = (f"{CODE_PREFIX}{number:04d}" for number in (10, 11, 22))
PAID_WHEN_REVERSED = f"{CODE_PREFIX}0043"


@pytest.fixture
def agent(staff):
    return staff("view_order", "query_order", "close_order", "retry_order", "refund_order", "view_refund")


@pytest.fixture
def clock():
    """Both clocks, ours and WeChat Pay's, standing still until a test moves them."""
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


def scan(code):
    return orders.pay_by_code(
        auth_code=code, amount=3800, currency="HKD", description="Coffee", reference=f"till-3/{code[-4:]}"
    )


def theirs(wxpay_sandbox, order):
    return wxpay_sandbox.wechat.orders.get(order.out_trade_no)["trade_state"]


@pytest.mark.scenario("S52")
@pytest.mark.parametrize("code", [CODE, PAYING_FOR_EVER, CHARGED_CUT])
def test_the_pages_tell_the_story_without_the_payment_code(wxpay_sandbox, boss, code):
    order = scan(code)
    pages = [boss.get("order_change", order.pk), boss.get("order_changelist", product__exact="MICROPAY")]
    pages += [boss.get("operation_change", one.pk) for one in Operation.objects.all()]
    pages += [boss.get("transition_change", one.pk) for one in Transition.objects.all()]
    assert "Coffee" in pages[0].text and "Amount HK$38.00" in pages[0].text
    assert boss.url("order_change", order.pk) in pages[1].html
    assert [page for page in pages if code in page.html or page.status_code != 200] == []


def test_deductions_and_quick_payments_are_told_apart_by_a_filter(wxpay_sandbox, agent):
    quick, deduction = scan(CODE), make_order()
    page = agent.get("order_changelist", product__exact="MICROPAY")
    assert agent.url("order_change", quick.pk) in page.html
    assert agent.url("order_change", deduction.pk) not in page.html


def test_a_query_finds_what_the_payer_did(wxpay_sandbox, clock, agent):
    order = scan(PAID_LATER)
    clock.shift(timedelta(seconds=10))
    page = agent.confirm("order_query", order.pk)
    assert "WeChat Pay was asked. It is: paid." in page.text
    order.refresh_from_db()
    assert order.state == "SUCCESS"


def test_a_quick_payment_is_refunded_in_part(wxpay_sandbox, agent):
    order = scan(CODE)
    page = agent.confirm("order_refund", order.pk, amount="8.00", reason="spilt")
    assert "Refund of HK$8.00: WeChat Pay accepted it" in page.text
    wxpay_sandbox.advance(10)
    assert (Refund.objects.get().state, theirs(wxpay_sandbox, order)) == ("SUCCESS", "REFUND")


def test_a_payer_who_never_decides_is_reversed_and_the_order_ends_revoked(wxpay_sandbox, clock, agent):
    order = scan(PAYING_FOR_EVER)
    clock.shift(timedelta(seconds=60))
    asked = agent.get("order_close", order.pk)
    assert "Should the payer have paid already, the money goes back to the payer." in asked.text
    page = agent.post("order_close", order.pk, token=asked.token)
    assert "The order is closed: it will not be paid." in page.text
    order.refresh_from_db()
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")
    again = agent.post("order_close", order.pk, token=asked.token)
    assert "nothing more was asked" in again.text
    assert Operation.objects.filter(action="REVERSE").count() == 1


def test_closing_too_early_is_written_down_and_done_later(wxpay_sandbox, clock, agent):
    order = scan(PAYING_FOR_EVER)
    clock.shift(timedelta(seconds=5))
    page = agent.confirm("order_close", order.pk)
    assert "surely nothing has happened so far. It is written down and will be sent again by itself" in page.text
    clock.shift(timedelta(minutes=5))
    operations.send_due()
    order.refresh_from_db()
    assert (order.state, theirs(wxpay_sandbox, order)) == ("REVOKED", "REVOKED")


def test_a_payment_whose_request_may_be_under_way_is_not_closed_yet(wxpay_sandbox, clock, agent):
    order = scan(CHARGED_CUT)
    clock.shift(timedelta(seconds=2))
    page = agent.confirm("order_close", order.pk)
    assert "Nothing was sent. Try again when its outcome is known." in page.text
    assert not Operation.objects.filter(action="REVERSE").exists()


@pytest.mark.scenario("S33")
def test_an_unclear_reversal_says_so_and_is_found_out(wxpay_sandbox, clock, agent):
    order = scan(PAID_WHEN_REVERSED)
    clock.shift(timedelta(seconds=60))
    page = agent.confirm("order_close", order.pk)
    assert "The outcome is unknown" in page.text
    for _ in range(12):
        clock.shift(timedelta(seconds=5))
        orders.poll()
    order.refresh_from_db()
    assert order.is_final
    assert order.state == theirs(wxpay_sandbox, order)


@pytest.mark.parametrize(("state", "words"), [("SUCCESS", "refunded, never closed"), ("REVOKED", "nothing to close")])
def test_a_final_payment_is_not_closed(wxpay_sandbox, agent, state, words):
    order = scan(CODE)
    Order.objects.filter(pk=order.pk).update(state=state)
    assert words in agent.get("order_close", order.pk).text
    assert agent.url("order_close", order.pk) not in agent.get("order_change", order.pk).links


def test_a_scan_is_never_repeated_from_the_admin(wxpay_sandbox, agent):
    order = scan(f"{CODE_PREFIX}0001")
    assert order.state == "REFUSED"
    assert "Only deductions from a contract can be tried again." in agent.get("order_retry", order.pk).text
    assert agent.url("order_retry", order.pk) not in agent.get("order_change", order.pk).links
