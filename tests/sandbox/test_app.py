import json

from django_wxpay.sandbox import create_app
from tests.sandbox.shop import Shop

MERCHANT_KEYS = {
    "base_url", "mchid", "appid", "sp_mchid", "sp_appid", "sub_mchid", "sub_appid", "merchant_serial",
    "merchant_private_key", "merchant_certificate", "apiv3_key", "platform_serial", "platform_certificate",
    "public_key_id", "public_key",
    "mainland_mchid", "mainland_appid", "mainland_sp_mchid", "mainland_sp_appid", "mainland_sub_mchid",
    "mainland_sub_appid", "service_id", "other_service_id",
}  # fmt: skip


def test_a_state_folder_outlives_the_sandbox(tmp_path):
    first = create_app(tmp_path / "state", base_url="http://127.0.0.1:1")
    Shop(first).signed("c1")
    described = json.loads((tmp_path / "state" / "merchant.json").read_text())
    first.sandbox.close()
    second = create_app(tmp_path / "state", base_url="http://127.0.0.1:2")
    again = json.loads((tmp_path / "state" / "merchant.json").read_text())
    assert set(again) == MERCHANT_KEYS
    assert again == {**described, "base_url": "http://127.0.0.1:2"}
    assert (tmp_path / "state" / again["merchant_private_key"]).read_text().startswith("-----BEGIN PRIVATE KEY")
    assert second.sandbox.contracts.get("c1")["state"] == "SIGNED"
    second.sandbox.close()


def test_the_state_shows_everything_but_secrets(app, shop, mailbox):
    shop.deduct(shop.signed(), "d1")
    shop.refund("d1", "r1", 100)
    shop.sandbox.advance(5)
    text = app.test_client().get("/_sandbox/state").text
    state = json.loads(text)
    assert [len(state[name]) for name in ("sessions", "contracts", "orders", "refunds", "notifications")] == [
        1,
        1,
        1,
        1,
        3,
    ]
    assert state["notifications"][0]["attempts"][0]["status"] == 200
    assert state["calls"][0]["method"] == "POST" and state["calls"][0]["status"] == 200
    assert "PRIVATE KEY" not in text and shop.merchant["apiv3_key"] not in text


def test_the_page_shows_what_waits_and_what_was_paid(app, shop):
    shop.pre_sign("c1", user_display_name="<b>Li</b>")
    contract = shop.signed("c2")
    shop.deduct(contract, "d1")
    shop.deduct(contract, "d2", total=6_660_010)
    page = app.test_client().get("/_sandbox/").text
    for expected in ("Agree", "Refuse", "Terminate", "38.00 HKD", "Pay", "6660001", "13666600000000", "lost_answer"):
        assert expected in page
    assert "<b>Li</b>" not in page and "&lt;b&gt;Li" in page
    assert "http://" not in page.replace(app.sandbox.base_url, "").replace("http://localhost", "")


def test_faults_are_ordered_and_removed_on_the_page(app, sandbox):
    browser = app.test_client()
    form = {"fault": "notification:late", "path": "REFUND", "times": "2", "options": '{"seconds": 30}'}
    assert browser.post("/_sandbox/phone/faults", data=form).status_code == 303
    (fault,) = sandbox.faults.all()
    assert (fault["kind"], fault["pattern"], fault["times"], fault["options"]) == ("late", "REFUND", 2, {"seconds": 30})
    assert browser.post("/_sandbox/phone/faults", data={**form, "options": "{"}).status_code == 400
    assert browser.post("/_sandbox/phone/faults", data={**form, "fault": "call:meteor"}).status_code == 409
    browser.post("/_sandbox/phone/faults", data={"do": "clear"})
    assert sandbox.faults.all() == []


def test_the_phone_page_of_an_unknown_session_is_not_found(app):
    assert app.test_client().get("/_sandbox/phone?session_id=1").status_code == 404


def test_control_signs_by_code_and_terminates(app, shop):
    shop.pre_sign("c1")
    browser = app.test_client()
    contract = browser.post("/_sandbox/contracts/c1/sign", json={"openid": "o-7"}).json
    assert (contract["state"], contract["openid"]) == ("SIGNED", "o-7")
    assert browser.post(f"/_sandbox/contracts/{contract['contract_id']}/terminate").json["state"] == "TERMINATED"
    assert browser.post("/_sandbox/contracts/none/sign").json["code"] == "RESOURCE_NOT_EXISTS"


def test_the_clock_can_be_pushed_over_http(app, shop, mailbox):
    shop.deduct(shop.signed(), "d1", total=6_660_010)
    clock = app.test_client().post("/_sandbox/clock", json={"advance": 3600, "speed": 2}).json
    assert clock["speed"] == 2 and 3599 < clock["shift"] < 3601
    assert mailbox.types == ["PAPAY.SIGN", "TRANSACTION.SUCCESS"]
    assert app.test_client().post("/_sandbox/clock", json={"advance": "x"}).status_code == 400


def test_a_skewed_clock_shows_in_the_date_and_refuses_honest_clients(shop):
    shop.sandbox.set_clock(skew=600)
    answer = shop.get("/v3/certificates")
    assert answer.status_code == 401 and answer.headers["Date"].endswith("GMT")
    assert abs(int(answer.headers["Wechatpay-Timestamp"]) - shop.sandbox.clock.now() - 600) < 2


def test_payment_codes_are_not_written_down(app, shop):
    shop.request("POST", "/v3/global/refunds", body={"payer": {"auth_code": "130000000000000001"}})
    assert "130000000000000001" not in app.test_client().get("/_sandbox/state").text
