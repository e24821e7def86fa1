"""Functions that the pages print, called against the sandbox: they do what their page says."""

from functools import cache
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model

from django_wxpay.engine import operations
from django_wxpay.models import Contract, Order
from django_wxpay.services import bills, combine_orders, payees

from .blocks import DOCS, code_blocks

pytestmark = pytest.mark.django_db


@cache
def printed(page):
    """What the Python blocks of a page define."""
    names = {"__name__": "docs." + page.replace("/", ".")}
    for line, text in code_blocks(DOCS / page, "python"):
        exec(compile("\n" * (line - 1) + text, page, "exec"), names)
    return SimpleNamespace(**names)


def test_the_pattern_for_callers_tells_paid_declined_and_unknown_apart(wxpay_sandbox):
    page = printed("reference/errors.md")
    member = SimpleNamespace(pk=42)
    contract = wxpay_sandbox.signed_contract()
    assert page.charge(contract, member, "2026-01") == "Thank you."
    wxpay_sandbox.fault("refuse", "/v3/global/papay/transactions", code="NOT_ENOUGH")
    assert "declined" in page.charge(contract, member, "2026-02")
    wxpay_sandbox.fault("lost_answer", "/v3/global/papay/transactions")
    assert "waiting" in page.charge(contract, member, "2026-03")
    wxpay_sandbox.fault("error_429", "/v3/global/papay/transactions")
    assert "waiting" in page.charge(contract, member, "2026-04")


def test_the_monthly_task_run_twice_charges_each_member_once(wxpay_sandbox):
    page = printed("how-to/charge-members.md")
    for _ in range(3):
        wxpay_sandbox.signed_contract()
    page.charge_members()
    page.charge_members()
    operations.send_due()
    assert list(Order.objects.values_list("state", flat=True)) == ["SUCCESS"] * 3


def test_a_refused_charge_is_tried_again_under_a_new_number(wxpay_sandbox):
    page = printed("how-to/charge-members.md")
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.fault("refuse", "/v3/global/papay/transactions", method="POST", code="NOT_ENOUGH")
    page.charge_members()
    operations.send_due()
    refused = contract.orders.get()
    again = page.try_again(refused)
    assert (refused.state, again.state, again.attempt) == ("REFUSED", "SUCCESS", 2)


def test_the_refund_page_refunds_and_tells_what_remains(wxpay_sandbox, capsys):
    page = printed("how-to/refund.md")
    order = wxpay_sandbox.paid_order(amount=500)
    assert page.take_back(order, 1).state == "PROCESSING"
    assert page.take_back(order, 2) is None
    assert "only 200 can be refunded" in capsys.readouterr().out


def test_contracts_of_another_system_are_taken_over(wxpay_sandbox, django_user_model, tmp_path, capsys):
    page = printed("how-to/adopt-existing-contracts.md")
    code = wxpay_sandbox.signed_contract().out_contract_code
    Contract.objects.all().delete()
    li = django_user_model.objects.create_user("li")
    assert page.take_over("never-signed", 12345, li) is None
    assert page.take_over(code, 12345, li).state == "SIGNED"
    listed = tmp_path / "contracts.csv"
    listed.write_text(f"{code},12345\nnever-signed,12345\n")
    page.take_over_all(listed)
    assert capsys.readouterr().out == "never-signed: not signed\n"


def test_an_institution_signs_for_its_tenants(wxpay_sandbox, settings, django_user_model):
    page = printed("how-to/institution-mode.md")
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"default": merchants["institution"]}}
    known = merchants["institution"]
    tenant = SimpleNamespace(plan_id=12345, sub_mchid=known["SUB_MCHID"], sub_appid=known["SUB_APPID"])
    member = SimpleNamespace(name="Li M.", openid="o-li", user=django_user_model.objects.create_user("li"))
    contract = page.sign_for(tenant, member)
    assert (contract.mchid, contract.sub_mchid) == (known["SP_MCHID"], known["SUB_MCHID"])


def test_a_scanned_code_is_taken(wxpay_sandbox, django_user_model):
    page = printed("how-to/take-quick-payments.md")
    cashier = django_user_model.objects.create_user("cashier")
    assert page.take("130000000000000001", 3800, 1, cashier) is True
    assert page.take("130000000000000002", 6660001, 2, cashier) is False


def test_the_books_can_be_read(wxpay_sandbox):
    page = printed("how-to/keep-the-books.md")
    yesterday = bills.china_today() - bills.timedelta(days=1)
    text = page.payments_of(yesterday)
    assert text == [] or text[0] in ("to be fetched", "an empty day")
    assert list(page.still_to_come()) == []


def test_what_needs_a_person_is_counted(wxpay_sandbox):
    page = printed("how-to/operate.md")
    assert set(page.needs_a_person().values()) == {0}


def test_the_course_of_the_sign_plans_page_is_sold_used_and_paid(wxpay_sandbox, settings):
    page = printed("how-to/sell-sign-plans.md")
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {**merchants, "courses": merchants["mainland"]}}
    plan = page.swimming_course()
    assert page.swimming_course().pk == plan.pk
    customer = SimpleNamespace(user=SimpleNamespace(openid="o-one"))
    checkout = page.ShopCheckout()
    assert checkout.sign_plan_offer(customer, "swimming-2026").plan == plan
    assert checkout.sign_plan_offer(customer, "diving") is None

    signed = wxpay_sandbox.signed_plan(plan)
    first = page.begin_lesson(signed, SimpleNamespace(pk=1))
    assert page.begin_lesson(signed, SimpleNamespace(pk=1)).pk == first.pk and first.is_running
    towel = wxpay_sandbox._after(page.end_lesson_with_a_towel(first))
    assert (towel.is_paid, towel.paid_amount) == (True, 8_000)
    second = wxpay_sandbox._after(page.end_lesson(page.begin_lesson(signed, SimpleNamespace(pk=2))))
    assert (second.is_paid, second.paid_amount) == (True, 5_000)
    page.test_the_third_lesson_is_free(wxpay_sandbox, None)


def test_a_seller_of_the_individuals_page_signs_and_withdraws(wxpay_sandbox, settings):
    page = printed("how-to/pay-individuals.md")
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {**merchants, "market": merchants["mainland"]}}
    seller = get_user_model().objects.create_user("wang")
    seller.openid, seller.is_seller = "o-one", True
    offer = page.MarketCheckout().payee_offer(SimpleNamespace(user=seller))
    assert (offer.merchant, offer.openid) == ("market", "o-one")
    wxpay_sandbox.wechat.payees.agree(page.how_he_stands(seller))
    assert page.how_he_stands(seller).startswith("IA")
    page.test_a_seller_withdraws(wxpay_sandbox, None)

    payee = payees.enrol(user=seller, merchant="market")
    item = SimpleNamespace(pk=7, seller=SimpleNamespace(payee=payee), price=1200, title="Used book")
    buyer = get_user_model().objects.create_user("mei")
    buyer.openid = "o-mei"
    placed = page.pay_basket(SimpleNamespace(pk=3, items=[item]), buyer)
    assert page.pay_basket(SimpleNamespace(pk=3, items=[item]), buyer).pk == placed.pk
    assert wxpay_sandbox.pay_combined(placed).is_paid and placed.orders.get().attach == "item-7"
    offer = page.BasketCheckout().combine_offer(SimpleNamespace(user=buyer), "wang")
    assert combine_orders.place(**vars(offer)).amount_total == 1200
    page.test_a_basket_pays_two_sellers(wxpay_sandbox, None)
