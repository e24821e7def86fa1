"""The phone speaks Chinese to whoever's browser asks for it, and all of it does."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

from django_wxpay.sandbox import phone, words
from tests.sandbox.shop import School, Shop
from tests.sandbox.test_combine_orders import Bazaar

TEMPLATES = sorted((Path(phone.__file__).parent / "templates" / "sandbox").glob("*.html"))
IN_CHINA = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
DESK = '<div class="desk"'  # what developers look at stays English


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_text_of_a_phone_page_is_written_past_the_words(template):
    page = template.read_text().partition(DESK)[0]
    page = re.sub(r"<style>.*?</style>|<script>.*?</script>|<code>.*?</code>", "", page, flags=re.DOTALL)
    page = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", "", page, flags=re.DOTALL)
    assert re.findall(r"[A-Za-z]{2,}", page) == []


def test_every_text_has_its_chinese_and_no_chinese_is_left_over():
    said = {text for path in TEMPLATES for text in re.findall(r'say\("([^"]*)"\)', path.read_text())}
    said |= set(re.findall(r'words\.say\("([^"]*)"\)', Path(phone.__file__).read_text()))
    said |= set(phone.CHANNEL_NAMES.values())
    assert said == set(words.IN_CHINESE)
    for text, chinese in words.IN_CHINESE.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", chinese))


def test_the_phone_speaks_chinese_to_who_prefers_it(app):
    shop, school, market, browser = Shop(app), School(app), Bazaar(app), app.test_client()
    session_id = shop.pre_sign("c1").json()["session_id"]
    opened = school.post(school.sign_plans, **school.signing_body(school.plan())).json()
    payment = market.payment(market.placed()[1])
    pages = {
        "/_sandbox/": ("用户的手机", "The user's phone"),
        f"/_sandbox/phone?session_id={session_id}": ("允许该商户扣款吗", "Allow this merchant to deduct?"),
        f"/global/papay/contracts/sessions/show_code?os_session_id={session_id}": ("扫码签约", "Scan to sign"),
        f"/_sandbox/phone/sign-plan?{urlencode({'package': opened['package']})}": ("先使用", "Use now, pay after"),
        f"/_sandbox/phone/payee?{urlencode(market.request_sign())}": ("允许该平台的买家", "Let this platform"),
        f"/_sandbox/phone/payment?{urlencode(payment)}": ("2 位收款人", "2 payees"),
    }
    for page, (chinese, english) in pages.items():
        shown = browser.get(page, headers=IN_CHINA).text
        assert chinese in shown and english not in shown.replace("&#39;", "'") and '<html lang="zh-Hans">' in shown
        for language in ({}, {"Accept-Language": "fr"}, {"Accept-Language": "en-GB,zh;q=0.5"}):
            shown = browser.get(page, headers=language).text.replace("&#39;", "'")
            assert english in shown and chinese not in shown and '<html lang="en">' in shown
