"""A course from its signature to its last lesson, in a browser: customer, trainer, and staff in the admin."""

import pytest
from playwright.sync_api import expect

from tests.e2e.test_story import SOON, log_in


@pytest.fixture
def desk(browser, demo):
    """The trainer's browser, who is also staff."""
    page = browser.new_page()
    log_in(page, demo)
    yield page
    page.close()


def sign_up(page, demo, name):
    page.goto(f"{demo.shop}/courses/")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Sign up with WeChat Pay").click()


def hold(desk, demo, name, deed):
    """Press the trainer's button for that student, as soon as it is there."""
    desk.goto(f"{demo.shop}/trainer/")
    student = desk.locator("section.course", has=desk.get_by_role("heading", name=name))
    student.get_by_role("button", name=deed).click(timeout=SOON)


def test_a_customer_signs_at_phone_width_and_pays_lesson_by_lesson(page, desk, demo, picture):
    page.set_viewport_size({"width": 390, "height": 844})
    sign_up(page, demo, "Wu Ting")
    expect(page.get_by_text("Use now, pay after each service?")).to_be_visible()
    picture("course-1-phone", page)
    page.get_by_role("button", name="Agree").click()
    expect(page).to_have_url(f"{demo.shop}/courses/")
    lessons = page.locator(".lessons li")
    expect(lessons.nth(0)).to_contain_text("Not yet held", timeout=SOON)
    hold(desk, demo, "Wu Ting", "Begin")
    hold(desk, demo, "Wu Ting", "End the lesson")
    page.reload()
    expect(lessons.nth(0)).to_contain_text("Paid", timeout=SOON)
    expect(lessons.nth(0)).to_contain_text("CN¥120.00")
    hold(desk, demo, "Wu Ting", "Begin")
    hold(desk, demo, "Wu Ting", "Cancel the lesson")
    hold(desk, demo, "Wu Ting", "Begin")
    picture("course-2-trainer", desk)
    hold(desk, demo, "Wu Ting", "End the lesson")
    page.reload()
    expect(lessons.nth(1)).to_contain_text("Cancelled", timeout=SOON)
    expect(lessons.nth(2)).to_contain_text("Held, free", timeout=SOON)
    expect(page.get_by_text("All lessons held")).to_be_visible(timeout=SOON)
    picture("course-3-over", page)


def test_staff_starts_completes_and_refunds_a_lesson_in_the_admin(page, desk, demo, picture):
    sign_up(page, demo, "Ho Yan")
    page.get_by_role("button", name="Agree").click()
    expect(page.locator(".lessons li").nth(0)).to_contain_text("Not yet held", timeout=SOON)
    desk.goto(f"{demo.shop}/admin/django_wxpay/signplan/")
    picture("course-4-sign-plans", desk)
    desk.locator("#result_list tbody tr").first.locator("th a").click()
    desk.locator(".object-tools a[href$='/start/']").click()
    picture("course-5-start", desk)
    desk.locator(".wxpay-action button[type=submit]").click()
    expect(desk.locator(".messagelist")).to_contain_text("The service has begun")
    desk.locator(".object-tools a[href$='/complete/']").click()
    expect(desk.locator("[name=payments]")).to_have_value("Leaf and water 120.00")
    desk.locator("[name=discounts]").fill("A late start 20")
    picture("course-6-complete", desk)
    desk.locator(".wxpay-action button[type=submit]").click()
    expect(desk.locator(".wxpay-confirming button[type=submit]")).to_contain_text("Collect CN¥100.00")
    picture("course-7-complete-confirm", desk)
    desk.locator(".wxpay-confirming button[type=submit]").click()
    expect(desk.locator(".messagelist")).to_contain_text("It is completed")
    expect(desk.locator("body")).to_contain_text("CN¥100.00")
    payment = desk.locator("a[href*='/django_wxpay/order/']", has_text="4200")
    for _ in range(20):
        if payment.count():
            break
        desk.wait_for_timeout(1000)
        desk.reload()
    picture("course-8-service-order", desk)
    payment.first.click()
    desk.locator(".object-tools a[href$='/refund/']").click()
    expect(desk.locator("[name=source]")).to_contain_text("available balance (mainland)")
    desk.locator("[name=amount]").fill("30")
    desk.locator(".wxpay-action button[type=submit]").click()
    desk.locator(".wxpay-confirming button[type=submit]").click()
    expect(desk.locator(".messagelist")).to_contain_text("CN¥30.00")
    page.goto(f"{demo.shop}/courses/")
    expect(page.locator(".lessons li").nth(0)).to_contain_text("−CN¥30.00", timeout=SOON)


def test_staff_creates_a_plan_with_its_services_at_phone_width(desk, demo, picture):
    desk.set_viewport_size({"width": 390, "height": 844})
    desk.goto(f"{demo.shop}/admin/django_wxpay/payscoreplan/")
    desk.get_by_role("link", name="Create a plan").click()
    desk.locator("[name=name]").fill("Two tastings")
    desk.locator("[name=duration_days]").fill("30")
    for place, price in enumerate(("88.00", "0")):
        desk.locator(f"[name=details-{place}-name]").fill(f"Tasting {place + 1}")
        desk.locator(f"[name=details-{place}-original_price]").fill("88")
        desk.locator(f"[name=details-{place}-actual_price]").fill(price)
    picture("course-9-plan", desk)
    desk.get_by_role("button", name="Continue").click()
    expect(desk.locator(".wxpay-services")).to_contain_text("CN¥88.00")
    assert desk.evaluate("document.documentElement.scrollWidth") <= 390
    picture("course-9-plan-confirm", desk)
    desk.get_by_role("button", name="Create the plan").click()
    expect(desk.locator(".messagelist")).to_contain_text("The plan is created")
    picture("course-9-plan-created", desk)
