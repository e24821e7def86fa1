"""Combined orders in the admin: closed, queried, refunded part by part."""

import pytest

from django_wxpay.models import CombineOrder, Refund
from django_wxpay.services import combine_orders

pytestmark = pytest.mark.django_db(transaction=True)
MAY = ("view_combineorder", "close_combineorder", "query_combineorder", "view_order", "refund_order", "close_order")


@pytest.fixture
def agent(staff):
    return staff(*MAY, "view_payeeauthorization")


@pytest.fixture
def placed(wxpay_sandbox):
    return wxpay_sandbox.combined(120_000, 800)


def test_an_unpaid_one_is_shown_with_its_parts_and_closed(wxpay_sandbox, placed, agent):
    page = agent.get("combineorder_change", placed.pk)
    assert "CN¥1,208.00" in page.text and "CN¥1,200.00" in page.text and "CN¥8.00" in page.text
    for order in placed.orders.all():
        assert f"/order/{order.pk}/change/" in page.html and f"/payeeauthorization/{order.payee_id}/" in page.html
    assert placed.prepay_id not in page.html
    asked = agent.get("combineorder_close", placed.pk)
    assert "none of its payees will be paid" in asked.text
    done = agent.post("combineorder_close", placed.pk, token=asked.token)
    assert "It is closed" in done.text
    placed.refresh_from_db()
    assert placed.state == "CLOSED"
    assert "there is nothing to close" in agent.get("combineorder_close", placed.pk).text


def test_one_that_turned_out_to_be_paid_is_not_closed_and_its_part_is_refunded(wxpay_sandbox, placed, agent):
    asked = agent.get("combineorder_close", placed.pk)
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.combine_orders.pays(placed.number)
    done = agent.post("combineorder_close", placed.pk, token=asked.token)
    assert "It turned out to be paid" in done.text
    part = placed.orders.order_by("pk").first()
    assert "part of a combined order" not in agent.get("order_close", part.pk).text
    page = agent.confirm("order_refund", part.pk, amount="200.00")
    assert Refund.objects.get().amount == 20_000, page.text


def test_a_part_is_not_closed_by_itself(wxpay_sandbox, placed, agent):
    assert "It is part of a combined order" in agent.get("order_close", placed.orders.first().pk).text


def test_a_query_tells_how_it_stands(wxpay_sandbox, placed, agent):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.combine_orders.pays(placed.number)
    assert "It is: paid." in agent.confirm("combineorder_query", placed.pk).text
    payee = placed.orders.order_by("pk").first().payee
    assert "CN¥1,200.00" in agent.get("payeeauthorization_change", payee.pk).text


def test_a_list_of_them_is_queried_soon_and_one_is_found_by_its_numbers(wxpay_sandbox, placed, agent):
    other = combine_orders.sync(wxpay_sandbox.pay_combined(wxpay_sandbox.combined(100)))
    page = agent.choose("combineorder", "query_selected", [placed, other])
    agent.post("combineorder_query_selected", token=page.token)
    assert CombineOrder.objects.due().count() == 2
    for value in (other.number, other.combine_transaction_id, other.reference):
        listed = agent.get("combineorder_changelist", q=value).html
        assert f"/combineorder/{other.pk}/" in listed and f"/combineorder/{placed.pk}/" not in listed
