"""A second-hand market in a browser: two sellers sign, a buyer pays both at once, staff refund a part of it."""

import pytest
from playwright.sync_api import expect

from tests.e2e.test_story import SOON, log_in

SELLERS = ("Gao Lin", "Sun Wei")
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def someone(browser):
    """`someone()` is a page of a browser of its own: one customer."""
    opened = []

    def visit():
        opened.append(browser.new_page(viewport=PHONE))
        return opened[-1]

    yield visit
    for page in opened:
        page.close()


def sell(page, demo, name):
    page.goto(f"{demo.shop}/market/")
    page.locator("#seller").fill(name)
    page.get_by_role("button", name="Let buyers pay me").click()
    expect(page.get_by_text("Let this platform's buyers pay you?")).to_be_visible()


def choose(page, demo, *sellers):
    page.goto(f"{demo.shop}/market/")
    for name in sellers:
        page.locator("li", has_text=name).get_by_role("checkbox").check()


def test_a_buyer_pays_two_sellers_at_once_and_staff_refund_a_part(someone, browser, demo, picture):
    for name in SELLERS:
        seller = someone()
        sell(seller, demo, name)
        picture("market-1-payee", seller)
        seller.get_by_role("button", name="Agree").click()
        expect(seller.get_by_text("You may be paid")).to_be_visible()
    buyer = someone()
    choose(buyer, demo, *SELLERS)
    buyer.locator("#buyer").fill("He Jing")
    picture("market-2-chosen", buyer)
    buyer.get_by_role("button", name="Buy with WeChat Pay").click()
    expect(buyer.get_by_text("One payment, 2 payees.")).to_be_visible()
    picture("market-3-phone", buyer)
    buyer.get_by_role("button", name="Pay", exact=True).click()
    payment = buyer.locator("section.payment")
    expect(payment).to_contain_text("Paid", timeout=SOON)
    for name in SELLERS:
        expect(payment).to_contain_text(name)

    desk = browser.new_page()
    log_in(desk, demo)
    desk.goto(f"{demo.shop}/admin/django_wxpay/combineorder/")
    picture("market-4-orders", desk)
    desk.locator("#result_list tbody tr").first.locator("th a").click()
    picture("market-5-order", desk)
    desk.locator("a[href*='/django_wxpay/order/'][href*='/change/']").first.click()
    desk.locator(".object-tools a[href$='/refund/']").click()
    desk.locator("[name=amount]").fill("11")
    desk.locator("[name=reason]").fill("a crack")
    picture("market-6-refund", desk)
    desk.locator(".wxpay-action button[type=submit]").click()
    desk.locator(".wxpay-confirming button[type=submit]").click()
    expect(desk.locator(".messagelist")).to_contain_text("CN¥11.00")
    desk.close()
    buyer.goto(f"{demo.shop}/market/")
    expect(payment.locator(".refund")).to_contain_text("−CN¥11.00", timeout=SOON)
    picture("market-7-refunded", buyer)


def test_a_buyer_leaves_the_payment_comes_back_to_it_and_a_form_sent_twice_is_one_payment(someone, demo, picture):
    seller, buyer = someone(), someone()
    for person, name in ((seller, "Ma Rui"), (buyer, "Luo Min")):
        sell(person, demo, name)
        person.get_by_role("button", name="Agree").click()
        expect(person.get_by_text("You may be paid")).to_be_visible()
    choose(buyer, demo, "Ma Rui")
    buyer.locator("form[action$='/buy/']").evaluate("form => { form.submit(); form.submit() }")
    expect(buyer.get_by_text("One payment")).to_be_visible()
    buyer.goto(f"{demo.shop}/market/")
    payments = buyer.locator("section.payment")
    expect(payments).to_have_count(1)
    picture("market-8-waiting", buyer)
    buyer.get_by_role("button", name="Continue in WeChat Pay").click()
    buyer.get_by_role("button", name="Pay", exact=True).click()
    expect(payments).to_contain_text("Paid", timeout=SOON)
    expect(payments).to_have_count(1)
