"""The shop's references: the same words are the same request, others are refused, whatever our row keeps of them."""

import pytest

from django_wxpay.engine import references
from django_wxpay.exceptions import ReferenceReused
from django_wxpay.models import Contract, Operation, Order
from django_wxpay.sandbox.special import CODE_PREFIX
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract

pytestmark = pytest.mark.django_db
PAID, OTHER = f"{CODE_PREFIX}00000000000000"[:18], f"{CODE_PREFIX}00000000000000"[:17] + "7"
SIGNING = {"plan_id": 12345, "user_display_name": "Li M.", "reference": "member-1"}
CHARGE = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "march"}
SCAN = {"auth_code": PAID, "amount": 3800, "currency": "HKD", "description": "Tea", "reference": "till-1"}
GOODS = {"cost_price": 4000, "goods_detail": [{"goods_id": "1001", "quantity": 1, "price": 4000}]}


# Signing


def test_a_signing_asked_for_again_after_the_user_signed_is_the_same_contract(wxpay_sandbox):
    contract = wxpay_sandbox.sign(contracts.sign(**SIGNING))
    assert contract.openid  # learned meanwhile
    again = contracts.sign(**SIGNING)
    assert again == contract and again.was_known
    assert Contract.objects.count() == 1


@pytest.mark.parametrize(
    "other",
    [
        {"openid": "o-somebody-else"},
        {"user_client_ip": "192.0.2.7"},
        {"plan_id": 54321},
        {"user_display_name": "Li N."},
        {"channel": "app"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_signing_under_a_known_reference_with_other_words_is_refused(wxpay_sandbox, other):
    contracts.sign(**SIGNING)
    with pytest.raises(ReferenceReused, match=next(iter(other))):
        contracts.sign(**SIGNING | other)


def test_a_return_address_is_one_of_the_words(wxpay_sandbox):
    asked = SIGNING | {"channel": "h5", "return_url": "https://shop.example/back"}
    contracts.sign(**asked)
    with pytest.raises(ReferenceReused, match="return_url"):
        contracts.sign(**asked | {"return_url": "https://shop.example/elsewhere"})


def test_a_signing_for_another_user_is_refused(wxpay_sandbox, django_user_model):
    mei, tao = (django_user_model.objects.create_user(name) for name in ("mei", "tao"))
    contracts.sign(**SIGNING, user=mei)
    with pytest.raises(ReferenceReused, match="user_id"):
        contracts.sign(**SIGNING, user=tao)


# Deductions


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 3900},
        {"goods_tag": "SPRING"},
        {"device_id": "app-2"},
        {"device_ip": "192.0.2.7"},
        {"merchant_category_code": "5812"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_charge_under_a_known_reference_with_other_words_is_refused(wxpay_sandbox, other):
    contract = wxpay_sandbox.signed_contract()
    first = orders.deduct(contract, **CHARGE)
    assert orders.deduct(contract, **CHARGE).was_known
    with pytest.raises(ReferenceReused):
        orders.deduct(contract, **CHARGE | other)
    assert Order.objects.get() == first


def test_a_word_that_is_left_out_the_second_time_is_another_word(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    orders.deduct(contract, **CHARGE, goods_tag="SPRING", merchant_category_code="5812")
    with pytest.raises(ReferenceReused, match="goods_tag, merchant_category_code"):
        orders.deduct(contract, **CHARGE)
    orders.pay_by_code(**SCAN, merchant_category_code="5812")
    with pytest.raises(ReferenceReused, match="merchant_category_code"):
        orders.pay_by_code(**SCAN)


def test_what_was_said_of_a_charge_is_sent_and_goes_with_its_next_attempt(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    said = {"goods_tag": "SPRING", "device_id": "app-1", "device_ip": "192.0.2.1", "merchant_category_code": "5812"}
    wxpay_sandbox.fault("refuse", "/v3/global/papay/transactions", status=403, code="NOT_ENOUGH")
    with pytest.raises(Exception, match="NOT_ENOUGH"):
        orders.deduct(contract, **CHARGE, **said)
    orders.retry_deduction(Order.objects.get())
    asked = Operation.objects.filter(action="DEDUCT").order_by("pk")
    assert [{name: one.fields[name] for name in said} for one in asked] == [said, said]


# Quick payments


@pytest.mark.scenario("S57")
def test_the_same_scan_again_is_known_and_charges_nothing(wxpay_sandbox):
    first = orders.pay_by_code(**SCAN)
    again = orders.pay_by_code(**SCAN)
    assert not first.was_known and again.was_known
    assert first == again
    assert sum(path.endswith("/micropay/transactions/pay") for _, path in wxpay_sandbox.calls) == 1


@pytest.mark.scenario("S57")
@pytest.mark.parametrize(
    "other",
    [
        {"auth_code": OTHER},
        {"amount": 3900},
        {"goods_tag": "SPRING"},
        {"limit_pay": "no_balance"},
        {"device_id": "till-2"},
        {"device_ip": "192.0.2.7"},
        {"payer_client_ip": "192.0.2.8"},
        {"operator_id": "ann"},
        {"merchant_category_code": "5812"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_scan_under_a_known_reference_is_refused_and_gets_no_goods(wxpay_sandbox, other):
    orders.pay_by_code(**SCAN)
    with pytest.raises(ReferenceReused):
        orders.pay_by_code(**SCAN | other)
    assert Order.objects.count() == 1


def test_the_code_is_recognised_by_a_keyed_digest_and_stands_in_no_row(wxpay_sandbox, settings):
    orders.pay_by_code(**SCAN)
    operation = Operation.objects.get(action="PAY")
    assert PAID not in str(vars(operation))
    assert operation.secret_digest == references.digest(PAID)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new one", [settings.SECRET_KEY]
    assert operation.secret_digest != references.digest(PAID)
    assert orders.pay_by_code(**SCAN).was_known  # the key that was is remembered


# Sub-merchants


def test_two_sub_merchants_may_use_the_same_reference(wxpay_sandbox):
    known = wxpay_sandbox.wechat.merchant
    first = make_contract(merchant="institution", mchid=known["sp_mchid"], sub_mchid=known["sub_mchid"])
    second = make_contract(merchant="institution", mchid=known["sp_mchid"], sub_mchid="1900009999")
    ours, theirs = (orders.plan_deduction(contract, **CHARGE) for contract in (first, second))
    assert ours != theirs
    assert orders.plan_deduction(first, **CHARGE) == ours
