import subprocess
import time

import pytest

CERTIFICATES = "/v3/global/certificates"
CONTRACT = "/v3/global/papay/contracts/none"


def test_every_answer_is_signed_and_has_a_request_id(shop):
    for answer in (shop.get(CERTIFICATES), shop.get(CONTRACT, appid=shop.merchant["appid"]), shop.get("/v3/nowhere")):
        assert shop.verifies(answer.headers, answer.content)
        assert answer.headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"
        assert answer.headers["Wechatpay-Serial"] == shop.merchant["platform_serial"]
        assert answer.headers["Request-ID"]


def test_a_204_is_signed_over_an_empty_body(shop):
    contract = shop.signed()
    path = f"/v3/global/papay/contracts/{contract['contract_id']}/terminate"
    answer = shop.post(path, **shop.appids, termination_note="moved away")
    assert (answer.status_code, answer.content) == (204, b"")
    assert shop.verifies(answer.headers, b"")


def test_the_public_key_signs_when_the_request_names_it(shop):
    public_key_id = shop.merchant["public_key_id"]
    answer = shop.request("GET", CERTIFICATES, headers={"Wechatpay-Serial": public_key_id})
    assert answer.headers["Wechatpay-Serial"] == public_key_id
    assert shop.verifies(answer.headers, answer.content)


def test_items_in_another_order_and_a_lower_case_serial_are_accepted(shop):
    scheme, items = shop.authorization("GET", CERTIFICATES, b"").split(" ", 1)
    turned = ", ".join(
        reversed(items.replace(shop.merchant["merchant_serial"], shop.merchant["merchant_serial"].lower()).split(","))
    )
    answer = shop.request("GET", CERTIFICATES, headers={"Authorization": f"{scheme} {turned}"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"timestamp": lambda: time.time() - 600},  # when the test runs, not when it is collected
        {"timestamp": lambda: time.time() + 600},
        {"nonce": "x" * 33},
        {"serial": "00AB"},
        {"mchid": "1999999999"},
    ],
)
def test_a_stale_or_foreign_request_is_a_sign_error(shop, wrong):
    wrong = {name: value() if callable(value) else value for name, value in wrong.items()}
    header = shop.authorization("GET", CERTIFICATES, b"", **wrong)
    answer = shop.request("GET", CERTIFICATES, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")


@pytest.mark.parametrize("header", [None, "", "Bearer x", 'WECHATPAY2-SHA256-RSA2048 mchid="1900000001"'])
def test_a_missing_or_broken_authorization_is_a_sign_error(shop, header):
    answer = shop.request("GET", CERTIFICATES, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")


def test_a_sign_error_shows_what_should_have_been_signed(shop):
    header = shop.authorization("GET", "/v3/other?a=1", b"")
    answer = shop.request("GET", CERTIFICATES, headers={"Authorization": header})
    shown = answer.json()["detail"]["sign_information"]
    assert (shown["method"], shown["url"]) == ("GET", CERTIFICATES)
    assert shown["truncated_sign_message"].startswith(f"GET\n{CERTIFICATES}\n")
    assert shown["sign_message_length"] == len(shown["truncated_sign_message"])


def test_the_signature_is_checked_before_the_body(shop):
    header = shop.authorization("POST", "/v3/global/refunds", b"{}")
    answer = shop.request("POST", "/v3/global/refunds", body={"nonsense": 1}, headers={"Authorization": header})
    assert answer.status_code == 401


def test_the_target_counts_as_it_was_received(shop):
    query = {"appid": shop.merchant["appid"], "plan_id": "1", "note": "a b/中~"}
    answer = shop.get("/v3/global/papay/contracts/out-contract-code/x%2Dy", **query)
    assert (answer.status_code, answer.json()["code"]) == (404, "CONTRACT_NOT_EXIST")


@pytest.mark.parametrize(
    "headers", [{"User-Agent": ""}, {"User-Agent": None}, {"Accept": None}, {"Accept": "text/html"}]
)
def test_missing_user_agent_or_accept_is_refused(shop, headers):
    assert 400 <= shop.request("GET", CERTIFICATES, headers=headers).status_code < 500


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_a_parameter_error(shop, raw):
    target = "/v3/global/papay/transactions"
    headers = {"Content-Type": "application/json", "Accept": "*/*", "User-Agent": "shop/1"}
    headers["Authorization"] = shop.authorization("POST", target, raw)
    answer = shop.session.post("http://wxpay.sandbox" + target, data=raw, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


def test_errors_are_written_in_the_language_asked_for(shop):
    path = "/v3/global/papay/contracts/none"
    answer = shop.request("GET", path, query=shop.appids, headers={"Accept-Language": "zh-CN"})
    assert answer.json() == {"code": "CONTRACT_NOT_EXIST", "message": "签约不存在"}


def test_openssl_signs_and_openssl_verifies(shop, tmp_path):
    for name in ("merchant_private_key", "platform_certificate"):
        (tmp_path / name).write_text(shop.merchant[name])
    timestamp, nonce = str(int(time.time())), "0f5d7b6f7c0f4a0c"
    (tmp_path / "request").write_bytes(f"GET\n{CERTIFICATES}\n{timestamp}\n{nonce}\n\n".encode())
    openssl(tmp_path, "dgst", "-sha256", "-sign", "merchant_private_key", "-out", "signature", "request")
    signature = openssl(tmp_path, "base64", "-A", "-in", "signature").decode().strip()
    items = {
        "mchid": shop.mchid,
        "nonce_str": nonce,
        "timestamp": timestamp,
        "serial_no": shop.merchant["merchant_serial"],
        "signature": signature,
    }
    header = "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in items.items())
    answer = shop.request("GET", CERTIFICATES, headers={"Authorization": header})
    assert answer.status_code == 200

    proof = answer.headers
    message = f"{proof['Wechatpay-Timestamp']}\n{proof['Wechatpay-Nonce']}\n".encode() + answer.content + b"\n"
    (tmp_path / "answer").write_bytes(message)
    (tmp_path / "answer.b64").write_text(proof["Wechatpay-Signature"] + "\n")
    openssl(tmp_path, "base64", "-d", "-A", "-in", "answer.b64", "-out", "answer.signature")
    openssl(tmp_path, "x509", "-in", "platform_certificate", "-pubkey", "-noout", "-out", "platform_key")
    output = openssl(tmp_path, "dgst", "-sha256", "-verify", "platform_key", "-signature", "answer.signature", "answer")
    assert b"Verified OK" in output


def openssl(folder, *arguments):
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True).stdout
