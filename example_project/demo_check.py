"""The demo's whole story without a person, `make demo-check`: each step printed, non-zero when one is wrong.

The same programs as in the live demo; members and staff are played over HTTP, the customer's phone by the sandbox's
page and by its JSON control.
"""

import re
import sys
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import requests

from .browserless import Browser, Page
from .demo import CASHIER, ROOT, STAFF, Demo, RunsAlready
from .processes import ProcessEnded

STEP_SECONDS = 120  # without any progress; on a quiet machine the longest step takes 25
ANSWER_SECONDS = 60


class StepFailed(Exception):
    pass


class Story:
    """Two members, one of the support, a cashier, and what WeChat Pay thinks of it."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.shop, self.sandbox = demo.shop, f"{demo.sandbox}/_sandbox"
        self.li, self.chan, self.staff, self.cashier = Browser(), Browser(), Browser(), Browser()
        self.wang, self.zhou, self.mei = Browser(), Browser(), Browser()

    def steps(self):
        return [
            ("the shop shows its plans, in two currencies", self.see_plans),
            ("Li chooses a plan and is sent to WeChat Pay", self.choose_plan),
            ("Li agrees on the phone and is back in the shop", self.agree),
            ("the membership is active: signed, deducted, paid HK$38.00", self.see_active),
            ("staff refunds HK$8.00 of it in the admin", self.refund),
            ("Li sees the refund arrive", self.see_refund),
            ("the amount of a second refund is capped by what remains", self.refund_too_much),
            ("a forged notification is refused", self.forge),
            ("Chan signs in the mini program, through the REST endpoints", self.sign_by_api),
            ("the notification of the signature is lost: a query finds out, CN¥35.00 are paid", self.see_polled),
            ("Li terminates in the shop", self.terminate),
            ("Chan terminates inside WeChat, the shop is told", self.terminate_in_wechat),
            ("the cashier scans a payment code: HK$21.00 are paid at once", self.scan),
            ("a payer cannot decide: the till waits, and the cashier closes the browser", self.leave_undecided),
            ("a payer is asked for the password: the till waits, then CN¥12.50 are paid", self.wait_for_the_password),
            ("a payer lacks the money: refused, and the till says what to do", self.refuse_the_poor),
            ("more than the till may take, and digits that are no payment code, are not even sent", self.scan_wrong),
            ("the undecided payment is reversed though nobody asks: not paid, for good", self.see_reversed),
            ("Li signs up for a course of three lessons, on the phone", self.sign_up),
            ("the trainer holds the first lesson: CN¥120.00 are collected", self.hold_first),
            ("staff refunds CN¥20.00 of the first lesson", self.refund_lesson),
            ("the second lesson begins and is cancelled: nothing is collected", self.cancel_second),
            ("the third lesson is free: it ends, and with it the course, though nobody is told", self.hold_third),
            (
                "a second course's signature is lost on the way: a query finds out; it is cancelled in WeChat",
                self.sign_lost,
            ),
            ("two customers become sellers, in their mini program", self.become_sellers),
            ("a third pays both with one payment", self.buy_both),
            ("staff refunds CN¥10.00 of one thing in the admin", self.refund_thing),
            ("one seller withdraws in WeChat: what he sells cannot be bought any more", self.withdraw_seller),
            ("WeChat Pay's books agree: two contracts ended, seven payments, three refunds", self.compare),
            ("yesterday's statement is downloaded, its hash and its lines are right", self.download_statement),
            ("nothing is left over that needs a person", self.see_nothing_open),
        ]

    # Li, in the shop's pages

    def see_plans(self):
        page = self.li.open(self.shop)
        expect("HK$38.00" in page.text and "HK$128.00" in page.text and "CN¥35.00" in page.text, page.text)

    def choose_plan(self):
        page = self.li.open(self.shop)
        form = next(form for form in page.forms if form["action"].endswith("/join/leaf-hkd/"))
        self.phone = self.li.submit(page, form, name="Li Mei")
        expect(self.phone.url.startswith(self.demo.sandbox), f"led to {self.phone.url}")
        expect("Li Mei" in self.phone.text, self.phone.text)

    def agree(self):
        back = self.li.submit(self.phone, self.phone.form("do"), do="agree")
        expect(back.url == f"{self.shop}/member/", f"led to {back.url}")

    def see_active(self):
        self.member_page(self.li, "Active", "Paid until", "HK$38.00", "Paid")

    def see_refund(self):
        self.member_page(self.li, "−HK$8.00", "Refunded")

    def terminate(self):
        page = self.member_page(self.li, "Terminate")
        question = self.li.open(next(link for link in _absolute(page) if "/member/terminate/" in link))
        after = self.li.submit(question, question.forms[-1])
        expect("will not renew" in after.text, after.text)
        self.member_page(self.li, "Active", "Does not renew")
        contracts = self.state()["contracts"]
        expect(contracts[0]["state"] == "TERMINATED", str(contracts[0]))

    # Staff, in the admin

    def refund(self):
        self.log_in(self.staff, STAFF)
        self.order_url = next(
            link for link in _absolute(self.staff.open(f"{self.shop}/admin/django_wxpay/order/"))
            if link.endswith("/change/")
        )  # fmt: skip
        self.request_refund("8.00", "late tea")

    def log_in(self, browser, login):
        page = browser.open(f"{self.shop}/admin/")
        browser.submit(page, page.form("username", "password"), username=login[0], password=login[1])

    def request_refund(self, amount, reason) -> Page:
        question = self.staff.open(self.staff.open(self.order_url).link("order/1/refund/"))
        page = self.staff.submit(question, question.form("amount", "reason"), amount=amount, reason=reason)
        if f"Refund HK${amount}" not in page.text:
            return page
        return self.staff.submit(page, page.form("amount", "reason"))

    def refund_too_much(self):
        answer = self.request_refund("30.01", "too much")
        expect(answer.url.endswith("/refund/"), f"accepted: {answer.url} {answer.text}")
        expect(len(self.state()["refunds"]) == 1, "a second refund was made")

    def see_nothing_open(self):
        for model, empty in (("discrepancy", "0 discrepancies"), ("notification", "")):
            page = self.staff.open(f"{self.shop}/admin/django_wxpay/{model}/")
            expect(empty in page.text, page.text)
            expect("FAILED" not in page.text, page.text)

    # Chan, in the mini program

    def sign_by_api(self):
        # A mini program brings a login of its own; here the session comes from the shop's pages.
        page = self.chan.open(self.shop)
        form = next(form for form in page.forms if form["action"].endswith("/join/pot-hkd/"))
        self.chan.submit(page, form, name="Chan Tai Man")
        made = self.call_api(self.chan, "POST", f"{self.shop}/wxpay/contracts/", {"offer": "leaf-cny"})
        expect(made["launch"]["path"].startswith("pages/"), str(made))
        self.chan_session = made["launch"]["path"].rpartition("=")[2]
        self.chan_contract = f"{self.shop}/wxpay/contracts/{made['out_contract_code']}/"

    def call_api(self, browser, method, url, body=None, status=None):
        headers = {"X-CSRFToken": browser.session.cookies["csrftoken"], "Referer": self.shop}
        answer = browser.session.request(method, url, json=body, headers=headers, timeout=ANSWER_SECONDS)
        is_expected = answer.ok if status is None else answer.status_code == status
        expect(is_expected, f"{method} {url}: {answer.status_code} {answer.text}")
        return answer.json()

    def see_polled(self):
        self.control("faults", target="notification", kind="lost", path="PAPAY.SIGN")
        self.control(f"contracts/{self.chan_session}/sign")
        expect(
            self.call_api(self.chan, "GET", self.chan_contract)["state"] == "SIGNED",
            "the status endpoint has not asked",
        )
        self.member_page(self.chan, "Active", "CN¥35.00", "Paid")

    def terminate_in_wechat(self):
        self.control(f"contracts/{self.state()['contracts'][-1]['contract_id']}/terminate")
        self.member_page(self.chan, "Does not renew")

    # The cashier, at the till

    def scan(self):
        self.log_in(self.cashier, CASHIER)
        expect("Till" in self.cashier.open(f"{self.shop}/till/").text, "no till")
        payment = self.charge(2100, "HKD", "134000000000000001")
        expect(payment["outcome"] == "PAID", str(payment))

    def wait_for_the_password(self):
        payment = self.charge(1250, "CNY", self.code_of("USERPAYING, paid after 5 s"))
        expect(payment["outcome"] == "WAIT", str(payment))
        payment = self.outcome(payment)
        expect(payment["outcome"] == "PAID", str(payment))

    def refuse_the_poor(self):
        payment = self.outcome(self.charge(38000, "HKD", self.code_of("refused: not enough money")))
        expect(payment["outcome"] == "NOT_PAID" and "Not enough money" in payment["instruction"], str(payment))

    def scan_wrong(self):
        asked = len(self.state()["orders"])
        self.charge(500_001, "HKD", "134000000000000002", status=404)
        refusal = self.charge(900, "HKD", "4006381333931", status=400)
        expect(refusal["field"] == "auth_code", str(refusal))
        expect(len(self.state()["orders"]) == asked, "WeChat Pay was asked")

    def leave_undecided(self):
        self.undecided = self.charge(800, "HKD", self.code_of("USERPAYING for ever: must be reversed"))
        expect(self.undecided["outcome"] == "WAIT", str(self.undecided))

    def see_reversed(self):
        number, end = self.undecided["out_trade_no"], time.monotonic() + STEP_SECONDS
        while self.state_of(number) == "USERPAYING" and time.monotonic() < end:
            time.sleep(0.5)
        expect(self.state_of(number) == "REVOKED", f"{number} is {self.state_of(number)} at WeChat Pay")
        payment = self.outcome(self.undecided)
        expect(payment["outcome"] == "NOT_PAID" and payment["state"] == "REVOKED", str(payment))

    def code_of(self, outcome):
        """The sandbox's payment code with that outcome."""
        listed = requests.get(f"{self.sandbox}/special", timeout=ANSWER_SECONDS).json()["payments"]
        return next(one["auth_code"] for one in listed if one["outcome"].startswith(outcome))

    def charge(self, amount, currency, code, status=201):
        asked = {"amount": amount, "currency": currency, "auth_code": code, "reference": f"receipt-{amount}"}
        return self.call_api(self.cashier, "POST", f"{self.shop}/wxpay/quick-payments/", asked, status)

    def outcome(self, payment):
        """What the till hears when it asks again until there is nothing to wait for."""
        end = time.monotonic() + STEP_SECONDS
        while payment["outcome"] == "WAIT" and time.monotonic() < end:
            time.sleep(0.5)
            url = f"{self.shop}/wxpay/quick-payments/{payment['out_trade_no']}/"
            payment = self.call_api(self.cashier, "GET", url)
        return payment

    # A course of three lessons

    def sign_up(self):
        page = self.li.open(f"{self.shop}/courses/")
        expect("Leaf and water" in page.text and "CN¥0.00" in page.text, page.text)
        phone = self.li.submit(page, next(form for form in page.forms if "/sign-up/" in form["action"]))
        expect(phone.url.startswith(self.demo.sandbox) and "Tea course" in phone.text, f"led to {phone.url}")
        back = self.li.submit(phone, phone.form("do"), do="agree")
        expect(back.url == f"{self.shop}/courses/", f"led to {back.url}")
        self.watch_page(self.li, "courses/", "Signed")

    def hold(self, deed, *texts) -> Page:
        """The trainer's button of that name, as soon as it is there, and what the page says then."""
        page = self.watch_page(
            self.staff, "trainer/", {"begin": "Begin", "end": "End the", "cancel": "Cancel the"}[deed]
        )
        self.staff.submit(page, next(form for form in page.forms if form["action"].endswith(f"/{deed}/")))
        return self.watch_page(self.staff, "trainer/", *texts)

    def hold_first(self):
        self.hold("begin", "Under way")
        self.hold("end", "Paid")
        self.watch_page(self.li, "courses/", "CN¥120.00 Paid")

    def refund_lesson(self):
        listed = _absolute(self.staff.open(f"{self.shop}/admin/django_wxpay/order/?product__exact=PAYSCORE"))
        url = next(link for link in listed if link.partition("?")[0].endswith("/change/"))
        question = self.staff.open(url.partition("change/")[0] + "refund/")
        page = self.staff.submit(question, question.form("amount", "reason"), amount="20.00", reason="cold tea")
        self.staff.submit(page, page.form("amount", "reason"))
        self.watch_page(self.li, "courses/", "−CN¥20.00", "Refunded")

    def cancel_second(self):
        self.hold("begin", "Under way")
        self.hold("cancel", "Cancelled")
        self.watch_page(self.li, "courses/", "Cancelled")

    def hold_third(self):
        self.hold("begin", "Under way")
        self.hold("end", "Held, free", "No lesson is left.")
        self.watch_page(self.li, "courses/", "All lessons held")

    def sign_lost(self):
        self.control("faults", target="notification", kind="lost", path="PAYSCORE.USER_SIGN_PLAN")
        made = self.call_api(self.chan, "POST", f"{self.shop}/wxpay/sign-plans/", {"offer": "tea-course"})
        expect(made["launch"]["businessType"] == "wxpayScorePlan", str(made))
        number = made["merchant_sign_plan_no"]
        self.control(f"sign-plans/{number}/confirm")
        shown = self.call_api(self.chan, "GET", f"{self.shop}/wxpay/sign-plans/{number}/")
        expect(shown["state"] == "SIGNED", str(shown))
        self.control(f"sign-plans/{number}/revoke")
        self.watch_page(self.chan, "courses/", "Cancelled")

    # A market where customers sell

    def become_sellers(self):
        for browser, name in ((self.wang, "Wang Jun"), (self.zhou, "Zhou Lan")):
            page = browser.open(f"{self.shop}/market/")
            form = next(form for form in page.forms if form["action"].endswith("/market/sell/"))
            phone = browser.submit(page, form, name=name)
            expect("Let this platform's buyers pay you?" in phone.text and "form A" in phone.text, phone.text)
            back = browser.submit(phone, phone.form("do"), do="agree")
            expect("You may be paid" in back.text, f"{back.url} says {back.text}")

    def buy_both(self):
        page = self.watch_page(self.mei, "market/", "Wang Jun", "Zhou Lan")
        things = re.findall(r'name="thing" value="(\d+)"', page.html)
        expect(len(things) == 2, page.text)
        form = next(form for form in page.forms if form["action"].endswith("/market/buy/"))
        phone = self.mei.submit(page, form, name="Mei Fang", thing=things)
        expect("One payment, 2 payees." in phone.text, phone.text)
        back = self.mei.submit(phone, phone.form("do"), do="pay")
        expect("Paid" in back.text, f"{back.url} says {back.text}")

    def refund_thing(self):
        listed = _absolute(self.staff.open(f"{self.shop}/admin/django_wxpay/order/?product__exact=COMBINE"))
        url = next(link for link in listed if link.partition("?")[0].endswith("/change/"))
        question = self.staff.open(url.partition("change/")[0] + "refund/")
        page = self.staff.submit(question, question.form("amount", "reason"), amount="10.00", reason="a crack")
        self.staff.submit(page, page.form("amount", "reason"))
        self.watch_page(self.mei, "market/", "−CN¥10.00", "Refunded")

    def withdraw_seller(self):
        openid = next(row["openid"] for row in self.state()["payees"] if row["openid"].startswith("o-zhou"))
        self.control(f"payees/{openid}/withdraw")
        page = self.mei.open(f"{self.shop}/market/")
        things = re.findall(r'name="thing" value="(\d+)"', page.html)
        form = next(form for form in page.forms if form["action"].endswith("/market/buy/"))
        refused = self.mei.submit(page, form, thing=things)
        expect("This cannot be bought at the moment" in refused.text, refused.text)
        left = re.findall(r'name="thing" value="(\d+)"', refused.html)
        expect(len(left) == 1 and "Zhou Lan" not in refused.text.partition("For sale")[2], refused.text)

    # WeChat Pay's side

    def forge(self):
        answer = requests.post(
            f"{self.shop}/wxpay/notify/default/",
            data=b'{"id":"forged","event_type":"TRANSACTION.SUCCESS"}',
            headers={
                "Content-Type": "application/json",
                "Wechatpay-Timestamp": str(int(time.time())),
                "Wechatpay-Nonce": "forged",
                "Wechatpay-Serial": "0123456789ABCDEF",
                "Wechatpay-Signature": "Zm9yZ2Vk",
            },
            timeout=ANSWER_SECONDS,
        )
        expect(answer.status_code == 401, f"{answer.status_code} {answer.text}")

    def compare(self):
        state = self.state()
        expect([row["state"] for row in state["contracts"]] == ["TERMINATED"] * 2, str(state["contracts"]))
        paid = [row for row in state["orders"] if row["trade_state"] in ("SUCCESS", "REFUND")]
        expect(len(paid) == 7, str(state["orders"]))
        expect([row["status"] for row in state["refunds"]] == ["SUCCESS"] * 3, str(state["refunds"]))
        lessons = [row["state"] for row in state["service_orders"]]
        expect(lessons == ["DONE", "REVOKED", "DONE"], str(state["service_orders"]))
        plans = [row["sign_state"] for row in state["sign_plans"]]
        expect(plans == ["COMPLETE", "SIGN_PLAN_CANCEL"], str(state["sign_plans"]))

    def download_statement(self):
        yesterday = datetime.now(ZoneInfo("Asia/Shanghai")).date() - timedelta(days=1)
        self.control(f"statements/{yesterday:%Y%m%d}", rows=1000)
        output = self.demo.processes.run(
            sys.executable, "-m", "django", "wxpay_download_bills", "--date", str(yesterday)
        )
        expect("1000 rows" in output, output)

    def state_of(self, out_trade_no):
        return next(row["trade_state"] for row in self.state()["orders"] if row["out_trade_no"] == out_trade_no)

    def state(self):
        return requests.get(f"{self.sandbox}/state", timeout=ANSWER_SECONDS).json()

    def control(self, address, **given):
        answer = requests.post(f"{self.sandbox}/{address}", json=given, timeout=ANSWER_SECONDS)
        expect(answer.ok, f"{address}: {answer.status_code} {answer.text}")
        return answer.json()

    def member_page(self, browser: Browser, *texts) -> Page:
        """The member's page, as soon as it says all this; waited for as long as it goes on changing."""
        return self.watch_page(browser, "member/", *texts)

    def watch_page(self, browser: Browser, address: str, *texts) -> Page:
        """A page of the shop, as soon as it says all this; waited for as long as it goes on changing."""
        seen, changed = "", time.monotonic()
        while True:
            page = browser.open(f"{self.shop}/{address}")
            missing = [text for text in texts if text not in page.text]
            if not missing:
                return page
            if page.text != seen:
                seen, changed = page.text, time.monotonic()
            waited = time.monotonic() - changed
            expect(waited < STEP_SECONDS, f"unchanged for {waited:.0f} s, the page lacks {missing}: {page.text}")
            self.demo.processes.watch()
            time.sleep(0.25)


