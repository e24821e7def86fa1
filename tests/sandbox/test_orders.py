import pytest
import requests

PAPAY = "/v3/global/papay/transactions"


def query(shop, number):
    return shop.get(f"{PAPAY}/out-trade-no/{number}", **shop.sub)


def reverse(shop, number):
    return shop.post(f"{PAPAY}/out-trade-no/{number}/reverse", **shop.sub)


def test_a_deduction_is_paid_at_once_and_told(any_shop, mailbox):
    shop = any_shop
    contract = shop.signed()
    shop.sandbox.deliver_due()
    order = shop.deduct(contract, "d1", attach="m42").json()
    assert (order["trade_state"], order["trade_type"], order["attach"]) == ("SUCCESS", "AUTH", "m42")
    assert order["amount"]["total"] == 3800 and order["amount"]["payer_total"] == 3496
    assert order["contract_id"] == contract["contract_id"]
    assert list(order["payer"]) == (["openid"] if shop.mode == "direct" else ["sp_openid", "sub_openid"])
    assert query(shop, "d1").json() == order
    assert shop.get(f"{PAPAY}/{order['transaction_id']}", **shop.sub).json() == order
    shop.sandbox.deliver_due()
    assert mailbox.types[-1] == "TRANSACTION.SUCCESS"
    assert mailbox.message(shop) == order


def test_a_payer_has_another_openid_under_each_appid(institution):
    contract = institution.signed("c1", openid="o-under-sub-appid")
    payer = institution.deduct(contract, "d1").json()["payer"]
    assert payer["sub_openid"] == "o-under-sub-appid" != payer["sp_openid"]
    assert institution.deduct(contract, "d2").json()["payer"] == payer
    other = institution.signed("c2", openid="o-other")
    assert institution.deduct(other, "d3").json()["payer"]["sp_openid"] != payer["sp_openid"]


def test_without_a_sub_appid_the_openid_is_the_institutions(institution):
    del institution.merchant["sub_appid"]
    contract = institution.signed("c1", openid="o-under-sp-appid")
    assert institution.deduct(contract, "d1").json()["payer"] == {"sp_openid": "o-under-sp-appid"}


def test_a_number_charges_once(shop):
    contract = shop.signed()
    shop.deduct(contract, "d1")
    again, other = shop.deduct(contract, "d1"), shop.deduct(contract, "d1", total=3900)
    assert (again.status_code, again.json()["code"]) == (400, "ORDER_PAID")
    assert (other.status_code, other.json()["code"]) == (403, "OUT_TRADE_NO_USED")
    assert len(shop.sandbox.describe()["orders"]) == 1


def test_an_ended_or_unknown_contract_is_not_charged(shop):
    contract = shop.signed()
    shop.sandbox.contracts.terminate_by_user("c1")
    for number in (contract["contract_id"], "999"):
        answer = shop.deduct({"contract_id": number}, "d1")
        assert (answer.status_code, answer.json()["code"]) == (403, "NO_AUTH")
    assert query(shop, "d1").json()["code"] == "ORDER_NOT_EXIST"


def test_a_contract_of_another_sub_merchant_is_not_charged(shop, institution):
    contract = shop.signed()
    assert institution.deduct(contract, "d1").json()["code"] == "NO_AUTH"


@pytest.mark.parametrize("address", ["192.0.2.30", "2001:db8::1", "::ffff:192.0.2.30"])
def test_addresses_of_both_kinds_are_taken(shop, address):
    answer = shop.deduct(shop.signed(), "d1", scene_info={"device_ip": address})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("number", "status", "code", "state"),
    [
        (1, 403, "NOT_ENOUGH", "NOTPAY"),
        (2, 403, "RULE_LIMIT", "NOTPAY"),
        (13, 202, "USERPAYING", "USERPAYING"),
        (20, 500, "SYSTEM_ERROR", "SUCCESS"),
        (25, 500, "BANK_ERROR", "USERPAYING"),
    ],
)
def test_special_amounts_are_refused_as_announced(shop, number, status, code, state):
    answer = shop.deduct(shop.signed(), "d1", total=6_660_000 + number)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert query(shop, "d1").json()["trade_state"] == state


