"""The till's endpoints: who may take payments, what a cashier hears, and that asking drives the payment on."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.utils import timezone
from rest_framework.test import APIClient

from django_wxpay.checkout import Checkout, QuickPayOffer
from django_wxpay.models import Operation, Order
from django_wxpay.sandbox.special import CODE_PREFIX

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/wxpay/quick-payments/"
SCAN = {"auth_code": "130000000000000001", "amount": 3800, "currency": "HKD", "reference": "till-1/1"}
DETAIL = {"receipt_id": "r-1", "goods_detail": [{"goods_id": "tea", "quantity": 1, "price": 3800}]}


class ShopCheckout(Checkout):
    def quick_pay_offer(self, request, amount, currency):
        if amount > 100_000_00:
            return None
        return QuickPayOffer(
            description="Coffee",
            device_id="TILL-1",
            operator_id=str(request.user.pk),
            payer_client_ip="203.0.113.7",
            detail=DETAIL,
            merchant_category_code="5814",
        )


@pytest.fixture
def shop(wxpay_sandbox, settings):
    cache.clear()  # the throttles' memory
    settings.WXPAY = {**settings.WXPAY, "CHECKOUT": f"{__name__}.ShopCheckout"}
    return wxpay_sandbox


@pytest.fixture
def till(shop):
    cashier = get_user_model().objects.create_user("cashier")
    cashier.user_permissions.add(Permission.objects.get(codename="take_quick_payment"))
    client = APIClient()
    client.force_authenticate(cashier)
    return client


def scan(till, number=None, **change):
    code = {"auth_code": f"{CODE_PREFIX}{number:04d}"} if number else {}
    return till.post(URL, SCAN | code | change, format="json")


def ask(till, answer):
    return till.get(f"{URL}{answer.data['out_trade_no']}/")


def test_a_scanned_code_is_paid_and_the_cashier_is_told(till):
    answer = scan(till)
    assert (answer.status_code, answer.data["outcome"], answer.data["state"]) == (201, "PAID", "SUCCESS")
    assert "Hand over the goods" in answer.data["instruction"]
    assert "auth_code" not in answer.data


def test_whatever_the_shops_offer_names_is_sent(till):
    scan(till)
    sent = Operation.objects.get().fields
    assert (sent["merchant_category_code"], sent["detail"]) == ("5814", DETAIL)
    assert (sent["payer_client_ip"], sent["device_id"]) == ("203.0.113.7", "TILL-1")


@pytest.mark.parametrize(
    ("number", "says"), [(1, "Not enough money"), (2, "RULE_LIMIT"), (31, "fresh code"), (5, "payment failed")]
)
def test_a_refusal_tells_the_cashier_what_to_say(till, number, says):
    answer = scan(till, number)
    assert answer.data["outcome"] == "NOT_PAID"
    assert says in answer.data["instruction"]


def test_asking_drives_a_hanging_payment_to_its_end(till):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        answer = scan(till, 11)
        assert (answer.data["outcome"], "password" in answer.data["instruction"]) == ("WAIT", True)
        for _ in range(60):
            clock.shift(timedelta(seconds=1))
            answer = ask(till, answer)
            if answer.data["outcome"] != "WAIT":
                break
        assert (answer.data["outcome"], answer.data["state"]) == ("NOT_PAID", "REVOKED")


def test_an_unanswered_payment_tells_to_wait_and_is_found(till):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        answer = scan(till, 22)
        assert (answer.data["outcome"], "do not scan again" in answer.data["instruction"]) == ("WAIT", True)
        clock.shift(timedelta(seconds=6))
        assert ask(till, answer).data["outcome"] == "PAID"


def test_the_same_scan_twice_charges_once(till, shop):
    first, second = scan(till), scan(till)
    assert (first.status_code, second.status_code) == (201, 200)  # the second is known already
    assert "unless you have" in second.data["instruction"]
    assert first.data["out_trade_no"] == second.data["out_trade_no"]
    assert Order.objects.count() == 1


@pytest.mark.scenario("S57")
def test_another_payers_code_under_a_known_reference_gets_no_goods(till):
    scan(till)
    answer = scan(till, 4)
    assert (answer.status_code, answer.data["code"]) == (409, "REFERENCE_REUSED")
    assert Order.objects.count() == 1


def test_a_reused_reference_is_a_conflict(till):
    scan(till)
    answer = scan(till, amount=1)
    assert (answer.status_code, answer.data["code"]) == (409, "REFERENCE_REUSED")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"auth_code": "12"}, "auth_code"),
        ({"amount": 0}, "amount"),
        ({"currency": "XXQ"}, "currency"),
        ({"merchant": "institution"}, "merchant"),
        ({"openid": "o-1"}, "openid"),
    ],
)
def test_bad_input_is_refused_with_the_field_and_nothing_is_sent(till, shop, change, field):
    answer = scan(till, **change)
    assert (answer.status_code, answer.data["field"]) == (400, field)
    assert shop.calls == []


def test_an_amount_beyond_the_cap_is_no_offer(till, shop):
    assert scan(till, amount=100_000_01).status_code == 404
    assert shop.calls == []


@pytest.mark.scenario("S41")
def test_without_the_permission_nobody_takes_or_sees_payments(till, shop):
    answer = scan(till)
    staff = get_user_model().objects.create_user("other", is_staff=True)
    stranger = APIClient()
    stranger.force_authenticate(staff)
    assert stranger.post(URL, SCAN, format="json").status_code == 403
    assert ask(stranger, answer).status_code == 403
    assert APIClient().post(URL, SCAN, format="json").status_code == 403


def test_orders_of_other_products_are_not_the_tills(till, shop):
    order = shop.paid_order()
    assert till.get(f"{URL}{order.out_trade_no}/").status_code == 404
