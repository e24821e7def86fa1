"""The verbs that `django_wxpay.testing` offers a shop's tests, beyond those that the documents show."""

import pytest

from django_wxpay.models import Notification
from django_wxpay.services import orders

QUERY = "/v3/global/papay/transactions"

pytestmark = pytest.mark.django_db


def test_a_notification_of_ones_own_reaches_the_shop_as_often_as_told(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    answer = wxpay_sandbox.notify("TRANSACTION.SUCCESS", wxpay_sandbox.payload_of(order), times=3)
    assert answer["status"] == 200 and answer["acknowledged"]
    assert Notification.objects.order_by("-pk").first().attempts == 3


def test_a_message_about_each_kind_of_row_is_one_that_fits(wxpay_sandbox):
    order = wxpay_sandbox.paid_order()
    refund = wxpay_sandbox.refund(order, 1000)
    for event_type, row in (("PAPAY.SIGN", order.contract), ("REFUND.SUCCESS", refund)):
        content = wxpay_sandbox.payload_of(row)
        wxpay_sandbox.advance(10)
        assert wxpay_sandbox.notify(event_type, content)["acknowledged"]
    assert not Notification.objects.exclude(state="PROCESSED").exists()


def test_an_institutions_notification_is_signed_for_it(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract(merchant="institution")
    answer = wxpay_sandbox.notify("PAPAY.SIGN", wxpay_sandbox.payload_of(contract), merchant="institution")
    assert answer["acknowledged"]


def test_a_query_begun_before_a_payment_is_answered_after_it(wxpay_sandbox):
    order = orders.deduct(
        wxpay_sandbox.signed_contract(), amount=6660011, currency="HKD", description="March plan", reference="m-1"
    )
    seen = []

    def payment():
        wxpay_sandbox.wechat.orders.user_pays(order.out_trade_no)
        wxpay_sandbox.deliver()
        order.refresh_from_db()
        seen.append(order.state)

    wxpay_sandbox.meanwhile(payment, QUERY, method="GET")
    orders.sync(order)
    order.refresh_from_db()
    assert (seen, order.state) == (["SUCCESS"], "SUCCESS")
