"""Combined orders and refunds of their parts, asked for as any client would; and what WeChat's client looks at."""

import base64
import secrets
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.sandbox.shop import NOTIFY_URL
from tests.sandbox.test_payees import Market
from tests.sandbox.test_payscore import refused

ROOT, REFUNDS = "/v3/combine-transactions", "/v3/ecommerce/refunds"


class Bazaar(Market):
    def part(self, **changes):
        openid = self.number("o-payee")
        auth_id = self.sandbox.payees.authorize(openid, mchid=self.mchid)["individual_auth_id"]
        known = {
            "mchid": self.mchid, "individual_auth_id": auth_id, "out_trade_no": self.number("S"),
            "amount": {"total_amount": 1200, "currency": "CNY"}, "attach": "item", "description": "used book",
        }  # fmt: skip
        return known | changes

    def body(self, *subs, **changes):
        known = {
            "combine_appid": self.appid, "combine_mchid": self.mchid, "combine_out_trade_no": self.number("C"),
            "combine_payer_info": {"openid": "o-payer"}, "sub_orders": list(subs) or [self.part(), self.part()],
            "notify_url": NOTIFY_URL, "trade_scenario": "RECOMMERCE",
        }  # fmt: skip
        return {name: value for name, value in (known | changes).items() if value is not None}

    def placed(self, *subs, **changes):
        body = self.body(*subs, **changes)
        answer = self.post(f"{ROOT}/miniprogram", **body)
        assert answer.status_code == 200, answer.text
        return body, answer.json()["prepay_id"]

    def order(self, body):
        return self.get(f"{ROOT}/out-trade-no/{body['combine_out_trade_no']}").json()

    def close(self, body, **changes):
        named = [{name: sub[name] for name in ("mchid", "out_trade_no", "individual_auth_id")} for sub in
                 body["sub_orders"]]  # fmt: skip
        asked = {"combine_appid": self.appid, "sub_orders": named} | changes
        return self.post(f"{ROOT}/out-trade-no/{body['combine_out_trade_no']}/close", **asked)

    def payment(self, prepay_id, **changes):
        """What wx.requestPayment is given."""
        given = {
            "timeStamp": str(int(time.time())), "nonceStr": secrets.token_hex(16), "package": f"prepay_id={prepay_id}",
            "signType": "RSA",
        } | changes  # fmt: skip
        lines = (self.appid, given["timeStamp"], given["nonceStr"], given["package"])
        message = "".join(f"{line}\n" for line in lines).encode()
        signed = base64.b64encode(self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
        return {"paySign": signed, **given}

    def refund(self, body, whole, part, refund=200, **changes):
        asked = {
            "individual_auth_id": part["individual_auth_id"], "sp_appid": self.appid,
            "combine_transaction_id": whole["combine_transaction_id"], "transaction_id": part["transaction_id"],
            "out_refund_no": self.number("R"), "amount": {"refund": refund, "total": 1200, "currency": "CNY"},
            "notify_url": NOTIFY_URL, "funds_account": "AVAILABLE",
        }  # fmt: skip
        return {name: value for name, value in (asked | changes).items() if value is not None}


@pytest.fixture(params=["direct", "partner"])
def market(app, request):
    return Bazaar(app, mode=request.param)


@pytest.fixture
def phone(app):
    return app.test_client()


def test_an_order_is_placed_queried_paid_and_told_once(market, phone, mailbox):
    body, prepay_id = market.placed()
    before = market.order(body)
    assert "combine_transaction_id" not in before
    assert {(one["trade_state"], "transaction_id" in one) for one in before["sub_orders"]} == {("NOTPAY", False)}
    told = phone.post("/_sandbox/request-payment", json=market.payment(prepay_id) | {"do": "pay"})
    assert told.status_code == 200
    shown = market.order(body)
    for sub, one in zip(body["sub_orders"], shown["sub_orders"], strict=True):
        assert (one["out_trade_no"], one["individual_auth_id"]) == (sub["out_trade_no"], sub["individual_auth_id"])
        assert one["trade_state"] == "SUCCESS" and one["transaction_id"] and one["success_time"]
        assert one["amount"]["payer_amount"] == 1200
    assert market.get(f"{ROOT}/id/{shown['combine_transaction_id']}").json() == shown
    market.sandbox.deliver_due()
    assert mailbox.types == ["TRANSACTION.SUCCESS"] and mailbox.message(market) == shown


def test_the_same_again_gives_the_same_prepay_id_for_two_hours_and_with_other_values_it_is_refused(market):
    body, first = market.placed()
    assert market.post(f"{ROOT}/miniprogram", **body).json()["prepay_id"] == first
    market.sandbox.advance(7201)
    assert market.post(f"{ROOT}/miniprogram", **body).json()["prepay_id"] != first
    changed = market.post(f"{ROOT}/miniprogram", **body | {"trade_scenario": "TIP"})
    assert refused(changed) == (403, "OUT_TRADE_NO_USED")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("PARAM_ERROR", {"combine_out_trade_no": "a/b"}),
        ("PARAM_ERROR", {"combine_payer_info": None}),
        ("PARAM_ERROR", {"sub_orders": []}),
        ("PARAM_ERROR", {"time_expire": "soon"}),
        ("PARAM_ERROR", {"time_expire": "2099-01-01 00:00:00+08:00"}),
        ("PARAM_ERROR", {"time_expire": "2020-01-01T00:00:00+08:00"}),
        ("PARAM_ERROR", {"scene_info": {"device_id": "till"}}),
        ("PARAM_ERROR", {"notify_url": "https://shop.example/?a=b"}),
        ("APPID_MCHID_NOT_MATCH", {"combine_appid": "wx0000000000000009"}),
        ("MCH_NOT_EXISTS", {"combine_mchid": "1900000999"}),
    ],
)
def test_an_order_that_cannot_be_is_refused(market, code, changes):
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(**changes)))[1] == code


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("PARAM_ERROR", {"amount": {"total_amount": 0, "currency": "CNY"}}),
        ("PARAM_ERROR", {"amount": {"total_amount": 1, "currency": "HKD"}}),
        ("PARAM_ERROR", {"description": "x" * 129}),
        ("INVALID_REQUEST", {"individual_auth_id": "IA-nobody"}),
        ("INVALID_REQUEST", {"mchid": "1900000999"}),
    ],
)
def test_a_part_that_cannot_be_is_refused(market, code, changes):
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(market.part(**changes))))[1] == code


