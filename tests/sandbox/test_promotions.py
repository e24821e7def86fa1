import sqlite3

import pytest

from django_wxpay.sandbox import create_app
from tests.sandbox.test_quickpay import TEA, code, pay, query

PAPAY = "/v3/global/papay/transactions"
REFUNDS = "/v3/global/refunds"
COUPON, DISCOUNT = 50, 51


def test_a_coupon_pays_a_tenth_wherever_the_order_is_shown(any_shop, mailbox):
    shop = any_shop
    order = shop.deduct(shop.signed(), "d1", total=6_660_000 + COUPON).json()
    (coupon,) = order["promotion_detail"]
    assert (coupon["scope"], coupon["type"], coupon["amount"], coupon["currency"]) == (
        "GLOBAL",
        "COUPON",
        666005,
        "HKD",
    )
    assert coupon["amount"] == coupon["wxpay_contribute_amount"] and "goods_detail" not in coupon
    assert order["amount"]["total"] == 6660050
    assert order["amount"]["payer_total"] == round((6660050 - 666005) * 0.92)
    assert shop.get(f"{PAPAY}/out-trade-no/d1", **shop.sub).json() == order
    shop.sandbox.deliver_due()
    assert mailbox.message(shop) == order


def test_a_discount_names_the_goods_it_is_for(shop):
    order = pay(shop, auth_code=code(DISCOUNT), detail={"goods_detail": [TEA]}).json()
    (discount,) = order["promotion_detail"]
    assert (discount["scope"], discount["type"], discount["amount"]) == ("SINGLE", "DISCOUNT", 380)
    assert discount["goods_detail"] == [
        {"goods_id": "tea-1", "goods_remark": "Tea", "quantity": 2, "price": 1900, "discount_amount": 380}
    ]
    assert query(shop).json() == order
    assert pay(shop, "q2", code(DISCOUNT)).json()["promotion_detail"][0]["goods_detail"][0]["price"] == 3800


def test_an_ordinary_payment_has_no_promotion(shop):
    assert "promotion_detail" not in pay(shop).json()


@pytest.mark.parametrize("parts", [[3800], [1, 1899, 1900]])
def test_refunds_give_back_what_the_payer_paid_and_the_coupon_its_share(shop, mailbox, parts):
    paid = pay(shop, auth_code=code(COUPON)).json()
    back, shares = 0, 0
    for number, part in enumerate(parts):
        made = shop.refund("q1", f"r{number}", part).json()
        (promotion,) = made["promotion_detail"]
        assert (promotion["amount"], promotion["currency"]) == (380, "HKD")
        shares += promotion["refund_amount"]
        back += made["amount"]["payer_refund"]
        shop.sandbox.advance(61)
        assert mailbox.message(shop)["amount"]["payer_refund"] == made["amount"]["payer_refund"]
        assert shop.get(f"{REFUNDS}/out-refund-no/r{number}", **shop.numbers).json()["promotion_detail"] == [promotion]
    listed = shop.get(REFUNDS, out_trade_no="q1", offset=0, count=20, **shop.numbers).json()["data"]
    assert [one["refund_detail"][0]["promotion_id"] for one in listed] == [promotion["promotion_id"]] * len(parts)
    assert shares == 380 and abs(back - paid["amount"]["payer_total"]) <= len(parts)


def test_the_statement_names_the_voucher(shop):
    pay(shop, auth_code=code(COUPON))
    shop.sandbox.advance(2 * 86400)
    day = shop.sandbox.describe()["orders"][0]["success_at"][:10].replace("-", "")
    heading, line = (
        shop.request("GET", "/v3/global/statements", query={"date": day, "mchid": shop.mchid})
        .content.decode("utf-8-sig")
        .splitlines()
    )
    row = dict(zip(heading.split(","), line.replace("`", "").split(","), strict=True))
    assert (row["优惠券币种"], row["优惠券金额"], row["订单金额(标价币种)"]) == ("HKD", "3.80", "38.00")


def test_a_state_folder_of_an_earlier_version_is_taken_over(tmp_path):
    create_app(tmp_path).sandbox.close()
    with sqlite3.connect(tmp_path / "sandbox.sqlite3") as earlier:
        earlier.execute("ALTER TABLE orders DROP COLUMN promotion")
    earlier.close()
    sandbox = create_app(tmp_path).sandbox
    assert sandbox.store.all("SELECT promotion FROM orders") == []
    sandbox.close()
