"""Individual payees, asked for as any client would; and what WeChat's own client looks at before it shows the page."""

import base64
import secrets
import time
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from tests.sandbox.shop import School
from tests.sandbox.test_payscore import refused

ROOT = "/v3/ecommerce/individual-contracts"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


class Market(School):
    """A platform: direct, or the provider of others; it asks the same way."""

    @property
    def appid(self):
        return self.parties["appid"]

    def state(self, openid):
        return self.get(f"{ROOT}/{openid}", appid=self.appid, permission_type="INDIVIDUAL_PAYEE").json()

    def pre_sign(self, code, client="mini-program", kind="pre-entrust-sign", headers=None, **more):
        who = {"openid": "o-1"} if client == "mini-program" else {}
        body = {"appid": self.appid, "out_contract_code": code, **who, **more}
        return self.request("POST", f"{ROOT}/{kind}/{client}", body=body, headers=headers)

    def sealed(self, text):
        key = serialization.load_pem_public_key(self.merchant["public_key"].encode())
        return base64.b64encode(key.encrypt(text.encode(), OAEP)).decode()

    def request_sign(self, package="openid=o-1&permissionType=INDIVIDUAL_PAYEE", form="A", **changes):
        """What requestSign is given."""
        given = {
            "mchid": self.mchid, "appid": self.appid, "package": package, "timeStamp": str(int(time.time())),
            "nonceStr": secrets.token_hex(16), "signType": "RSA", "certSerialNo": self.merchant["merchant_serial"],
        } | changes  # fmt: skip
        begun = [given["appid"], given["timeStamp"], given["nonceStr"]]
        lines = {"A": [*begun, package], "B": [*begun, given["mchid"], "o-1"], "C": [*begun]}[form]
        message = "".join(f"{line}\n" for line in lines).encode()
        signature = base64.b64encode(self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
        return {"signature": signature, **given}


@pytest.fixture(params=["direct", "partner"])
def market(app, request):
    return Market(app, mode=request.param)


@pytest.fixture
def phone(app):
    return app.test_client()


def test_who_never_signed_is_unauthorised_without_a_number(market):
    shown = market.state("o-1")
    assert (shown["auth_state"], shown["individual_auth_id"]) == ("UNAUTHORIZED", "") and shown["operation_time"]


@pytest.mark.parametrize("form", ["A", "B"])
def test_who_agrees_is_authorised_and_the_form_that_was_signed_is_shown(market, phone, form):
    told = phone.post("/_sandbox/request-sign", json=market.request_sign(form=form) | {"agree": True}).json
    assert (told["form"], told["payee"]["auth_state"]) == (form, "AUTHORIZED")
    shown = market.state("o-1")
    assert shown["auth_state"] == "AUTHORIZED" and shown["individual_auth_id"].startswith("IA")
    assert f"form {form}" in phone.get("/_sandbox/").text


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("C", {}),
        ("A", {"signType": "MD5"}),
        ("A", {"certSerialNo": "0" * 40}),
        ("A", {"timeStamp": "1"}),
        ("A", {"timeStamp": "soon"}),
        ("A", {"nonceStr": "x" * 33}),
        ("A", {"appid": "wx0"}),
        ("A", {"mchid": "1900000999"}),
        ("A", {"signature": "AAAA"}),
        ("A", {"package": "openid=o-1"}),
    ],
)
def test_what_wechats_client_would_not_open_fails(market, phone, form, changes):
    given = market.request_sign(form=form) | changes
    assert phone.post("/_sandbox/request-sign", json=given | {"agree": True}).status_code == 400
    page = phone.get(f"/_sandbox/phone/payee?{urlencode(given)}")
    assert page.status_code == 400 and "cannot be opened" in page.text
    assert market.state("o-1")["auth_state"] == "UNAUTHORIZED"


@pytest.mark.parametrize(("deed", "state"), [("agree", "AUTHORIZED"), ("leave", "UNAUTHORIZED")])
def test_the_phone_asks_and_returns(market, phone, deed, state):
    address = f"/_sandbox/phone/payee?{urlencode(market.request_sign() | {'return_url': 'http://shop.example/back'})}"
    page = phone.get(address)
    assert "Agree" in page.text and market.mchid in page.text and "o-1" in page.text
    back = phone.post(address, data={"do": deed})
    assert (back.status_code, back.location) == (303, "http://shop.example/back")
    assert market.state("o-1")["auth_state"] == state


