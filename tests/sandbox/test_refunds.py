import pytest

REFUNDS = "/v3/global/refunds"


@pytest.fixture
def paid(any_shop):
    any_shop.deduct(any_shop.signed(), "d1")
    any_shop.sandbox.deliver_due()
    return any_shop


def one(shop, number):
    return shop.get(f"{REFUNDS}/out-refund-no/{number}", **shop.numbers)


def test_a_refund_succeeds_by_itself_and_is_told(paid, mailbox):
    made = paid.refund("d1", "r1", 1000, reason="item missing").json()
    assert set(made) == {"id", "out_refund_no", "create_time", "amount"}
    assert one(paid, "r1").json()["status"] == "PROCESSING"
    paid.sandbox.advance(3)
    shown = one(paid, "r1").json()
    assert (shown["status"], shown["amount"]["payer_refund"], shown["out_trade_no"]) == ("SUCCESS", 920, "d1")
    assert paid.get(f"{REFUNDS}/id/{made['id']}", **paid.numbers).json() == shown
    assert mailbox.types[-1] == "REFUND.SUCCESS"
    payload = mailbox.message(paid)
    assert (payload["refund_id"], payload["refund_status"], payload["amount"]["refund"]) == (
        made["id"],
        "SUCCESS",
        1000,
    )
    order = paid.get("/v3/global/papay/transactions/out-trade-no/d1", **paid.sub).json()
    assert order["trade_state"] == "REFUND"


@pytest.mark.parametrize(
    ("currency", "rate", "payer_refund"),
    [
        ("HKD", {"type": "SETTLEMENT_RATE", "rate": 92000000}, 920),
        ("JPY", {"type": "SETTLEMENT_RATE", "rate": 4800000}, 4800),
        ("CNY", None, 1000),
    ],
)
def test_every_message_of_a_refund_says_what_the_payer_gets_at_which_rate(shop, mailbox, currency, rate, payer_refund):
    """And from which funds, but for the answer to the request itself, which the manual keeps shorter."""
    shop.deduct(shop.signed(), "d1", currency=currency)
    made = shop.refund("d1", "r1", 1000, currency=currency, source="REFUND_SOURCE_RECHARGE_FUNDS").json()
    shop.sandbox.advance(3)
    (listed,) = shop.get(REFUNDS, **shop.numbers, out_trade_no="d1", offset=0, count=20).json()["data"]
    payload = mailbox.message(shop)
    for message in (made, one(shop, "r1").json(), listed, payload):
        amount = message["amount"]
        assert (amount["payer_refund"], amount["payer_currency"]) == (payer_refund, "CNY")
        assert amount.get("exchange_rate") == rate
        assert message is made or message["fund_source"] == "REFUND_SOURCE_RECHARGE_FUNDS"


def test_the_same_number_refunds_once(paid):
    first = paid.refund("d1", "r1", 1000)
    assert paid.refund("d1", "r1", 1000).json() == first.json()
    other = paid.refund("d1", "r1", 1100)
    assert (other.status_code, other.json()["code"]) == (400, "OUT_REFUND_NO_USED")
    assert len(paid.sandbox.describe()["refunds"]) == 1


def test_two_refunds_of_one_order_are_a_minute_apart(paid):
    paid.refund("d1", "r1", 1000)
    early = paid.refund("d1", "r2", 1000)
    assert (early.status_code, early.json()["code"]) == (429, "FREQUENCY_LIMITED")
    paid.sandbox.advance(61)
    assert paid.refund("d1", "r2", 1000).status_code == 200
    paid.sandbox.set_clock(speed=600)
    paid.sandbox.advance(0.2)
    assert paid.refund("d1", "r3", 1000).status_code == 200


def test_the_sum_the_total_and_the_window_are_kept(paid):
    assert paid.refund("d1", "r1", 3000).status_code == 200
    paid.sandbox.advance(61)
    assert paid.refund("d1", "r2", 801).json()["code"] == "INVALID_REQUEST"
    assert paid.refund("d1", "r2", 100, total=3900).json()["code"] == "INVALID_REQUEST"
    assert paid.refund("d1", "r2", 100, currency="CNY").json()["code"] == "INVALID_REQUEST"
    assert paid.refund("d9", "r2", 100).json()["code"] == "ORDER_NOT_EXIST"
    paid.sandbox.advance(366 * 86400)
    assert paid.refund("d1", "r2", 800).json()["code"] == "TRADE_OVERDUE"


