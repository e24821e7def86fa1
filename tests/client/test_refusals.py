"""What answers outside 2xx mean: by code, by status, and by whether they are signed."""

import json
from datetime import datetime, timezone

import pytest

from django_wxpay.client.errors import APIError, NotFound, RateLimited, SetupError

from .wire import Reply, make_client


def post(client):
    return client.request("POST", "/v3/global/refunds", body={"a": 1})


@pytest.mark.parametrize(
    ("reply", "kind", "verified"),
    [
        (Reply(400, {"code": "PARAM_ERROR", "message": "m"}), APIError, True),
        (Reply(403, {"code": "NOT_ENOUGH", "message": "m"}), APIError, True),
        (Reply(403, {"code": "NOT_ENOUGH", "message": "m"}, name="stranger"), APIError, False),
        (Reply(404, {"code": "SOMETHING_NEW", "message": "m"}), APIError, True),
        (Reply(429, {"code": "FREQUENCY_LIMITED", "message": "m"}), RateLimited, True),
        (Reply(403, {"code": "RATELIMIT_EXCEEDED", "message": "m"}), RateLimited, True),
        (Reply(401, {"code": "SIGN_ERROR", "message": "m"}, sign=False), SetupError, False),
        (Reply(401, {"code": "", "message": "m"}, sign=False), SetupError, False),
        (Reply(403, {"code": "NO_AUTH", "message": "m"}), SetupError, True),
        (Reply(404, {"code": "MCH_NOT_EXISTS", "message": "m"}), SetupError, True),
        (Reply(400, {"code": "APPID_MCHID_NOT_MATCH", "message": "m"}), SetupError, True),
        (Reply(404, {"code": "INVALID_PATH", "message": "m"}), SetupError, True),
        (Reply(404, {"code": "", "message": "m"}, sign=False), SetupError, False),
    ],
)
def test_a_refusal_is_told_by_its_code_and_status_and_says_whether_it_is_proven(reply, kind, verified):
    with pytest.raises(APIError) as caught:
        post(make_client(reply))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.verified) == (reply.status, verified)
    assert caught.value.code == json.loads(reply.body)["code"]


# -- not there

STATEMENT = {"date": "20260301", "sink": None}
MARCH = {"state": "SETTLED", "start": "20260301", "end": "20260331"}
# Each call, and the codes that say: the very thing it asked about is not there.
ABSENT = [
    (lambda client: client.contracts.query(contract_id="1"), {"CONTRACT_NOT_EXIST"}),
    (lambda client: client.contracts.query_by_code(out_contract_code="c", plan_id=1), {"CONTRACT_NOT_EXIST"}),
    (lambda client: client.contracts.terminate(contract_id="1", termination_note="n"), {"CONTRACT_NOT_EXIST"}),
    (lambda client: client.orders.query_deduction(out_trade_no="d"), {"ORDER_NOT_EXIST"}),
    (lambda client: client.orders.reverse_deduction(out_trade_no="d"), {"ORDER_NOT_EXIST"}),
    (lambda client: client.orders.query_payment(out_trade_no="q"), {"ORDER_NOT_EXIST"}),
    (lambda client: client.orders.reverse_payment(out_trade_no="q"), {"ORDER_NOT_EXIST"}),
    (lambda client: client.orders.close_payment(out_trade_no="q"), {"ORDER_NOT_EXIST"}),
    (lambda client: client.refunds.query(out_refund_no="r"), {"REFUND_NOT_EXISTS", "RESOURCE_NOT_EXISTS"}),
    (lambda client: client.refunds.query_all(out_trade_no="q"), {"REFUND_NOT_EXISTS", "RESOURCE_NOT_EXISTS"}),
    (lambda client: client.bills.download_statement(**STATEMENT), {"NO_STATEMENT_EXIST"}),
    (lambda client: client.settlements.query(**MARCH), {"RESOURCE_NOT_EXISTS"}),
]
CODES = (
    "ORDER_NOT_EXIST CONTRACT_NOT_EXIST REFUND_NOT_EXISTS RESOURCE_NOT_EXISTS NO_STATEMENT_EXIST "
    "MCH_NOT_EXISTS USER_NOT_EXIST APPID_NOT_EXIST INVALID_PATH route_not_found"
).split()


def refused(call, reply):
    with pytest.raises(APIError) as caught:
        call(make_client(reply))
    return caught.value


@pytest.mark.scenario("S56")
@pytest.mark.parametrize(("call", "its_own"), ABSENT)
def test_only_the_codes_of_the_very_object_say_signed_that_it_is_not_there(call, its_own):
    said = {code for code in CODES if isinstance(refused(call, Reply(404, {"code": code, "message": "m"})), NotFound)}
    assert said == its_own