def test_who_withdraws_is_told_to_nobody_and_signs_again_under_another_number(market, phone, mailbox):
    market.sandbox.payees.authorize("o-1", mchid=market.mchid)
    first = market.state("o-1")["individual_auth_id"]
    assert (
        phone.post("/_sandbox/payees/o-1/withdraw", json={"mchid": market.mchid}).json["auth_state"] == "UNAUTHORIZED"
    )
    assert market.state("o-1")["auth_state"] == "UNAUTHORIZED"
    market.sandbox.deliver_due()
    assert mailbox.received == []
    again = phone.post("/_sandbox/payees/o-1/authorize", json={"mchid": market.mchid}).json
    assert again["individual_auth_id"] != first
    assert phone.post("/_sandbox/payees/nobody/withdraw", json={"mchid": market.mchid}).status_code == 404
    form = {"mchid": market.mchid}
    assert phone.post("/_sandbox/phone/payees/o-1/withdraw", data=form).status_code == 303
    assert market.state("o-1")["auth_state"] == "UNAUTHORIZED"


def prepared(market, code="C1", **more):
    made = market.pre_sign(code, **more).json()["pre_entrustweb_id"]
    return f"preEntrustwebId={made}&outContractCode={code}&permissionType=INDIVIDUAL_PAYEE"


def test_a_prepared_signature_is_good_for_two_minutes_and_its_number_for_one_attempt(market, phone):
    package = prepared(market)
    assert refused(market.pre_sign("C1")) == (400, "INVALID_REQUEST")
    assert phone.post("/_sandbox/request-sign", json=market.request_sign(package)).json["openid"] == "o-1"
    mixed = package.replace("C1", "C2")
    assert phone.post("/_sandbox/request-sign", json=market.request_sign(mixed)).status_code == 400
    market.sandbox.advance(121)
    assert phone.post("/_sandbox/request-sign", json=market.request_sign(package)).status_code == 400


def test_an_attempt_is_asked_about_by_its_number(market, phone):
    path = f"{ROOT}/out-contract-code/C1"
    assert refused(market.get(path, appid=market.appid)) == (404, "RESOURCE_NOT_EXISTS")
    package = prepared(market, client="app")
    assert market.get(path, appid=market.appid).json()["auth_state"] == "UNAUTHORIZED"
    given = market.request_sign(package) | {"agree": True, "openid": "o-app"}
    assert phone.post("/_sandbox/request-sign", json=given).status_code == 200
    shown = market.get(path, appid=market.appid).json()
    assert (shown["auth_state"], shown["individual_openid"]) == ("AUTHORIZED", "o-app")
    assert "real_name_auth_result" not in shown


def test_name_and_card_must_be_encrypted_for_wechat_pay(market, phone):
    kind = "pre-entrust-sign-with-real-name-identity"
    key = {"Wechatpay-Serial": market.merchant["public_key_id"]}
    card = {"real_name": market.sealed("张三"), "cred_id": market.sealed("1101"), "cred_type": "ID_CARD"}
    assert market.pre_sign("C1", kind=kind, headers=key, **card).status_code == 200
    wrong = [
        (None, card),
        ({"Wechatpay-Serial": "0" * 40}, card),
        (key, card | {"real_name": "张三"}),
        (key, card | {"cred_id": market.sealed("x" * 65)}),
        (key, card | {"cred_type": "PASSPORT"}),
        (key, {"real_name": card["real_name"]}),
    ]
    for number, (headers, body) in enumerate(wrong):
        answer = market.pre_sign(f"W{number}", kind=kind, headers=headers, **body)
        assert refused(answer) == (400, "PARAM_ERROR"), number
    package = f"preEntrustwebId={market.pre_sign('C2', kind=kind, headers=key, **card).json()['pre_entrustweb_id']}"
    given = market.request_sign(f"{package}&outContractCode=C2&permissionType=INDIVIDUAL_PAYEE")
    phone.post("/_sandbox/request-sign", json=given | {"agree": True})
    told = market.get(f"{ROOT}/out-contract-code/C2", appid=market.appid).json()["real_name_auth_result"]
    assert told["scope"] == "pay_realname" and told["access_token"]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("PARAM_ERROR", {"out_contract_code": "a|b"}),
        ("PARAM_ERROR", {"out_contract_code": "x" * 129}),
        ("PARAM_ERROR", {"openid": ""}),
        ("APPID_MCHID_NOT_MATCH", {"appid": "wx0000000000000009"}),
    ],
)
def test_what_cannot_be_is_refused(market, code, changes):
    body = {"out_contract_code": "C1", "appid": market.appid, "openid": "o-1"} | changes
    assert refused(market.post(f"{ROOT}/pre-entrust-sign/mini-program", **body)) == (400, code)
    assert refused(market.get(f"{ROOT}/o-1", appid=market.appid)) == (400, "PARAM_ERROR")
