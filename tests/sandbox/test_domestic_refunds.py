"""Refunds of the mainland's payments, asked for as any client would."""

import pytest

from django_wxpay.sandbox import special
from tests.sandbox.shop import NOTIFY_URL, School
from tests.sandbox.test_payscore import refused

REFUNDS = "/v3/refund/domestic/refunds"


def body_of(school, paid, refund=1000, total=10000, **changes):
    body = {
        **school.sub, "transaction_id": paid, "out_refund_no": school.number("R"), "notify_url": NOTIFY_URL,
        "amount": {"refund": refund, "total": total, "currency": "CNY"},
    }  # fmt: skip
    return {name: value for name, value in (body | changes).items() if value is not None}


def test_a_part_is_refunded_queried_and_told(school, mailbox):
    body = body_of(school, school.paid(), reason="rain", funds_account="AVAILABLE")
    accepted = school.post(REFUNDS, **body).json()
    assert accepted["status"] == "PROCESSING" and "success_time" not in accepted
    assert accepted["amount"]["total"] == 10000 and accepted["amount"]["refund"] == 1000
    school.sandbox.advance(3)
    shown = school.get(f"{REFUNDS}/{body['out_refund_no']}", **school.sub).json()
    assert shown["status"] == "SUCCESS" and shown["success_time"]
    told = mailbox.message(school)
    assert mailbox.types[-1] == "REFUND.SUCCESS" and told["refund_status"] == "SUCCESS"
    assert told["out_refund_no"] == body["out_refund_no"] and told["refund_id"] == shown["refund_id"]
    assert told.get("mchid" if school.mode == "direct" else "sp_mchid") == school.mchid
    assert told.get("sub_mchid") == school.sub.get("sub_mchid")


def test_the_same_refund_again_is_the_same_and_with_other_values_refused(school):
    body = body_of(school, school.paid())
    first = school.post(REFUNDS, **body).json()
    assert school.post(REFUNDS, **body).json()["refund_id"] == first["refund_id"]
    assert refused(school.post(REFUNDS, **body | {"reason": "other"})) == (400, "INVALID_REQUEST")


def test_the_service_orders_own_number_names_no_payment(school):
    number = school.completed(10000)
    body = body_of(school, None, out_trade_no=number)
    assert refused(school.post(REFUNDS, **body)) == (404, "RESOURCE_NOT_EXISTS")
    made_up = school.sandbox.orders.get(school.order(number)["collection"]["details"][0]["transaction_id"])
    body = body_of(school, None, out_trade_no=made_up["out_trade_no"])
    assert school.post(REFUNDS, **body).status_code == 200


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("INVALID_REQUEST", {"amount": {"refund": 10001, "total": 10000, "currency": "CNY"}}),
        ("INVALID_REQUEST", {"amount": {"refund": 1, "total": 9999, "currency": "CNY"}}),
        ("PARAM_ERROR", {"amount": {"refund": 1, "total": 10000, "currency": "HKD"}}),
        ("PARAM_ERROR", {"amount": {"refund": 0, "total": 10000, "currency": "CNY"}}),
        ("PARAM_ERROR", {"transaction_id": None}),
        ("PARAM_ERROR", {"out_trade_no": "both"}),
        ("PARAM_ERROR", {"out_refund_no": "a/b"}),
        ("PARAM_ERROR", {"out_refund_no": "x" * 65}),
        ("PARAM_ERROR", {"reason": "x" * 81}),
        ("PARAM_ERROR", {"funds_account": "BASIC"}),
        ("PARAM_ERROR", {"notify_url": "https://shop.example/?x=y"}),
    ],
)
def test_a_refund_that_cannot_be_is_refused(school, code, changes):
    answer = school.post(REFUNDS, **body_of(school, school.paid(), **changes))
    assert refused(answer) == (400, code)


def test_no_more_than_was_paid_is_ever_refunded(school):
    paid = school.paid()
    assert school.post(REFUNDS, **body_of(school, paid, 9000)).status_code == 200
    school.sandbox.advance(61)
    answer = school.post(REFUNDS, **body_of(school, paid, 1001))
    assert answer.status_code == 400
    assert school.post(REFUNDS, **body_of(school, paid, 1000)).status_code == 200


def test_a_year_after_the_payment_it_is_too_late(school):
    paid = school.paid()
    school.sandbox.advance(365 * 86400 + 60)
    assert refused(school.post(REFUNDS, **body_of(school, paid))) == (400, "INVALID_REQUEST")


def test_a_number_is_used_once_in_a_merchant(app, sandbox):
    partner = School(app, mode="partner")
    first = body_of(partner, partner.paid())
    partner.post(REFUNDS, **first)
    sandbox.add_sub_merchant("1900000310", "wx5a4d0b0c00000310", of=partner.mchid)
    partner.merchant = partner.merchant | {"mainland_sub_mchid": "1900000310"}
    body = body_of(partner, partner.paid(), out_refund_no=first["out_refund_no"])
    assert refused(partner.post(REFUNDS, **body)) == (400, "INVALID_REQUEST")


def test_what_is_not_ours_or_not_there_is_not_found(app):
    direct, partner = School(app), School(app, mode="partner")
    paid = direct.paid()
    assert refused(partner.post(REFUNDS, **body_of(partner, paid)))[0] == 404
    assert refused(direct.post(REFUNDS, **body_of(direct, "4200")))[1] == "RESOURCE_NOT_EXISTS"
    assert refused(direct.get(f"{REFUNDS}/nobodys"))[1] == "RESOURCE_NOT_EXISTS"


def test_special_amounts_mean_here_what_they_mean_everywhere(school):
    outcome = next(one for one in special.REFUNDS.values() if "ABNORMAL" in one.says.upper())
    paid = school.paid(9_999_999)
    body = body_of(school, paid, outcome.amount, 9_999_999)
    school.post(REFUNDS, **body)
    school.sandbox.advance(60)
    assert school.get(f"{REFUNDS}/{body['out_refund_no']}", **school.sub).json()["status"] == "ABNORMAL"
