"""Keys as people hand them over: what is a key is taken, what is none is named, and neither is ever repeated."""

import textwrap
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from django_wxpay.client import crypto

from .wire import certificate, certificate_pem, key, private_pem, public_pem

PKCS8 = private_pem("merchant")
SERIAL = "5157F09EFDC096DE15EBE81A47057A7200000001"


def private_as(encoding, form, encryption=None):
    return key("merchant").private_bytes(encoding, form, encryption or serialization.NoEncryption())


PKCS1 = private_as(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL).decode()
LOCKED = serialization.BestAvailableEncryption(b"1900000001")


def bare(pem):
    return "".join(pem.strip().splitlines()[1:-1])


def forms_of(pem):
    return {
        "as it is": pem,
        "without a last line end": pem.strip(),
        "CRLF": pem.replace("\n", "\r\n"),
        "indented": textwrap.indent(pem, "    "),
        "bytes": pem.encode(),
        "line ends written out": pem.strip().replace("\n", "\\n"),
        "CRLF written out": pem.replace("\n", "\\r\\n"),
        "blanks for line ends": pem.strip().replace("\n", " "),
        "one line": pem.strip().replace("\n", ""),
        "in quotes": f'"{pem.strip()}"',
        "BOM": "\ufeff" + pem,
        "BOM in a file": ("\ufeff" + pem).encode(),
        "with text before": "Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n" + pem,
        "bare base64": bare(pem),
        "bare base64 with line ends": "\n".join(pem.strip().splitlines()[1:-1]) + "\n",
        "bare base64 with line ends written out": "\\n".join(pem.strip().splitlines()[1:-1]),
        "bare base64 in bytes": bare(pem).encode(),
    }


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("form", forms_of(PKCS8))
@pytest.mark.parametrize("pem", [PKCS8, PKCS1], ids=["PKCS8", "PKCS1"])
def test_a_private_key_is_taken_in_every_form(pem, form):
    loaded = crypto.private_key(forms_of(pem)[form])
    assert loaded.private_numbers() == key("merchant").private_numbers()


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_private_key_in_a_der_file_is_taken(form):
    der = private_as(serialization.Encoding.DER, getattr(serialization.PrivateFormat, form))
    assert crypto.private_key(der).private_numbers() == key("merchant").private_numbers()


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("form", forms_of(public_pem("platform")))
def test_a_public_key_is_taken_in_every_form(form):
    loaded = crypto.public_key(forms_of(public_pem("platform"))[form])
    assert loaded.public_numbers() == key("platform").public_key().public_numbers()


@pytest.mark.scenario("S63")
def test_a_key_is_found_behind_a_certificate_in_one_file():
    both = certificate_pem("platform", SERIAL) + PKCS8
    assert crypto.private_key(both).private_numbers() == key("merchant").private_numbers()
    assert crypto.certificate(both).serial_number == int(SERIAL, 16)


WRONG = {
    "a certificate": (certificate_pem("platform", SERIAL), "it is a certificate"),
    "a bare certificate": (bare(certificate_pem("platform", SERIAL)), "it is a certificate"),
    "a public key": (public_pem("platform"), "it is a public key"),
    "an encrypted key": (
        private_as(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, LOCKED),
        "encrypted with a password",
    ),
    "an encrypted PKCS1 key": (
        private_as(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, LOCKED),
        "encrypted with a password",
    ),
    "a p12 file": (
        pkcs12.serialize_key_and_certificates(
            b"x", key("merchant"), certificate("merchant", SERIAL), None, serialization.NoEncryption()
        ),
        "a .p12 file",
    ),
    "a key cut short": (PKCS8[:900], "cut"),
    "a bare key cut short": (bare(PKCS8)[:800], "cut"),
    "a key with a character changed": (PKCS8.replace(bare(PKCS8)[400:404], "!!!!"), "cut"),
    "a key with its middle changed": (PKCS8.replace(bare(PKCS8)[40:60], "A" * 20), "cut"),
    "nothing": ("", "cut"),
    "a path": ("/run/secrets/apiclient_key.pem", "cut"),
    "bytes": (bytes(range(256)), "cut"),
}


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_private_key_is_named_and_no_part_of_it_is_repeated_anywhere(wrong):
    given, hint = WRONG[wrong]
    with pytest.raises(ValueError, match=hint) as caught:
        crypto.private_key(given)
    error = caught.value
    shown = "".join(
        traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True).format()
    )
    assert error.__cause__ is error.__context__ is None
    inside = bare(given) if isinstance(given, str) and "\n" in given else str(given)
    pieces = [inside[at : at + 24] for at in range(0, max(len(inside) - 24, 1), 24)] if inside else []
    assert not any(piece in shown for piece in pieces)
