from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest

from tests.sandbox.shop import NOTIFY_URL

CONTRACTS = "/v3/global/papay/contracts"


def query(shop, code, plan_id=12345):
    return shop.get(f"{CONTRACTS}/out-contract-code/{code}", **shop.appids, plan_id=plan_id)


def test_a_contract_is_signed_queried_and_terminated(any_shop, mailbox):
    shop = any_shop
    session_id = shop.pre_sign("c1", openid="o-1").json()["session_id"]
    assert query(shop, "c1").status_code == 404
    shop.sandbox.contracts.sign(session_id)

    shown = query(shop, "c1").json()
    assert (shown["state"], shown["openid"], shown["plan_id"]) == ("SIGNED", "o-1", 12345)
    assert ("sub_mchid" in shown) == (shop.mode == "institution")
    assert shop.get(f"{CONTRACTS}/{shown['contract_id']}", **shop.appids).json() == shown

    ended = shop.post(f"{CONTRACTS}/{shown['contract_id']}/terminate", **shop.appids, termination_note="moved")
    assert ended.status_code == 204
    shown = query(shop, "c1").json()
    assert (shown["state"], shown["termination_note"]) == ("TERMINATED", "moved")

    shop.sandbox.deliver_due()
    assert mailbox.types == ["PAPAY.SIGN", "PAPAY.TERMINATE"]
    assert mailbox.received[0][0] == NOTIFY_URL
    payload = mailbox.message(shop, 0)
    assert (payload["contract_id"], payload["out_contract_code"], payload["openid"]) == (
        shown["contract_id"],
        "c1",
        "o-1",
    )
    assert "contract_termination_mode" in mailbox.message(shop, 1)


@pytest.mark.parametrize("channel", ["jsapi", "h5", "web", "app"])
def test_each_channel_answers_what_its_page_says(shop, channel):
    answer = shop.pre_sign("c1", channel=channel).json()
    assert list(answer) == [
        {"jsapi": "sign_url", "h5": "sign_url", "web": "show_code_url", "app": "session_id"}[channel]
    ]


def test_a_sign_url_opens_the_phone_and_returns_to_the_shop(app, shop):
    url = shop.pre_sign("c1", channel="jsapi", return_url="https://shop.example/back?x=1").json()["sign_url"]
    parts = urlsplit(url)
    assert parts.fragment == "wechat_redirect"
    page = app.test_client().get(f"{parts.path}?{parts.query}")
    assert "Agree" in page.text
    session_id = parts.query.partition("=")[2]
    back = app.test_client().post(f"/_sandbox/phone/sessions/{session_id}", data={"do": "agree"})
    assert (back.status_code, back.location) == (303, "https://shop.example/back?x=1")
    assert query(shop, "c1").json()["state"] == "SIGNED"


def test_the_mini_program_returns_what_extra_data_would_hold(app, shop):
    session_id = shop.pre_sign("c1").json()["session_id"]
    form = {"do": "agree", "return_url": "http://shop.example/back?m=4"}
    back = app.test_client().post(f"/_sandbox/phone/sessions/{session_id}", data=form)
    assert back.location.startswith("http://shop.example/back?m=4&return_code=SUCCESS&contract_id=")


@pytest.mark.parametrize(("deed", "state"), [("refuse", "REFUSED"), ("cancel", "OPEN")])
def test_refusing_and_cancelling_sign_nothing(app, shop, mailbox, deed, state):
    session_id = shop.pre_sign("c1").json()["session_id"]
    app.test_client().post(f"/_sandbox/phone/sessions/{session_id}", data={"do": deed})
    assert shop.sandbox.contracts.session(session_id)["state"] == state
    assert query(shop, "c1").status_code == 404
    assert shop.sandbox.deliver_due() == [] and mailbox.received == []


def test_a_signed_code_gives_no_new_session_and_an_unsigned_one_does(shop):
    first, second = shop.pre_sign("c1").json(), shop.pre_sign("c1").json()
    assert first != second
    shop.sandbox.contracts.sign(second["session_id"])
    assert shop.sandbox.contracts.session(first["session_id"])["state"] == "REPLACED"
    answer = shop.pre_sign("c1")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


