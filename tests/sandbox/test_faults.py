import time

import pytest
import requests

from django_wxpay.sandbox import ConnectionClosed, LostAnswer, Refused
from django_wxpay.sandbox.engine.faults import CALL_FAULTS

DEDUCT = "/v3/global/papay/transactions"


@pytest.fixture
def contract(shop):
    return shop.signed()


def made(shop):
    return len(shop.sandbox.describe()["orders"])


def test_a_lost_answer_was_carried_out(shop, contract):
    shop.sandbox.fault("lost_answer", DEDUCT)
    with pytest.raises(requests.ReadTimeout) as raised:
        shop.deduct(contract, "d1")
    assert isinstance(raised.value.__cause__, LostAnswer) and made(shop) == 1
    assert shop.deduct(contract, "d1").json()["code"] == "ORDER_PAID"


def test_a_closed_connection_did_nothing(shop, contract):
    shop.sandbox.fault("closed_connection", DEDUCT)
    with pytest.raises(requests.ConnectionError) as raised:
        shop.deduct(contract, "d1")
    assert isinstance(raised.value.__cause__, ConnectionClosed) and made(shop) == 0


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
def test_a_500_comes_before_or_after_it_was_done(shop, contract, when, orders):
    shop.sandbox.fault("error_500", DEDUCT, when=when, status=502)
    answer = shop.deduct(contract, "d1")
    assert (answer.status_code, answer.json()["code"], made(shop)) == (502, "SYSTEM_ERROR", orders)