@pytest.mark.parametrize(("number", "end"), [(10, "SUCCESS"), (12, "PAYERROR"), (11, "USERPAYING")])
def test_a_waiting_payment_ends_as_announced(shop, mailbox, number, end):
    order = shop.deduct(shop.signed(), "d1", total=6_660_000 + number).json()
    assert order["trade_state"] == "USERPAYING" and "success_time" not in order
    shop.sandbox.advance(6)
    assert query(shop, "d1").json()["trade_state"] == end
    assert ("TRANSACTION.SUCCESS" in mailbox.types) == (end == "SUCCESS")


def test_what_waits_is_reversed_and_its_number_is_spent(any_shop):
    shop = any_shop
    contract = shop.signed()
    shop.deduct(contract, "d1", total=6_660_011)
    assert reverse(shop, "d1").status_code == 204
    assert reverse(shop, "d1").status_code == 204
    assert query(shop, "d1").json()["trade_state"] == "CLOSED"
    assert shop.deduct(contract, "d1", total=6_660_011).json()["code"] == "ORDER_CLOSED"


def test_a_paid_deduction_cannot_be_reversed(shop):
    shop.deduct(shop.signed(), "d1")
    assert reverse(shop, "d1").json()["code"] == "ORDER_PAID"
    assert reverse(shop, "d2").json()["code"] == "ORDER_NOT_EXIST"


@pytest.mark.parametrize("number", [21, 24])
def test_what_failed_before_it_was_done_works_the_second_time(shop, number):
    contract = shop.signed()
    assert shop.deduct(contract, "d1", total=6_660_000 + number).status_code in (429, 500)
    assert query(shop, "d1").status_code == 404
    assert shop.deduct(contract, "d1", total=6_660_000 + number).json()["trade_state"] == "SUCCESS"


def test_a_lost_answer_is_a_read_timeout_after_the_charge(shop):
    with pytest.raises(requests.ReadTimeout):
        shop.deduct(shop.signed(), "d1", total=6_660_022)
    assert query(shop, "d1").json()["trade_state"] == "SUCCESS"


def test_a_closed_connection_charges_nothing(shop):
    with pytest.raises(requests.ConnectionError):
        shop.deduct(shop.signed(), "d1", total=6_660_023)
    assert query(shop, "d1").status_code == 404


def test_the_user_pays_on_the_phone(app, shop):
    shop.deduct(shop.signed(), "d1", total=6_660_011)
    assert app.test_client().post("/_sandbox/orders/d1/pay").json["trade_state"] == "SUCCESS"
    assert query(shop, "d1").json()["trade_state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/amount/total", {"amount": {"total": 0, "currency": "HKD"}}),
        ("/amount/total", {"amount": {"total": 1.5, "currency": "HKD"}}),
        ("/amount/total", {"amount": {"currency": "HKD"}}),
        ("/amount/currency", {"amount": {"total": 1, "currency": "XXX"}}),
        ("/amount", {"amount": 5}),
        ("/description", {"description": "x" * 129}),
        ("/attach", {"attach": "x" * 128}),
        ("/out_trade_no", {"out_trade_no": "a/b"}),
        ("/merchant_category_code", {"merchant_category_code": "57"}),
        ("/notify_url", {"notify_url": "https://shop.example/?a"}),
        ("/scene_info/device_id", {"scene_info": {"device_id": "x" * 33}}),
        ("/scene_info/device_ip", {"scene_info": {"device_ip": "till-3"}}),
        ("/scene_info/device_ip", {"scene_info": {"device_ip": "192.0.2.300"}}),
        ("/scene_info/device_ip", {"scene_info": {"device_ip": "fe80::1%eth0"}}),
        ("/scene_info/device_ip", {"scene_info": {"device_ip": 3221226014}}),
    ],
)
def test_wrong_fields_are_refused_and_named(shop, pointer, change):
    answer = shop.deduct({"contract_id": "1"}, "d1", **change)
    assert (answer.status_code, answer.json()["detail"]["field"]) == (400, pointer)


def test_an_institution_must_say_for_whom_it_asks(institution):
    institution.deduct(institution.signed(), "d1")
    answer = institution.get(f"{PAPAY}/out-trade-no/d1")
    assert answer.json()["detail"] == {
        "field": "/sub_mchid",
        "value": "",
        "issue": "is required",
        "location": "query",
    }