def test_ten_parts_at_most_each_under_a_number_that_is_used_once(market):
    subs = [market.part() for _ in range(11)]
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(*subs))) == (400, "PARAM_ERROR")
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(subs[0], subs[0]))) == (400, "PARAM_ERROR")
    market.placed(*subs[:10])
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(subs[0]))) == (403, "OUT_TRADE_NO_USED")


def test_who_withdrew_is_not_paid(market):
    sub = market.part(out_trade_no="S-withdrawn")
    market.sandbox.payees.withdraw("o-payee1", mchid=market.mchid)
    assert refused(market.post(f"{ROOT}/miniprogram", **market.body(sub))) == (400, "INVALID_REQUEST")


def test_closing_wants_every_part_as_it_was_ordered_and_answers_204(market):
    body, _ = market.placed()
    named = [{name: sub[name] for name in ("mchid", "out_trade_no", "individual_auth_id")}
             for sub in body["sub_orders"]]  # fmt: skip
    for wrong in (named[:1], [*named, named[0]], [named[0], named[1] | {"individual_auth_id": "IA9"}]):
        assert refused(market.close(body, sub_orders=wrong)) == (400, "INVALID_REQUEST")
    done = market.close(body)
    assert (done.status_code, done.content) == (204, b"") and market.verifies(done.headers, b"")
    assert {one["trade_state"] for one in market.order(body)["sub_orders"]} == {"CLOSED"}
    assert refused(market.close(body)) == (400, "ORDER_CLOSED")
    assert refused(market.post(f"{ROOT}/miniprogram", **body)) == (400, "ORDER_CLOSED")


