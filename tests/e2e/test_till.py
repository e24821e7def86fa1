import re

import pytest
from playwright.sync_api import expect

from example_project.demo import CASHIER

SOON = 120_000  # milliseconds: a payer at the phone, a poll
REVERSED = 180_000  # the demo's till gives up after 20 s


@pytest.fixture
def till(page, demo):
    """The till's page, for a cashier who has just signed in."""
    page.goto(f"{demo.shop}/till/")
    page.get_by_label("Username").fill(CASHIER[0])
    page.get_by_label("Password").fill(CASHIER[1])
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{demo.shop}/till/")
    expect(page.get_by_role("button", name="Charge", exact=True)).to_be_enabled()
    return page


def scan(till, code, amount=None):
    """What a scanner does: it types the digits and ends with Enter."""
    if amount:
        till.get_by_label("Amount").fill(amount)
        till.get_by_label("Amount").press("Enter")
    expect(till.get_by_label("Payment code")).to_be_focused()
    till.keyboard.type(code)
    till.keyboard.press("Enter")
    expect(till.get_by_label("Payment code")).to_have_value("")


def sees(till, outcome, *texts, timeout=SOON):
    panel = till.locator("#outcome")
    expect(panel).to_have_attribute("data-outcome", outcome, timeout=timeout)
    for text in texts:
        expect(panel).to_contain_text(text)


def test_a_scanned_code_is_paid_and_the_order_is_a_link_away(till, picture):
    picture("till-1-ready", till)
    scan(till, "134000000000000001", "38.00")
    sees(till, "PAID", "Paid", "HK$38.00", "Hand over the goods")
    picture("till-2-paid", till)

    till.get_by_role("link", name="Order in the admin").click()
    expect(till).to_have_url(re.compile(r"/admin/django_wxpay/order/\d+/change/"))
    expect(till.locator("body")).to_contain_text("38.00")
    picture("till-3-order", till)


def test_the_till_waits_for_the_password_also_over_a_reload(till, picture):
    till.get_by_label("Amount").fill("12.50")
    till.get_by_label("Currency").select_option("CNY")
    till.get_by_role("button", name="Is asked for the password, pays after 5 s").click()
    sees(till, "WAIT", "Wait", "CN¥12.50", "password")
    expect(till.get_by_label("Payment code")).to_be_disabled()
    expect(till.get_by_role("timer")).to_have_text(re.compile(r"0:0[1-9]"))
    picture("till-4-wait", till)

    till.reload()
    sees(till, "WAIT", "CN¥12.50")
    sees(till, "PAID", "CN¥12.50", "Hand over the goods")
    expect(till.get_by_label("Payment code")).to_be_enabled()
    expect(till.locator("#latest tr").first).to_contain_text("Paid")

    till.reload()
    sees(till, "PAID", "CN¥12.50")
    expect(till.get_by_role("timer")).to_have_text(re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$"))


def test_not_enough_money_is_refused_and_a_fresh_code_may_be_scanned(till, picture):
    till.get_by_label("Amount").fill("380")
    till.get_by_role("button", name="Has not enough money").click()
    sees(till, "NOT_PAID", "Not paid", "HK$380.00", "Ask for another way to pay")
    picture("till-5-refused", till)

    scan(till, "134000000000000002")
    sees(till, "PAID", "HK$380.00")


def test_a_payer_who_never_decides_is_reversed(till, picture):
    scan(till, "136666000000000011", "8")
    sees(till, "WAIT", "password")
    expect(till.locator("#instruction")).to_contain_text("You may scan a new code", timeout=REVERSED)
    sees(till, "NOT_PAID", "Not paid", "HK$8.00")
    picture("till-6-reversed", till)


@pytest.mark.parametrize(
    ("amount", "code", "says"),
    [
        ("", "134000000000000003", "Enter the amount first"),
        ("0", "134000000000000003", "Enter the amount first"),
        ("38,00", "134000000000000003", "Enter the amount first"),
        ("38.005", "134000000000000003", "too precise"),
        ("5000.01", "134000000000000003", "at most HK$5,000.00"),
        ("38", "", "Scan the code"),
    ],
)
def test_what_cannot_be_charged_is_said_before_anything_is_sent(till, amount, code, says):
    asked = []
    till.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    till.get_by_label("Amount").fill(amount)
    till.get_by_label("Payment code").fill(code)
    till.get_by_role("button", name="Charge", exact=True).click()
    expect(till.get_by_role("alert")).to_contain_text(says)
    expect(till.get_by_label("Payment code")).to_have_value("")
    sees(till, "READY")
    assert asked == []


def test_digits_that_are_no_payment_code_charge_nothing(till):
    till.get_by_label("Amount").fill("38")
    till.get_by_role("button", name="Holds out a box of tea").click()
    sees(till, "NOT_PAID", "Not sent", "no payment code", "Nothing was charged")


def test_an_answer_that_got_lost_is_asked_for_again_and_charges_once(till, picture):
    lost = []

    def lose_first(route):
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch())  # the shop has charged it, and the till does not hear of it
            return route.abort()
        return route.continue_()

    till.route("**/quick-payments/", lose_first)
    scan(till, "134000000000000004", "21.00")
    sees(till, "WAIT", "do not scan again")
    sees(till, "PAID", "HK$21.00")
    assert lost[0].json()["out_trade_no"] in till.url
    expect(till.locator("#latest tr", has_text="HK$21.00")).to_have_count(1)


