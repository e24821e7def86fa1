import pytest
from cryptography import x509
from cryptography.exceptions import InvalidTag


@pytest.mark.parametrize("path", ["/v3/certificates", "/v3/global/certificates"])
def test_the_list_decrypts_to_the_certificate_that_signs(shop, path):
    answer = shop.get(path)
    (item,) = answer.json()["data"]
    sealed = item["encrypt_certificate"]
    assert (sealed["algorithm"], sealed["associated_data"]) == ("AEAD_AES_256_GCM", "certificate")
    assert len(sealed["nonce"]) == 12
    certificate = x509.load_pem_x509_certificate(shop.decrypt(sealed))
    assert f"{certificate.serial_number:040X}" == item["serial_no"] == answer.headers["Wechatpay-Serial"]
    assert item["expire_time"].endswith("+08:00")


def test_a_rotation_lists_the_new_one_then_uses_it_then_drops_the_old(shop):
    old = shop.merchant["platform_serial"]
    rotate = shop.sandbox.certificates.rotate
    assert rotate("listed") == "listed"
    answer = shop.get("/v3/certificates")
    serials = {item["serial_no"] for item in answer.json()["data"]}
    assert len(serials) == 2 and answer.headers["Wechatpay-Serial"] == old

    assert rotate() == "used"
    answer = shop.get("/v3/certificates")
    new = answer.headers["Wechatpay-Serial"]
    assert new in serials - {old} and shop.verifies(answer.headers, answer.content)
    expiry = {item["serial_no"]: item["expire_time"] for item in answer.json()["data"]}
    assert expiry[old] < expiry[new]

    assert rotate() == "removed"
    assert [item["serial_no"] for item in shop.get("/v3/certificates").json()["data"]] == [new]
    assert shop.sandbox.merchant["platform_serial"] == new


def test_a_phase_out_of_turn_is_refused(app):
    assert app.test_client().post("/_sandbox/certificates/rotate", json={"phase": "used"}).status_code == 409


def test_a_wrong_tag_and_an_empty_list_can_be_ordered(shop):
    shop.sandbox.fault("wrong_tag", "/v3/certificates")
    with pytest.raises(InvalidTag):
        shop.decrypt(shop.get("/v3/certificates").json()["data"][0]["encrypt_certificate"])
    shop.sandbox.fault("empty_list", "/v3/certificates")
    assert shop.get("/v3/certificates").json() == {"data": []}


def test_another_apiv3_key_encrypts_from_now_on(shop):
    old = shop.merchant["apiv3_key"]
    shop.sandbox.rotate_apiv3_key()
    assert shop.sandbox.merchant["apiv3_key"] != old
    assert shop.decrypt(shop.get("/v3/certificates").json()["data"][0]["encrypt_certificate"]).startswith(b"-----BEGIN")
