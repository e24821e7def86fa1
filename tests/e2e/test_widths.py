"""The shop's and the admin's newer pages on a phone, a tablet and a desk, with what the other stories left there."""

import pytest

WIDTHS = (390, 1024, 1440)
LANGUAGES = ("en", "zh-Hans")
ASKING = {
    "payscoreplan": ["stop"],
    "signplan": ["start", "cancel"],
    "serviceorder": ["complete", "modify", "report_paid", "cancel"],
    "payeeauthorization": ["query"],
    "combineorder": ["close", "query"],
}  # pages that ask before something is done, or say why it cannot be


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_its_screen_in_both_languages(browser, demo, picture, language):
    context = browser.new_context(locale=language)
    page = context.new_page()
    try:
        page.goto(f"{demo.shop}/admin/")
        page.locator("[name=username]").fill("staff")
        page.locator("[name=password]").fill("kettle")
        page.locator("[type=submit]").click()
        pages = ["courses/", "trainer/", "market/", "admin/django_wxpay/payscoreplan/create/"]
        for model in ASKING:
            page.goto(f"{demo.shop}/admin/django_wxpay/{model}/")
            pages.append(f"admin/django_wxpay/{model}/")
            row = page.locator("#result_list tbody tr").first.locator("th a")
            if row.count():
                shown = row.get_attribute("href").partition("?")[0].lstrip("/")
                pages += [shown, *(shown.replace("/change/", f"/{name}/") for name in ASKING[model])]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for address in pages:
                page.goto(f"{demo.shop}/{address}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, width)
                picture(f"look-{language}-{width}-{address.strip('/').replace('/', '-')}", page)
    finally:
        context.close()