def expect(holds, otherwise: str) -> None:
    if not holds:
        raise StepFailed(otherwise)


def _absolute(page: Page):
    return [requests.compat.urljoin(page.url, link) for link in page.links]


def main() -> int:
    begun = time.monotonic()
    try:
        demo = Demo(ROOT / "var" / "demo-check", afresh=True)
    except RunsAlready as problem:
        print(problem, file=sys.stderr)
        return 1
    with demo:
        try:
            demo.start()
            _print_step("shop, sandbox, worker and beat are running", begun)
            for words, step in Story(demo).steps():
                step_begun = time.monotonic()
                step()
                demo.processes.watch()
                _print_step(words, step_begun)
            codes = demo.stop()
            expect(codes["worker"] == codes["beat"] == codes["sandbox"] == 0, f"the programs ended with {codes}")
            _print_step("all programs have stopped", time.monotonic())
        except (StepFailed, ProcessEnded, LookupError, requests.RequestException) as problem:
            print(f"  ✗ {words if 'words' in locals() else 'start'}\n\n{problem}\n\nLogs: {demo.processes.folder}")
            return 1
    print(f"The whole story, in {time.monotonic() - begun:.0f} s.")
    return 0


def _print_step(words: str, begun: float) -> None:
    print(f"  ✓ {words} ({time.monotonic() - begun:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