def test_an_expired_session_cannot_be_signed(app, shop):
    session_id = shop.pre_sign("c1").json()["session_id"]
    shop.sandbox.advance(7201)
    answer = app.test_client().post(f"/_sandbox/contracts/{session_id}/sign")
    assert answer.status_code == 409


def test_a_session_ends_when_the_merchant_said_whatever_the_shift_of_the_clock(shop):
    shop.sandbox.advance(30 * 86400)
    end = datetime.now(timezone.utc) + timedelta(minutes=10)
    session_id = shop.pre_sign("c1", expired_time=end.isoformat()).json()["session_id"]
    shop.sandbox.advance(599)
    assert shop.sandbox.describe()["sessions"][0]["state"] == "OPEN"
    shop.sandbox.advance(2)
    assert shop.sandbox.contracts.session(session_id)["state"] == "EXPIRED"


def test_the_user_terminates_and_the_plans_url_hears_of_it(shop, mailbox):
    contract = shop.signed()
    shop.sandbox.deliver_due()
    shop.sandbox.contracts.set_termination_url(12345, "https://shop.example/terminations/")
    shop.sandbox.contracts.terminate_by_user(contract["contract_id"])
    shop.sandbox.deliver_due()
    assert mailbox.received[-1][0] == "https://shop.example/terminations/"
    assert mailbox.message(shop)["contract_termination_mode"] == "USER"
    again = shop.post(f"{CONTRACTS}/{contract['contract_id']}/terminate", **shop.appids, termination_note="x")
    assert (again.status_code, again.json()["code"]) == (403, "CONTRACT_NOT_EXIST")


def test_contracts_of_one_merchant_are_unknown_to_the_other(shop, institution):
    contract = shop.signed()
    answer = institution.get(f"{CONTRACTS}/{contract['contract_id']}", **institution.appids)
    assert (answer.status_code, answer.json()["code"]) == (404, "CONTRACT_NOT_EXIST")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("plan_id", "12345"),
        ("user_client_ip", "192.0.2.256"),
        ("plan_id", True),
        ("out_contract_code", "x" * 33),
        ("out_contract_code", "a b"),
        ("out_contract_code", ""),
        ("user_display_name", "Li 😀"),
        ("user_display_name", "\ud83d"),
        ("user_display_name", None),
        ("success_notify_url", "https://shop.example/notify?x=1"),
        ("success_notify_url", "shop.example"),
        ("success_notify_url", "https://shop.example/" + "x" * 256),
        ("expired_time", "2026-03-01 12:00:00"),
        ("expired_time", "2020-03-01T12:00:00+08:00"),
        ("openid", 5),
        ("sub_mchid", "1900000109"),
        ("appid", None),
    ],
)
def test_wrong_fields_are_refused_and_named(shop, field, value):
    answer = shop.pre_sign("c1", **{field: value}) if field != "out_contract_code" else shop.pre_sign(value)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    assert answer.json()["detail"]["field"] == f"/{field}"
    assert answer.json()["detail"]["location"] == "body"


def test_a_foreign_appid_and_an_unknown_sub_merchant_are_refused(shop, institution):
    assert shop.pre_sign("c1", appid="wxother").json()["code"] == "APPID_MCHID_NOT_MATCH"
    assert institution.pre_sign("c1", sub_mchid="1900009999").json()["code"] == "NO_AUTH"
    institution.sandbox.add_sub_merchant("1900009999", "wx9")
    assert institution.pre_sign("c1", sub_mchid="1900009999", sub_appid="wx9").status_code == 200


def test_fields_nobody_knows_are_ignored_and_noted(shop):
    assert shop.pre_sign("c1", sign_scene="x").status_code == 200
    assert shop.sandbox.describe()["calls"][-1]["ignored"] == ["sign_scene"]
