import secrets

import pytest
import requests

PAY = "/v3/global/micropay/transactions"
QUERY = "/v3/global/transactions"


def code(special=None):
    return f"13666600000000{special:04d}" if special else f"13{secrets.randbelow(10**15):016d}"


def pay(shop, number="q1", auth_code=None, total=3800, **more):
    body = {
        **shop.numbers,
        **shop.appids,
        "description": "Coffee",
        "out_trade_no": number,
        "trade_type": "MICROPAY",
        "merchant_category_code": "5814",
        "payer": {"auth_code": auth_code or code()},
        "amount": {"total": total, "currency": "HKD"},
        "scene_info": {"device_id": "TILL-3"},
        **more,
    }
    return shop.request("POST", f"{PAY}/pay", body=body)


def query(shop, number="q1"):
    return shop.get(f"{QUERY}/out-trade-no/{number}", **shop.numbers)


def reverse(shop, number="q1"):
    return shop.post(f"{PAY}/out-trade-no/{number}/reverse", **shop.numbers)


def test_a_code_pays_at_once_and_nobody_is_notified(any_shop, mailbox):
    order = pay(any_shop).json()
    assert (order["trade_state"], order["trade_type"], order["amount"]["total"]) == ("SUCCESS", "MICROPAY", 3800)
    assert query(any_shop).json() == order
    assert any_shop.get(f"{QUERY}/id/{order['id']}", **any_shop.numbers).json() == order
    any_shop.sandbox.advance(60)
    assert mailbox.received == []


def test_a_code_pays_one_order_only(shop):
    used = code()
    pay(shop, "q1", used)
    again = pay(shop, "q2", used)
    assert (again.status_code, again.json()["code"]) == (400, "AUTH_CODE_INVALID")
    assert again.headers["Request-ID"].endswith("-268501784")
    assert pay(shop, "q1", used).json()["code"] == "ORDER_PAID"
    assert pay(shop, "q1", code(), total=1).json()["code"] == "OUT_TRADE_NO_USED"


TEA = {"goods_id": "tea-1", "wxpay_goods_id": "1001", "goods_name": "Tea", "quantity": 2, "price": 1900}
STORE = {"id": "0001", "name": "Central", "address": "1 Example Road"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_all_that_a_till_may_say_is_taken(shop, wrapped):
    """The manual calls the detail an object in one place and a list in another."""
    detail = {"cost_price": 3800, "receipt_id": "r-1", "goods_detail": [TEA, {**TEA, "price": 0}]}
    scene = {"device_ip": "192.0.2.30", "payer_client_ip": "2001:db8::1", "operator_id": "o1", "store_info": STORE}
    answer = pay(shop, scene_info=scene, detail=[detail] if wrapped else detail, limit_pay="no_credit", goods_tag="A")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/scene_info/device_ip", {"scene_info": {"device_ip": "1.2.3"}}),
        ("/scene_info/payer_client_ip", {"scene_info": {"payer_client_ip": "localhost"}}),
        ("/scene_info/operator_id", {"scene_info": {"operator_id": "x" * 33}}),
        ("/scene_info/store_info/name", {"scene_info": {"store_info": {"id": "1", "address": "a"}}}),
        ("/scene_info/store_info/address", {"scene_info": {"store_info": {"id": "1", "name": "a"}}}),
        ("/scene_info/store_info/id", {"scene_info": {"store_info": {**STORE, "id": "x" * 33}}}),
        ("/detail", {"detail": "tea"}),
        ("/detail", {"detail": {"goods_detail": [{**TEA, "goods_name": "x" * 200}] * 30}}),
        ("/detail/receipt_id", {"detail": {"receipt_id": "x" * 33}}),
        ("/detail/cost_price", {"detail": {"cost_price": "3800"}}),
        ("/detail/goods_detail", {"detail": {"goods_detail": []}}),
        ("/detail/goods_detail", {"detail": {"goods_detail": TEA}}),
        ("/detail/goods_detail/1/goods_id", {"detail": {"goods_detail": [TEA, {**TEA, "goods_id": "tea 1"}]}}),
        ("/detail/goods_detail/0/quantity", {"detail": {"goods_detail": [{**TEA, "quantity": 0}]}}),
        ("/detail/goods_detail/0/price", {"detail": {"goods_detail": [{"goods_id": "a", "quantity": 1}]}}),
        ("/detail/0/receipt_id", {"detail": [{"receipt_id": ""}]}),
    ],
)
def test_wrong_particulars_are_refused_and_named(shop, pointer, change):
    answer = pay(shop, **change)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]["field"]) == (
        400,
        "PARAM_ERROR",
        pointer,
    )