def test_while_the_payer_is_at_it_a_close_is_answered_202(market, phone):
    body, _ = market.placed()
    number, whose = body["combine_out_trade_no"], {"mchid": market.mchid}
    assert phone.post(f"/_sandbox/combine-orders/{number}/begin", json=whose).status_code == 200
    answer = market.close(body)
    assert refused(answer) == (202, "USERPAYING") and market.verifies(answer.headers, answer.content)
    phone.post(f"/_sandbox/combine-orders/{number}/leave", json=whose)
    assert market.close(body).status_code == 204


def test_a_paid_one_is_not_closed_and_a_failed_one_is(market, phone):
    paid, failed = market.placed()[0], market.placed()[0]
    whose = {"mchid": market.mchid}
    phone.post(f"/_sandbox/combine-orders/{paid['combine_out_trade_no']}/pay", json=whose)
    assert refused(market.close(paid)) == (400, "ORDER_PAID")
    phone.post(f"/_sandbox/combine-orders/{failed['combine_out_trade_no']}/fail", json=whose)
    assert {one["trade_state"] for one in market.order(failed)["sub_orders"]} == {"PAYERROR"}
    assert market.close(failed).status_code == 204
    answer = phone.post(f"/_sandbox/combine-orders/{failed['combine_out_trade_no']}/pay", json=whose)
    assert answer.status_code == 409
    assert phone.post(f"/_sandbox/combine-orders/{paid['combine_out_trade_no']}/sing", json=whose).status_code == 400
    assert phone.post("/_sandbox/combine-orders/nobodys/pay", json=whose).status_code == 404


def test_what_nobody_paid_in_time_closes_by_itself(market):
    soon = (datetime.now(timezone.utc) + timedelta(minutes=10)).isoformat()
    (body, _), (other, _) = market.placed(time_expire=soon), market.placed()
    market.sandbox.advance(601)
    assert {one["trade_state"] for one in market.order(body)["sub_orders"]} == {"CLOSED"}
    market.sandbox.advance(6 * 86400)
    assert {one["trade_state"] for one in market.order(other)["sub_orders"]} == {"NOTPAY"}
    market.sandbox.advance(86400)
    assert {one["trade_state"] for one in market.order(other)["sub_orders"]} == {"CLOSED"}


def test_none_waits_longer_than_seven_days(market):
    late = (datetime.now(timezone.utc) + timedelta(days=30)).isoformat()
    body, _ = market.placed(time_expire=late)
    market.sandbox.advance(7 * 86400 + 1)
    assert {one["trade_state"] for one in market.order(body)["sub_orders"]} == {"CLOSED"}


def test_who_plays_the_payer_says_whose_order_he_means(app, phone):
    markets = [Bazaar(app), Bazaar(app, mode="partner")]
    for market in markets:
        market.placed(combine_out_trade_no="C-same")
    answer = phone.post("/_sandbox/combine-orders/C-same/pay")
    assert answer.status_code == 409 and all(market.mchid in answer.json["message"] for market in markets)
    paid = phone.post("/_sandbox/combine-orders/C-same/pay", json={"mchid": markets[0].mchid})
    assert paid.json["mchid"] == markets[0].mchid


@pytest.mark.parametrize(
    "changes",
    [
        {"paySign": "AAAA"},
        {"signType": "MD5"},
        {"timeStamp": "1"},
        {"timeStamp": "soon"},
        {"nonceStr": "x" * 33},
        {"package": "prepay_id=wx0"},
        {"package": ""},
    ],
)
def test_what_wechats_client_would_not_open_fails(market, phone, changes):
    body, prepay_id = market.placed()
    given = market.payment(prepay_id) | changes
    assert phone.post("/_sandbox/request-payment", json=given | {"do": "pay"}).status_code == 400
    assert phone.get(f"/_sandbox/phone/payment?{urlencode(given)}").status_code == 400
    assert market.order(body)["sub_orders"][0]["trade_state"] == "NOTPAY"