def test_an_order_takes_fifty_refunds_and_lists_them_in_pages(paid):
    for number in range(50):
        assert paid.refund("d1", f"r{number}", 10).status_code == 200
        paid.sandbox.advance(61)
    assert paid.refund("d1", "r50", 10).json()["code"] == "INVALID_REQUEST"
    seen = []
    for offset, length in ((0, 20), (20, 20), (40, 10), (60, 0)):
        page = paid.get(REFUNDS, **paid.numbers, out_trade_no="d1", offset=offset, count=20).json()
        assert (page["total_num"], page["current_total_num"]) == (50, length)
        seen += [refund["out_refund_no"] for refund in page["data"]]
    assert seen == [f"r{number}" for number in range(50)]
    assert page["amount"]["total"] == 3800 and page["out_trade_no"] == "d1"


@pytest.mark.parametrize("wrong", [{"count": 21}, {"count": 0}, {"offset": -1}, {"count": "x"}])
def test_pages_have_limits(paid, wrong):
    answer = paid.get(REFUNDS, **{**paid.numbers, "out_trade_no": "d1", "offset": 0, "count": 20, **wrong})
    assert answer.json()["code"] == "PARAM_ERROR"


@pytest.fixture
def rich(shop):
    """A paid order large enough for special refund amounts."""
    shop.deduct(shop.signed(), "d1", total=20_000_000)
    return shop


@pytest.mark.parametrize(
    ("number", "status", "event"),
    [(1, "ABNORMAL", "REFUND.ABNORMAL"), (2, "REFUNDCLOSE", "REFUND.CLOSED"), (4, "PROCESSING", None)],
)
def test_special_amounts_end_as_announced(rich, mailbox, number, status, event):
    assert rich.refund("d1", "r1", 7_770_000 + number, total=20_000_000).status_code == 200
    rich.sandbox.advance(5)
    assert one(rich, "r1").json()["status"] == status
    assert [kind for kind in mailbox.types if kind.startswith("REFUND")] == ([event] if event else [])


@pytest.mark.parametrize(("number", "code"), [(3, "NOT_ENOUGH"), (7, "SYSTEM_ERROR"), (10, "FREQUENCY_LIMITED")])
def test_some_are_accepted_only_the_second_time(rich, number, code):
    asked = {"refund_number": "r1", "amount": 7_770_000 + number, "total": 20_000_000}
    assert rich.refund("d1", **asked).json()["code"] == code
    assert one(rich, "r1").json()["code"] == "REFUND_NOT_EXISTS"
    assert rich.refund("d1", **asked).status_code == 200


def test_an_abnormal_refund_can_still_succeed(rich, mailbox):
    rich.refund("d1", "r1", 7_770_009, total=20_000_000)
    rich.sandbox.advance(60)
    assert mailbox.types[-2:] == ["REFUND.ABNORMAL", "REFUND.SUCCESS"]


def test_a_refund_made_in_the_merchant_platform_is_found_and_told(app, paid, mailbox):
    body = {"out_trade_no": "d1", "amount": 500, "notify_url": "https://shop.example/n/", "mchid": paid.mchid}
    made = app.test_client().post("/_sandbox/refunds", json=body).json
    paid.sandbox.advance(3)
    assert mailbox.types[-1] == "REFUND.SUCCESS"
    page = paid.get(REFUNDS, **paid.numbers, out_trade_no="d1", offset=0, count=20).json()
    assert [refund["out_refund_no"] for refund in page["data"]] == [made["out_refund_no"]]


def test_the_recharge_balance_pays_refunds_until_it_is_empty(shop):
    shop.sandbox.recharge.set(1500)
    shop.deduct(shop.signed(), "d1")
    balance = "/v3/global/refund/recharge-balance"
    assert shop.get(balance).json() == {"remaining_amount": 1500, "currency": "HKD"}
    shop.refund("d1", "r1", 1000, source="REFUND_SOURCE_RECHARGE_FUNDS")
    assert shop.get(balance).json()["remaining_amount"] == 500
    shop.sandbox.advance(61)
    answer = shop.refund("d1", "r2", 1000, source="REFUND_SOURCE_RECHARGE_FUNDS")
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_ENOUGH")


def test_an_unpaid_order_is_not_refunded(shop):
    shop.deduct(shop.signed(), "d1", total=6_660_011)
    assert shop.refund("d1", "r1", 1, total=6_660_011).json()["code"] == "INVALID_REQUEST"