def test_a_server_that_never_answers_leaves_the_cashier_in_no_doubt(till, picture):
    till.clock.install()
    till.route("**/quick-payments/", lambda route: route.abort())
    scan(till, "134000000000000006", "21")
    sees(till, "WAIT", "does not answer", "do not scan again")
    till.clock.run_for(70_000)
    sees(till, "WAIT", "has not answered for a minute", "reload this page")
    expect(till.get_by_label("Payment code")).to_be_disabled()
    picture("till-8-given-up", till)


def test_the_next_customer_is_served_while_a_payment_takes_long(till, picture):
    till.clock.install()
    scan(till, "136666000000000011", "9")
    sees(till, "WAIT", "password")
    meanwhile = till.get_by_role("button", name="Serve the next customer meanwhile")
    expect(meanwhile).to_be_hidden()
    till.clock.fast_forward(61_000)
    picture("till-9-long", till)
    meanwhile.click()
    sees(till, "READY")
    scan(till, "134000000000000007", "10")
    sees(till, "PAID", "HK$10.00")
    long = till.locator("#latest tr", has_text="HK$9.00")
    expect(long).to_contain_text("Not paid", timeout=REVERSED)
    sees(till, "PAID", "HK$10.00")


def test_a_cashier_who_is_signed_out_learns_it_and_the_payment_goes_on(till):
    scan(till, "136666000000000010", "11")
    sees(till, "WAIT")
    till.context.clear_cookies()
    sees(till, "WAIT", "You are signed out")
    till.reload()
    till.get_by_label("Username").fill(CASHIER[0])
    till.get_by_label("Password").fill(CASHIER[1])
    till.get_by_role("button", name="Log in").click()
    sees(till, "PAID", "HK$11.00")

    till.context.clear_cookies()
    scan(till, "134000000000000008", "11")
    sees(till, "NOT_PAID", "Not sent", "sign in again", "Nothing was charged")


def test_the_code_stays_nowhere_in_the_page(till):
    code = "134000000000000005"
    scan(till, code, "5")
    sees(till, "PAID")
    assert code not in till.content() + till.url
    kept = till.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])")
    assert code not in kept


def test_a_member_is_asked_to_sign_in_as_a_cashier(page, demo):
    page.goto(demo.shop)
    card = page.locator("#leaf-hkd")
    card.get_by_label("Your name").fill("Chan Tai Man")
    card.get_by_role("button", name="Sign with WeChat Pay").click()
    page.goto(f"{demo.shop}/till/")
    expect(page).to_have_url(re.compile("/admin/login/"))


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_till_fits_narrow_screens(till, picture, width):
    till.set_viewport_size({"width": width, "height": 780})
    till.get_by_label("Amount").fill("1234.50")
    till.get_by_role("button", name="Shows a code that is too old").click()
    sees(till, "NOT_PAID", "fresh code")
    assert till.evaluate("document.documentElement.scrollWidth") <= width
    for part in (".scan", ".outcome", ".try", ".latest"):
        assert till.locator(part).evaluate("part => part.scrollWidth <= part.clientWidth"), part
    picture(f"till-7-{width}", till)
