"""The customers' endpoints for combined orders: prices and payees come from the shop, payment parameters are fresh."""

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from django_wxpay.checkout import Checkout, CombineOffer
from django_wxpay.models import CombineOrder, PayeeAuthorization
from django_wxpay.services import combine_orders
from tests.api.test_sign_plans import member_named

URL = "/wxpay/combine-orders/"
PLACE = "/v3/combine-transactions/miniprogram"


class Market(Checkout):
    def combine_offer(self, request, key):
        payees = list(PayeeAuthorization.objects.order_by("pk"))
        if not key.startswith("basket"):
            return None
        known = {"openid": f"o-{request.user.username}", "reference": key, "merchant": "mainland"}
        if key == "basket-1":
            parts = [combine_orders.Part(payee, 500, "Book") for payee in payees]
            return CombineOffer(parts=parts, **known)
        return known | {"parts": [{"payee": payees[0], "amount": 700, "description": "Lamp"}]}


@pytest.fixture
def market(wxpay_sandbox, db, settings):
    cache.clear()  # the throttles' memory
    settings.WXPAY = {**settings.WXPAY, "CHECKOUT": f"{__name__}.Market", "STATUS_QUERY_SECONDS": 0}
    for _ in range(2):
        wxpay_sandbox.payee()
    return wxpay_sandbox


@pytest.fixture
def buyer(market):
    return member_named("mei")


def order_of(buyer, key="basket-1"):
    return buyer.post(URL, {"offer": key}, format="json")


def test_a_basket_is_placed_paid_and_its_status_confirmed_by_the_server(market, buyer):
    placed = order_of(buyer)
    assert placed.status_code == 201
    shown = placed.json()
    assert (shown["state"], shown["amount_total"], shown["currency"]) == ("NOTPAY", 1000, "CNY")
    assert [one["amount_total"] for one in shown["orders"]] == [500, 500]
    assert set(shown["payment"]) == {"timeStamp", "nonceStr", "package", "signType", "paySign"}
    row = CombineOrder.objects.get()
    secrets = [row.openid, *row.orders.values_list("individual_auth_id", flat=True)]
    assert all(secrets) and not [secret for secret in secrets if secret in str(shown)]
    assert row.user == buyer.user

    assert market.wechat.combine_orders.requested(shown["payment"])["combine_out_trade_no"] == row.number
    market.delivers = False
    market.wechat.combine_orders.pays(row.number)
    asked = buyer.get(f"{URL}{row.number}/").json()
    assert (asked["state"], asked["payment"]) == ("SUCCESS", None)
    assert {one["state"] for one in asked["orders"]} == {"SUCCESS"}
    again = order_of(buyer)
    assert (again.status_code, again.json()["payment"], CombineOrder.objects.count()) == (200, None, 1)


def test_the_same_basket_is_the_same_payment_with_fresh_parameters(market, buyer):
    first = order_of(buyer).json()
    second = order_of(buyer).json()
    third = buyer.post(f"{URL}{first['combine_out_trade_no']}/payment/", {}, format="json").json()
    assert first["combine_out_trade_no"] == second["combine_out_trade_no"] == third["combine_out_trade_no"]
    assert len({one["payment"]["nonceStr"] for one in (first, second, third)}) == 3
    assert [path for _, path in market.calls].count(PLACE) == 1


def test_who_gives_up_may_begin_again_under_another_number(market, buyer):
    first = order_of(buyer).json()["combine_out_trade_no"]
    closed = buyer.post(f"{URL}{first}/close/", {}, format="json")
    assert (closed.status_code, closed.json()["state"]) == (200, "CLOSED")
    assert buyer.post(f"{URL}{first}/payment/", {}, format="json").json()["payment"] is None
    again = order_of(buyer)
    assert again.status_code == 201 and again.json()["combine_out_trade_no"] != first


def test_while_he_pays_a_close_is_asked_for_and_paid_it_is_refused(market, buyer):
    number = order_of(buyer).json()["combine_out_trade_no"]
    market.wechat.combine_orders.begins(number)
    assert buyer.post(f"{URL}{number}/close/", {}, format="json").status_code == 202
    market.wechat.combine_orders.pays(number)
    market.deliver()
    assert buyer.post(f"{URL}{number}/close/", {}, format="json").status_code == 409


def test_a_lost_answer_is_a_later_answer(market, buyer, later):
    market.fault("lost_answer", PLACE)
    placed = order_of(buyer)
    assert placed.status_code == 202 and placed.json()["payment"] is None
    later()
    assert order_of(buyer).status_code == 201
    assert CombineOrder.objects.count() == 1


@pytest.mark.parametrize("named", ["amount", "payee", "openid", "parts", "reference"])
def test_the_server_names_everything_but_the_offer(market, buyer, named):
    refused = buyer.post(URL, {"offer": "basket-1", named: "1"}, format="json")
    assert refused.status_code == 400 and refused.json()["field"] == named
    assert not CombineOrder.objects.exists()


def test_an_unknown_offer_is_not_found_and_a_dict_is_an_offer_too(market, buyer):
    assert order_of(buyer, "cart").status_code == 404
    assert order_of(buyer, "basket-2").json()["amount_total"] == 700


def test_a_basket_whose_seller_withdrew_is_refused(market, buyer):
    market.withdraw(PayeeAuthorization.objects.first())
    refused = order_of(buyer)
    assert refused.status_code == 400 and "individual_auth_id" in refused.json()["field"]
    assert [path for _, path in market.calls].count(PLACE) == 0


def test_people_see_and_pay_only_their_own(market, buyer):
    number = order_of(buyer).json()["combine_out_trade_no"]
    bob = member_named("bob")
    assert bob.get(URL).json()["results"] == []
    assert bob.get(f"{URL}{number}/").status_code == 404
    for deed in ("payment", "close"):
        assert bob.post(f"{URL}{number}/{deed}/", {}, format="json").status_code == 404
    assert APIClient().get(URL).status_code == 403
    assert bob.post(URL, {"offer": "basket-1"}, format="json").status_code == 409  # it is another's basket


def test_lists_take_the_same_number_of_statements_however_long_they_are(
    market, buyer, django_assert_max_num_queries, django_assert_num_queries
):
    for _ in range(2):
        market.combined(100, 200, user=buyer.user)
    with django_assert_max_num_queries(3) as first:
        assert len(buyer.get(URL).json()["results"]) == 2
    for _ in range(3):
        market.combined(100, user=buyer.user)
    with django_assert_num_queries(len(first)):
        assert len(buyer.get(URL).json()["results"]) == 5
