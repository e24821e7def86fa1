import re

import pytest
from playwright.sync_api import expect

from example_project.demo import STAFF

SOON = 120_000  # milliseconds: a worker, a poll


def choose(page, demo, plan, name):
    page.goto(demo.shop)
    card = page.locator(f"#{plan}")
    card.get_by_label("Your name").fill(name)
    card.get_by_role("button", name="Sign with WeChat Pay").click()


def log_in(page, demo):
    page.goto(f"{demo.shop}/admin/")
    page.get_by_label("Username").fill(STAFF[0])
    page.get_by_label("Password").fill(STAFF[1])
    page.get_by_role("button", name="Log in").click()


def test_a_member_signs_pays_is_refunded_by_staff_and_terminates(page, browser, demo, picture):
    page.goto(demo.shop)
    picture("1-plans", page)
    choose(page, demo, "pot-hkd", "Li Mei")

    expect(page.get_by_text("Li Mei")).to_be_visible()
    picture("2-phone", page)
    page.get_by_role("button", name="Agree").click()

    expect(page).to_have_url(f"{demo.shop}/member/")
    expect(page.get_by_text("Active")).to_be_visible(timeout=SOON)
    paid = page.locator("tr.order")
    expect(paid).to_contain_text("Paid")
    expect(paid).to_contain_text("HK$128.00")
    picture("3-member", page)

    desk = browser.new_page()
    try:
        staff_refunds(desk, demo, picture)
    finally:
        desk.close()

    page.reload()
    refunded = page.locator("tr.refund")
    expect(refunded).to_contain_text("one tin was missing")
    expect(refunded).to_contain_text("Refunded", timeout=SOON)
    expect(refunded).to_contain_text("−HK$28.00")
    picture("7-refunded", page)

    page.get_by_role("link", name="Terminate").click()
    picture("8-terminate", page)
    page.get_by_role("button", name="Terminate").click()
    expect(page.get_by_role("status")).to_contain_text("will not renew")
    expect(page.get_by_text("Does not renew")).to_be_visible(timeout=SOON)
    picture("9-terminated", page)


def staff_refunds(desk, demo, picture):
    """HK$28.00 of the newest order, asked for in the admin."""
    log_in(desk, demo)
    desk.goto(f"{demo.shop}/admin/django_wxpay/order/")
    picture("4-orders", desk)
    desk.locator("#result_list tbody tr").first.locator("th a").click()
    picture("5-order", desk)
    desk.locator(".object-tools a[href$='/refund/']").click()
    desk.locator("[name=amount]").fill("28.00")
    desk.locator("[name=reason]").fill("one tin was missing")
    picture("6-refund", desk)
    desk.locator("form:has([name=amount]) [type=submit]").click()
    expect(desk.locator(".wxpay-confirming [type=submit]")).to_contain_text("HK$28.00")
    picture("6-refund-confirm", desk)
    desk.locator(".wxpay-confirming [type=submit]").click()
    expect(desk.locator(".messagelist")).to_be_visible()
    picture("6-refund-asked", desk)


@pytest.mark.parametrize("width", [360, 768])
def test_the_shop_fits_narrow_screens(page, demo, width):
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(demo.shop)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_customer_who_refuses_is_back_in_the_shop_without_a_membership(page, demo, picture):
    choose(page, demo, "leaf-cny", "Wang Fang")
    page.get_by_role("button", name="Refuse").click()
    expect(page).to_have_url(re.compile("/member/"))
    expect(page.get_by_text("Waiting for your signature")).to_be_visible()
    expect(page.locator("tr.order")).to_have_count(0)
    picture("refused", page)
