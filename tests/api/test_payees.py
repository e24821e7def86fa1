"""A person as a payee, at his own endpoint: WeChat Pay is asked first, and only who has not signed is let sign."""

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from django_wxpay.checkout import Checkout, PayeeOffer
from django_wxpay.models import PayeeAuthorization
from django_wxpay.testing import make_payee
from tests.api.test_sign_plans import member_named

URL = "/wxpay/payees/"
CONTRACTS = "/v3/ecommerce/individual-contracts"


class Market(Checkout):
    def payee_offer(self, request):
        name = request.user.username
        if name == "buyer":
            return None
        known = {"merchant": "mainland", "openid": None if name == "app" else f"o-{name}"}
        return PayeeOffer(**known) if name == "ada" else known


@pytest.fixture
def market(wxpay_sandbox, db, settings):
    cache.clear()  # the throttles' memory
    settings.WXPAY = {**settings.WXPAY, "CHECKOUT": f"{__name__}.Market", "STATUS_QUERY_SECONDS": 0}
    return wxpay_sandbox


@pytest.fixture
def seller(market):
    return member_named("ada")


def asked(sandbox):
    return [path for _, path in sandbox.calls if path.startswith(CONTRACTS)]


def test_a_seller_signs_and_is_authorised_once_the_server_has_asked(market, seller):
    opened = seller.post(URL, {}, format="json")
    assert opened.status_code == 200
    shown = opened.json()
    assert shown["state"] == "UNAUTHORIZED" and shown["sign"]["package"].startswith("openid=o-ada&")
    assert len(asked(market)) == 1  # WeChat Pay was asked first
    row = PayeeAuthorization.objects.get()
    assert row.user == seller.user and row.payee_no == shown["payee_no"]

    market.wechat.payees.agree(shown["sign"])
    for answer in (seller.get(f"{URL}{row.payee_no}/"), seller.post(URL, {}, format="json")):
        assert answer.json()["state"] == "AUTHORIZED" and answer.json()["sign"] is None
    row.refresh_from_db()
    assert row.individual_auth_id not in str(answer.json()) and "o-ada" not in str(answer.json())

    market.withdraw(row)
    assert seller.get(f"{URL}{row.payee_no}/").json()["sign"]["package"].startswith("openid=o-ada&")


def test_what_lets_him_sign_is_another_one_each_time(market, seller):
    signed = [seller.post(URL, {}, format="json").json()["sign"]["nonceStr"] for _ in range(3)]
    assert len(set(signed)) == 3 and PayeeAuthorization.objects.count() == 1


def test_while_nobody_knows_there_is_nothing_to_sign(market, seller):
    market.fault("error_500", CONTRACTS, times=-1)
    answer = seller.post(URL, {}, format="json")
    assert (answer.status_code, answer.json()["sign"]) == (202, None)
    market.wechat.faults.remove()
    assert seller.post(URL, {}, format="json").json()["sign"]


@pytest.mark.parametrize("named", ["openid", "merchant", "offer", "state"])
def test_the_server_names_everything(market, seller, named):
    refused = seller.post(URL, {named: "x"}, format="json")
    assert refused.status_code == 400 and refused.json()["field"] == named
    assert not PayeeAuthorization.objects.exists()


def test_who_may_be_no_payee_is_not_found(market):
    assert member_named("buyer").post(URL, {}, format="json").status_code == 404


def test_who_has_no_openid_yet_signs_in_his_app(market):
    answer = member_named("app").post(URL, {}, format="json")
    assert answer.status_code == 200 and answer.json()["sign"] is None


def test_people_see_only_themselves(market, seller):
    own = seller.post(URL, {}, format="json").json()
    make_payee(openid="o-stranger")
    assert [one["payee_no"] for one in seller.get(URL).json()["results"]] == [own["payee_no"]]
    assert seller.get(URL).json()["results"][0]["sign"] is None
    bob = member_named("bob")
    assert bob.get(URL).json()["results"] == [] and bob.get(f"{URL}{own['payee_no']}/").status_code == 404
    assert APIClient().post(URL, {}, format="json").status_code == 403


def test_a_status_is_confirmed_at_most_once_in_some_seconds(market, seller, settings):
    settings.WXPAY = {**settings.WXPAY, "STATUS_QUERY_SECONDS": 3}
    for _ in range(3):
        assert seller.post(URL, {}, format="json").json()["sign"]
    assert len(asked(market)) == 1
