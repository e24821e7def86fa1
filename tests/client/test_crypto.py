"""Our cryptography against another program: the openssl command line."""

import base64
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from django_wxpay.client import KeyRing, crypto
from django_wxpay.client.errors import DecryptionFailed, InvalidField, RequestNotSent

from .wire import (
    APIV3_KEY,
    PUBLIC_KEY_ID,
    certificate_pem,
    key,
    make_client,
    make_identity,
    private_pem,
    public_pem,
    seal,
)

MESSAGE = 'POST\n/v3/global/refunds\n1767225600\nabc\n{"reason":"退款 / “q”"}\n'.encode()
OAEP = ("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1", "-pkeyopt", "rsa_mgf1_md:sha1")


@pytest.fixture
def openssl(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("the openssl command is not installed")

    def run(*arguments, stdin=b""):
        return subprocess.run(
            ["openssl", *map(str, arguments)], input=stdin, capture_output=True, cwd=tmp_path, check=True
        ).stdout

    return run


def test_openssl_accepts_our_signature(openssl, tmp_path):
    (tmp_path / "public.pem").write_text(public_pem("merchant"))
    (tmp_path / "signature").write_bytes(base64.b64decode(crypto.sign(key("merchant"), MESSAGE)))
    verdict = openssl("dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", stdin=MESSAGE)
    assert b"Verified OK" in verdict


def test_we_make_the_very_signature_openssl_makes(openssl, tmp_path):
    (tmp_path / "private.pem").write_text(private_pem("merchant"))
    theirs = openssl("dgst", "-sha256", "-sign", "private.pem", stdin=MESSAGE)
    assert base64.b64decode(crypto.sign(key("merchant"), MESSAGE)) == theirs


def test_we_accept_openssls_signature_and_no_other(openssl, tmp_path):
    (tmp_path / "private.pem").write_text(private_pem("platform"))
    theirs = openssl("dgst", "-sha256", "-sign", "private.pem", stdin=MESSAGE)
    public = crypto.public_key(public_pem("platform"))
    assert crypto.verifies(public, theirs, MESSAGE)
    assert not crypto.verifies(public, theirs, MESSAGE + b" ")
    assert not crypto.verifies(public, theirs[:-1], MESSAGE)
    assert not crypto.verifies(crypto.public_key(public_pem("stranger")), theirs, MESSAGE)


def test_openssl_reads_a_field_we_encrypted(openssl, tmp_path):
    (tmp_path / "private.pem").write_text(private_pem("platform"))
    serial, text = make_client().encrypt_field("张三 +852 1234")
    assert serial == PUBLIC_KEY_ID
    plain = openssl("pkeyutl", "-decrypt", "-inkey", "private.pem", *OAEP, stdin=base64.b64decode(text))
    assert plain.decode() == "张三 +852 1234"


def test_we_read_a_field_openssl_encrypted(openssl, tmp_path):
    (tmp_path / "public.pem").write_text(public_pem("merchant"))
    sealed = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", *OAEP, stdin="李四".encode())
    assert make_client().decrypt_field(base64.b64encode(sealed).decode()) == "李四"


def test_a_field_longer_than_the_key_allows_is_refused_and_one_that_just_fits_is_not():
    client = make_client()
    client.encrypt_field("x" * 214)
    with pytest.raises(InvalidField):
        client.encrypt_field("x" * 215)


def test_a_field_cannot_be_encrypted_while_no_key_is_known():
    with pytest.raises(RequestNotSent):
        make_client(keys=KeyRing()).encrypt_field("x")


@pytest.mark.parametrize("text", ["", "!!", "AAAA"])
def test_a_field_that_is_not_for_us_fails_to_decrypt(text):
    with pytest.raises(DecryptionFailed):
        make_client().decrypt_field(text)


@settings(max_examples=50)
@given(
    st.binary(max_size=500),
    st.text("abcdefghij0123", min_size=12, max_size=12),
    st.sampled_from(["", "papay"]),
)
def test_what_was_sealed_opens_again(plain, nonce, extra):
    resource = seal(plain, nonce=nonce, associated_data=extra)
    opened = crypto.open_sealed(make_identity().sealing_keys, resource["ciphertext"], nonce, extra)
    assert opened == plain


@pytest.mark.parametrize(
    "change",
    [
        {"ciphertext": "AAAA"},
        {"ciphertext": "not base64!"},
        {"nonce": "x"},
        {"nonce": ""},
        {"associated_data": "y"},
    ],
)
def test_what_was_changed_does_not_open(change):
    resource = seal(b"{}") | change
    with pytest.raises(DecryptionFailed):
        crypto.open_sealed(
            (AESGCM(APIV3_KEY.encode()),),
            resource["ciphertext"],
            resource["nonce"],
            resource["associated_data"],
        )


@pytest.mark.parametrize("text", ["", "no pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_a_broken_private_key_is_refused_without_being_repeated(text):
    with pytest.raises(ValueError, match="no unencrypted RSA private key") as caught:
        make_identity(private_key=text)
    assert "AAAA" not in str(caught.value)


def test_a_key_that_is_not_rsa_is_refused():
    curve = ec.generate_private_key(ec.SECP256R1())
    pem = curve.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="not an RSA key"):
        crypto.private_key(pem)
    public = curve.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ValueError, match="not an RSA key"):
        crypto.public_key(public)
    with pytest.raises(ValueError, match="no RSA public key: it is a certificate"):
        crypto.public_key(certificate_pem("platform", "5157F09EFDC096DE15EBE81A47057A7200000001"))