@pytest.mark.parametrize("wrong", ["12345", "163456789012345678", "13000000000000000x"])
def test_what_is_no_payment_code_is_refused(shop, wrong):
    assert pay(shop, auth_code=wrong).json()["code"] == "AUTH_CODE_INVALID"
    assert query(shop).status_code == 404


@pytest.mark.parametrize(
    ("special", "status", "error"),
    [(1, 403, "NOT_ENOUGH"), (30, 400, "AUTH_CODE_INVALID"), (31, 403, "AUTH_CODE_EXPIRE"), (20, 500, "SYSTEM_ERROR")],
)
def test_special_codes_are_refused_as_announced(shop, special, status, error):
    answer = pay(shop, auth_code=code(special))
    assert (answer.status_code, answer.json()["code"]) == (status, error)
    assert query(shop).json()["trade_state"] == ("SUCCESS" if special == 20 else "NOTPAY")


@pytest.mark.parametrize(("special", "end"), [(10, "SUCCESS"), (12, "PAYERROR"), (11, "USERPAYING")])
def test_a_password_is_asked_and_it_ends_as_announced(shop, special, end):
    assert pay(shop, auth_code=code(special)).json()["trade_state"] == "USERPAYING"
    shop.sandbox.advance(6)
    assert query(shop).json()["trade_state"] == end


def test_a_lost_answer_was_paid(shop):
    with pytest.raises(requests.ReadTimeout):
        pay(shop, auth_code=code(22))
    assert query(shop).json()["trade_state"] == "SUCCESS"


def test_a_reversal_has_an_earliest_and_a_latest_moment(any_shop):
    shop = any_shop
    pay(shop, "q1")
    early = reverse(shop)
    assert (early.status_code, early.json()["code"]) == (400, "INVALID_REQUEST")
    shop.sandbox.advance(86400)
    late = reverse(shop)
    assert late.json()["code"] == "INVALID_REQUEST" and late.headers["Request-ID"].endswith("-268449386")
    pay(shop, "q2", code(11))
    shop.sandbox.advance(16)
    assert reverse(shop, "q2").status_code == reverse(shop, "q2").status_code == 204
    assert query(shop, "q2").json()["trade_state"] == "REVOKED"
    assert pay(shop, "q2", code(11)).json()["code"] == "ORDER_REVERSED"


def test_a_paid_order_is_reversed_by_its_id_and_takes_no_refund(shop):
    shop.sandbox.set_clock(speed=1000)
    order = pay(shop).json()
    shop.sandbox.advance(0.1)
    assert shop.post(f"{PAY}/id/{order['id']}/reverse", **shop.numbers).status_code == 204
    assert shop.refund("q1", "r1", 100).json()["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("special", "first", "between", "end"),
    [
        (40, 400, "USERPAYING", "REVOKED"),
        (41, 500, "USERPAYING", "REVOKED"),
        (42, 500, "REVOKED", "REVOKED"),
        (43, 500, "SUCCESS", "REVOKED"),
    ],
)
def test_a_first_reversal_can_go_wrong(shop, special, first, between, end):
    pay(shop, auth_code=code(special))
    shop.sandbox.set_clock(speed=1000)
    shop.sandbox.advance(0.1)
    assert reverse(shop).status_code == first
    assert query(shop).json()["trade_state"] == between
    assert reverse(shop).status_code == 204
    assert query(shop).json()["trade_state"] == end


def test_close_is_not_for_quick_pay(shop):
    pay(shop, "q1")
    pay(shop, "q2", code(11))
    for number, error in (("q1", "ORDER_PAID"), ("q2", "INVALID_REQUEST"), ("q3", "ORDER_NOT_EXIST")):
        assert shop.post(f"{QUERY}/out-trade-no/{number}/close", **shop.numbers).json()["code"] == error


def test_refunds_work_as_for_every_order(shop, mailbox):
    order = pay(shop).json()
    shop.refund("q1", "r1", 1000, transaction_id=order["id"])
    shop.sandbox.advance(5)
    assert mailbox.types == ["REFUND.SUCCESS"]
    assert query(shop).json()["trade_state"] == "REFUND"


def test_a_deduction_is_no_quick_payment(shop):
    shop.deduct(shop.signed(), "d1")
    assert query(shop, "d1").json()["code"] == "ORDER_NOT_EXIST"