@pytest.mark.scenario("S56")
@pytest.mark.parametrize(("call", "its_own"), ABSENT)
@pytest.mark.parametrize("signing", [{"sign": False}, {"name": "stranger"}])
def test_unsigned_or_badly_signed_nothing_says_that_an_object_is_not_there(call, its_own, signing):
    for code in its_own:
        error = refused(call, Reply(404, {"code": code, "message": "m"}, **signing))
        assert not isinstance(error, NotFound) and not error.verified and error.code == code


@pytest.mark.scenario("S56")
@pytest.mark.parametrize(("call", "its_own"), ABSENT)
def test_a_404_without_a_code_of_ours_is_never_taken_for_not_there(call, its_own):
    for reply in (Reply(404, b"<html>", sign=False), Reply(404, b"{}"), Reply(404, {"error_msg": "route_not_found"})):
        assert type(refused(call, reply)) is SetupError


@pytest.mark.scenario("S56")
@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("code", ["ORDER_NOT_EXIST", "ORDERNOTEXIST", " order_not_exist"])
def test_a_code_counts_in_every_spelling_and_with_every_status(status, code):
    client = make_client(Reply(status, {"code": code, "message": "m"}))
    with pytest.raises(NotFound) as caught:
        client.orders.query_payment(out_trade_no="q")
    assert caught.value.verified


def test_a_refusal_is_not_repeated():
    client = make_client(Reply(404, {"code": "ORDER_NOT_EXIST", "message": ""}))
    with pytest.raises(NotFound):
        client.orders.query_payment(out_trade_no="q")
    assert len(client.wire.requests) == 1


def test_a_deduction_refused_for_want_of_a_contract_is_no_fault_of_the_set_up():
    client = make_client(Reply(403, {"code": "NO_AUTH", "message": "m"}))
    with pytest.raises(APIError) as caught:
        client.orders.deduct(
            out_trade_no="d", contract_id="1", amount_total=1, currency="HKD", description="d",
            notify_url="https://shop.example/", merchant_category_code="5734",
        )  # fmt: skip
    assert type(caught.value) is APIError


# -- unsigned, unreadable


@pytest.mark.scenario("S31")
def test_an_unsigned_refusal_reaches_the_caller_with_its_real_code_message_and_detail():
    body = {"code": "SIGN_ERROR", "message": "签名错误", "detail": {"issue": "sign not match"}}
    with pytest.raises(APIError) as caught:
        post(make_client(Reply(401, body, sign=False)))
    error = caught.value
    assert (error.code, error.message, error.status) == ("SIGN_ERROR", "签名错误", 401)
    assert (error.detail, error.request_id) == ({"issue": "sign not match"}, "08F0A1-268512771")
    assert error.server_time == datetime(2026, 3, 1, 4, tzinfo=timezone.utc)
    assert not error.verified


@pytest.mark.scenario("S31")
@pytest.mark.parametrize("body", [b"", b"<html>403</html>", b"[]", b"\xff", b'{"code":7,"message":[]}', b"[" * 100_000])
def test_a_refusal_that_cannot_be_read_is_still_a_refusal_that_proves_nothing(body):
    with pytest.raises(APIError) as caught:
        post(make_client(Reply(403, body, sign=False)))
    assert (caught.value.code, caught.value.verified) == ("", False)


def test_unsigned_refusals_are_believed_only_when_told_so_and_badly_signed_ones_never():
    body = {"code": "NOT_ENOUGH", "message": "m"}
    for reply, verified in ((Reply(403, body, sign=False), True), (Reply(403, body, name="stranger"), False)):
        with pytest.raises(APIError) as caught:
            post(make_client(reply, trust_unsigned_errors=True))
        assert caught.value.verified is verified


# -- too many


@pytest.mark.scenario("S55")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("7.5", None),
        ("nan", None),
        ("٧", None),
        ("600", 600),
        ("601", 600),
        ("999999999", 600),
        ("9" * 5000, 600),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 600),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 600),
        ("Thu, 01 Jan 0001 00:00:00 +2359", 0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
@pytest.mark.parametrize("sign", [True, False])
def test_a_rate_limit_says_how_long_to_wait_in_whole_seconds_within_a_bound(header, seconds, sign):
    client = make_client(
        Reply(429, {}, headers={"Retry-After": header}, sign=sign, at=1767225600), clock=lambda: 1767225600
    )
    with pytest.raises(RateLimited) as caught:
        post(client)
    assert caught.value.retry_after == seconds
    assert caught.value.retry_after is None or type(caught.value.retry_after) is int
    assert caught.value.verified is sign
