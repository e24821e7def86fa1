"""Individual payees: their authorisation, and what a mini program needs to ask for it."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from django_wxpay.client.errors import InvalidField, NotFound, RequestNotSent
from django_wxpay.client.keyring import KeyRing

from .test_payscore import mainland
from .wire import PUBLIC_KEY_ID, Reply, key

ROOT = "https://api.mch.weixin.qq.com/v3/ecommerce/individual-contracts"
OPENID = "oPayee00000000000000000000001"[:28]
AUTHORISED = {"individual_auth_id": "IA0000000000000001", "auth_state": "AUTHORIZED"}


def verified(message, signature):
    """Raises unless the merchant's key made it."""
    key("merchant").public_key().verify(
        base64.b64decode(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize("mode", ["direct", "partner"])
def test_an_authorisation_is_asked_for_by_openid_and_by_the_number_of_the_attempt(mode):
    client = mainland(Reply(200, AUTHORISED), Reply(200, AUTHORISED), mode=mode)
    assert client.payees.query(openid=OPENID).data == AUTHORISED
    assert client.wire.last.url == f"{ROOT}/{OPENID}?appid={client.identity.appid}&permission_type=INDIVIDUAL_PAYEE"
    client.payees.query_by_code(out_contract_code="C-1_a")
    assert client.wire.last.url == f"{ROOT}/out-contract-code/C-1_a?appid={client.identity.appid}"


def test_nobody_known_is_not_found():
    client = mainland(Reply(404, {"code": "RESOURCE_NOT_EXISTS", "message": "no"}))
    with pytest.raises(NotFound):
        client.payees.query(openid=OPENID)


def test_the_access_token_of_a_real_name_check_is_kept_nowhere():
    told = {
        "scope": "pay_realname",
        "access_token": "s3cret-token",
        "access_token_expire_time": "2026-03-02T10:20:30+08:00",
    }
    client = mainland(Reply(200, AUTHORISED | {"real_name_auth_result": told}))
    answer = client.payees.query_by_code(out_contract_code="C1")
    assert "s3cret-token" not in f"{answer} {answer.text} {vars(answer)}"
    assert answer.data["real_name_auth_result"]["scope"] == "pay_realname"


def test_the_openid_in_the_path_is_in_no_log_and_no_error(caplog):
    caplog.set_level("INFO")
    client = mainland(Reply(400, {"code": "INVALID_REQUEST", "message": f"{OPENID} is odd"}), Reply(200, AUTHORISED))
    with pytest.raises(Exception, match="INVALID_REQUEST") as caught:
        client.payees.query(openid=OPENID)
    client.payees.query_by_code(out_contract_code="my-own-number")
    assert OPENID not in f"{caplog.text} {caught.value}"
    assert "/v3/ecommerce/individual-contracts/…" in caplog.text
    assert "/out-contract-code/my-own-number" in caplog.text


@pytest.mark.parametrize("where", ["mini_program", "app"])
def test_a_signature_is_prepared_for_each_client(where):
    client = mainland(Reply(200, {"pre_entrustweb_id": "P1"}))
    who = {"openid": OPENID} if where == "mini_program" else {}
    client.payees.pre_sign(out_contract_code="C1", client=where, **who)
    below = {"mini_program": "mini-program", "app": "app"}[where]
    assert client.wire.last.url == f"{ROOT}/pre-entrust-sign/{below}"
    assert client.wire.sent == {"appid": client.identity.appid, "out_contract_code": "C1"} | who


@pytest.mark.parametrize("where", ["mini_program", "app"])
def test_name_and_card_are_encrypted_under_the_key_that_the_header_names(where):
    client = mainland(Reply(200, {"pre_entrustweb_id": "P1"}))
    who = {"openid": OPENID} if where == "mini_program" else {}
    client.payees.pre_sign_with_real_name(
        out_contract_code="C1", real_name="张三", cred_id="11010119900101001X", client=where, **who
    )
    sent = client.wire.sent
    assert "/pre-entrust-sign-with-real-name-identity/" in client.wire.last.url
    assert client.wire.last.headers["Wechatpay-Serial"] == PUBLIC_KEY_ID
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)

    def opened(name):
        return key("platform").decrypt(base64.b64decode(sent[name]), oaep).decode()

    assert (opened("real_name"), opened("cred_id"), sent["cred_type"]) == ("张三", "11010119900101001X", "ID_CARD")
    assert "张三" not in client.wire.last.body.decode() and "1101" not in json.dumps(sent)


def test_nothing_is_sent_in_the_clear_while_no_key_is_known():
    client = mainland(keys=KeyRing({}))
    with pytest.raises(RequestNotSent):
        client.payees.pre_sign_with_real_name(out_contract_code="C1", real_name="Li", cred_id="1", openid=OPENID)
    assert not client.wire.requests


def test_request_sign_is_signed_over_appid_time_nonce_and_package():
    client = mainland(clock=lambda: 1772418030.7)
    given = client.payees.sign_params(openid=OPENID)
    nonce, signature = given.pop("nonceStr"), given.pop("signature")
    assert given == {
        "mchid": client.identity.mchid,
        "appid": client.identity.appid,
        "timeStamp": "1772418030",
        "package": f"openid={OPENID}&permissionType=INDIVIDUAL_PAYEE",
        "signType": "RSA",
        "certSerialNo": client.identity.serial_no,
    }
    assert len(nonce) == 32 and client.payees.sign_params(openid=OPENID)["nonceStr"] != nonce
    verified(f"{client.identity.appid}\n1772418030\n{nonce}\n{given['package']}\n", signature)


def test_request_sign_has_the_guides_five_lines_where_they_are_wanted():
    client = mainland()
    given = client.payees.sign_params(openid=OPENID, form="B")
    lines = (given["appid"], given["timeStamp"], given["nonceStr"], given["mchid"], OPENID)
    verified("".join(f"{line}\n" for line in lines), given["signature"])


def test_a_prepared_signature_is_named_in_the_package():
    given = mainland().payees.sign_params(pre_entrustweb_id="P1", out_contract_code="C1")
    assert given["package"] == "preEntrustwebId=P1&outContractCode=C1&permissionType=INDIVIDUAL_PAYEE"


@pytest.mark.parametrize(
    ("call", "field", "given"),
    [
        ("query", "openid", {"openid": ""}),
        ("query", "openid", {"openid": "o/../x"}),
        ("query_by_code", "out_contract_code", {"out_contract_code": "a*b"}),
        ("query_by_code", "out_contract_code", {"out_contract_code": "x" * 129}),
        ("pre_sign", "client", {"out_contract_code": "C1", "client": "h5"}),
        ("pre_sign", "openid", {"out_contract_code": "C1"}),
        ("pre_sign", "openid", {"out_contract_code": "C1", "client": "app", "openid": OPENID}),
        ("pre_sign_with_real_name", "real_name", {"real_name": "", "cred_id": "1"}),
        ("pre_sign_with_real_name", "real_name", {"real_name": "x" * 65, "cred_id": "1"}),
        ("pre_sign_with_real_name", "cred_id", {"real_name": "Li", "cred_id": " "}),
        ("sign_params", "form", {"openid": OPENID, "form": "C"}),
        ("sign_params", "openid", {}),
        ("sign_params", "openid", {"pre_entrustweb_id": "P1", "out_contract_code": "C1", "form": "B"}),
        ("sign_params", "out_contract_code", {"pre_entrustweb_id": "P1"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(call, field, given):
    client = mainland()
    if call == "pre_sign_with_real_name":
        given = {"out_contract_code": "C1", "openid": OPENID} | given
    with pytest.raises(InvalidField) as caught:
        getattr(client.payees, call)(**given)
    assert caught.value.field == field
    assert not client.wire.requests