@pytest.mark.parametrize(("deed", "state"), [("pay", "SUCCESS"), ("leave", "NOTPAY"), ("fail", "PAYERROR")])
def test_the_phone_shows_what_is_paid_to_whom_and_returns(market, phone, deed, state):
    body, prepay_id = market.placed()
    given = market.payment(prepay_id) | {"return_url": "http://shop.example/back"}
    page = phone.get(f"/_sandbox/phone/payment?{urlencode(given)}")
    assert all(words in page.text for words in ("24.00", "used book", market.mchid))
    back = phone.post(f"/_sandbox/phone/payment?{urlencode(given)}", data={"do": deed})
    assert (back.status_code, back.location) == (303, "http://shop.example/back")
    assert market.order(body)["sub_orders"][0]["trade_state"] == state


def test_a_part_is_refunded_queried_and_told(market, phone, mailbox):
    body, _ = market.placed()
    phone.post(f"/_sandbox/combine-orders/{body['combine_out_trade_no']}/pay", json={"mchid": market.mchid})
    whole = market.order(body)
    part = whole["sub_orders"][0]
    asked = market.refund(body, whole, part, reason="torn")
    accepted = market.post(f"{REFUNDS}/apply", **asked).json()
    assert accepted["refund_id"] and "status" not in accepted and "total" not in accepted["amount"]
    assert market.post(f"{REFUNDS}/apply", **asked).json() == accepted
    assert refused(market.post(f"{REFUNDS}/apply", **asked | {"reason": "x"})) == (400, "INVALID_REQUEST")
    market.sandbox.advance(3)
    by = {"individual_auth_id": part["individual_auth_id"]}
    shown = market.get(f"{REFUNDS}/out-refund-no/{asked['out_refund_no']}", **by).json()
    assert shown["status"] == "SUCCESS" and market.get(f"{REFUNDS}/id/{shown['refund_id']}", **by).json() == shown
    other = {"individual_auth_id": whole["sub_orders"][1]["individual_auth_id"]}
    wrong = market.get(f"{REFUNDS}/id/{shown['refund_id']}", **other)
    assert refused(wrong) == (404, "RESOURCE_NOT_EXISTS")
    told = mailbox.message(market)
    assert mailbox.types[-1] == "REFUND.SUCCESS" and told["individual_auth_id"] == part["individual_auth_id"]
    states = [one["trade_state"] for one in market.order(body)["sub_orders"]]
    assert states == ["REFUND", "SUCCESS"]


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (400, {"individual_auth_id": "IA9"}),
        (400, {"combine_transaction_id": "430"}),
        (404, {"transaction_id": "430"}),
        (404, {"out_trade_no": "elsewhere"}),
        (400, {"amount": {"refund": 1201, "total": 1200}}),
        (400, {"amount": {"refund": 1, "total": 2400}}),
        (400, {"funds_account": None}),
        (400, {"sp_appid": "wx0000000000000009"}),
    ],
)
def test_a_refund_that_cannot_be_is_refused(market, phone, status, changes):
    body, _ = market.placed()
    phone.post(f"/_sandbox/combine-orders/{body['combine_out_trade_no']}/pay", json={"mchid": market.mchid})
    whole = market.order(body)
    answer = market.post(f"{REFUNDS}/apply", **market.refund(body, whole, whole["sub_orders"][0], **changes))
    assert answer.status_code == status


def test_a_year_after_the_payment_it_is_too_late(market, phone):
    body, _ = market.placed()
    phone.post(f"/_sandbox/combine-orders/{body['combine_out_trade_no']}/pay", json={"mchid": market.mchid})
    whole = market.order(body)
    market.sandbox.advance(365 * 86400 + 60)
    answer = market.post(f"{REFUNDS}/apply", **market.refund(body, whole, whole["sub_orders"][0]))
    assert refused(answer) == (400, "INVALID_REQUEST")


def test_what_is_not_there_is_not_found(market):
    assert refused(market.get(f"{ROOT}/out-trade-no/nobodys")) == (404, "ORDER_NOT_EXIST")
    assert refused(market.get(f"{ROOT}/id/430")) == (404, "ORDER_NOT_EXIST")
    body = market.body()
    assert refused(market.close(body)) == (404, "ORDER_NOT_EXIST")