def test_a_429_may_carry_retry_after(shop, contract):
    shop.sandbox.fault("error_429", DEDUCT, retry_after=7, code="RATELIMIT_EXCEEDED")
    answer = shop.deduct(contract, "d1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert (answer.json()["code"], made(shop)) == ("RATELIMIT_EXCEEDED", 0)


def test_any_refusal_can_be_ordered(shop, contract):
    shop.sandbox.fault("refuse", DEDUCT, status=403, code="RULE_LIMIT")
    assert shop.deduct(contract, "d1").json()["code"] == "RULE_LIMIT"


@pytest.mark.parametrize("kind", ["bad_signature", "probe", "garbage", "empty", "wrong_serial", "stale"])
def test_a_spoilt_answer_was_carried_out(shop, contract, kind):
    shop.sandbox.fault(kind, DEDUCT)
    answer = shop.deduct(contract, "d1")
    assert answer.status_code == 200 and made(shop) == 1
    if kind in ("bad_signature", "probe"):
        assert not shop.verifies(answer.headers, answer.content)
    elif kind == "stale":
        assert int(answer.headers["Wechatpay-Timestamp"]) < time.time() - 300
    elif kind == "wrong_serial":
        assert answer.headers["Wechatpay-Serial"] != shop.merchant["platform_serial"]
    else:
        assert shop.verifies(answer.headers, answer.content)
    if kind == "probe":
        assert answer.headers["Wechatpay-Signature"].startswith("WECHATPAY/SIGNTEST/")
        assert len(answer.headers["Wechatpay-Signature"]) == 355


def test_an_unsigned_answer_still_has_its_request_id(shop):
    shop.sandbox.fault("unsigned")
    answer = shop.get("/v3/certificates")
    assert "Wechatpay-Signature" not in answer.headers and answer.headers["Request-ID"]


def test_a_slow_answer_is_a_timeout_for_the_impatient(shop, contract):
    shop.sandbox.fault("slow", DEDUCT, seconds=30)
    with pytest.raises(requests.ReadTimeout):
        shop.deduct(contract, "d1")
    assert made(shop) == 1


def test_faults_are_counted_skipped_and_matched(shop):
    shop.sandbox.fault("refuse", "/v3/*/certificates", method="get", times=2, skip=1)
    statuses = [shop.get("/v3/global/certificates").status_code for _ in range(4)]
    assert statuses == [200, 403, 403, 200]
    shop.sandbox.fault("refuse", "/v3/cert", times=-1)
    assert {shop.get("/v3/certificates").status_code for _ in range(5)} == {403}
    assert shop.get("/v3/global/certificates").status_code == 200
    shop.sandbox.faults.remove()
    assert shop.get("/v3/certificates").status_code == 200


def test_a_badly_signed_request_uses_no_fault_up(shop):
    shop.sandbox.fault("refuse")
    shop.request("GET", "/v3/certificates", headers={"Authorization": ""})
    assert len(shop.sandbox.faults.all()) == 1


def test_unknown_faults_are_refused(shop):
    with pytest.raises(Refused):
        shop.sandbox.fault("meteor")
    with pytest.raises(Refused):
        shop.sandbox.fault("slow", times=0)
    assert "slow" in CALL_FAULTS


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
def test_a_silent_service_answers_nothing_before_or_after_it_was_done(shop, contract, when, orders):
    shop.sandbox.fault("silent", DEDUCT, when=when)
    begun = time.monotonic()
    with pytest.raises(requests.ReadTimeout):
        shop.deduct(contract, "d1")
    assert time.monotonic() - begun < 1 and made(shop) == orders
    assert shop.sandbox.describe()["calls"][-1]["status"] is None


def test_a_fault_may_be_one_merchants_alone_until_it_is_taken_away(shop, institution):
    fault = shop.sandbox.fault("silent", mchid=shop.mchid, times=-1)
    for _ in range(2):
        with pytest.raises(requests.ReadTimeout):
            shop.get("/v3/certificates")
        assert institution.get("/v3/certificates").status_code == 200
    shop.sandbox.faults.remove(fault["seq"])
    assert shop.get("/v3/certificates").status_code == 200


@pytest.mark.parametrize("code", ["route_not_found", "INVALID_PATH", "MCH_NOT_EXISTS", "NO_STATEMENT_EXIST"])
@pytest.mark.parametrize("signed", [True, False])
def test_a_refusal_may_come_from_a_gateway_that_signs_nothing(shop, code, signed):
    shop.sandbox.fault("refuse", "/v3/certificates", status=404, code=code, message="no Route matched", signed=signed)
    answer = shop.request("GET", "/v3/certificates", headers={"Accept-Language": "zh-CN"})
    assert (answer.status_code, answer.json()) == (404, {"code": code, "message": "no Route matched"})
    assert ("Wechatpay-Signature" in answer.headers) is signed
    assert not signed or shop.verifies(answer.headers, answer.content)


@pytest.mark.parametrize("kind", ["refuse", "error_429"])
def test_any_error_can_be_ordered_for_what_was_done_all_the_same(shop, contract, kind):
    shop.sandbox.fault(kind, DEDUCT, when="after", status=409, code="ODD")
    answer = shop.deduct(contract, "d1")
    assert (answer.status_code, answer.json()["code"], made(shop)) == (409, "ODD", 1)


@pytest.mark.parametrize(
    ("kind", "order"), [("refuse", {"when": "after"}), ("garbage", {}), ("empty", {}), ("error_500", {"when": "after"})]
)
def test_what_stands_in_for_a_file_is_signed_and_dated_as_any_answer(shop, contract, kind, order):
    """A file's signature covers its hash; what is sent in its place is covered itself."""
    shop.deduct(contract, "d1")
    shop.sandbox.advance(2 * 86400)
    day = shop.sandbox.describe()["orders"][0]["success_at"][:10].replace("-", "")
    shop.sandbox.fault(kind, "/v3/global/statements", **order)
    answer = shop.get("/v3/global/statements", date=day, mchid=shop.mchid)
    assert shop.verifies(answer.headers, answer.content) and answer.headers["Date"].endswith("GMT")


@pytest.mark.parametrize("signed", [True, False])
def test_a_429_may_ask_for_any_wait_signed_or_not(shop, signed):
    shop.sandbox.fault("error_429", retry_after=999999999, signed=signed)
    answer = shop.get("/v3/certificates")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "999999999")
    assert ("Wechatpay-Signature" in answer.headers) is signed


def test_an_answer_can_be_altered_before_it_is_signed(shop, contract):
    shop.sandbox.fault(
        "altered", DEDUCT, answer={"amount": {"total": 1}, "payer": None, "trade_state_desc": "\ud83d\x00"}
    )
    answer = shop.deduct(contract, "d1")
    assert shop.verifies(answer.headers, answer.content) and b'"\\ud83d\\u0000"' in answer.content
    found = answer.json()
    assert (found["amount"]["total"], found["amount"]["currency"], "payer" in found) == (1, "HKD", False)
