"""The four cryptographic operations of APIv3, over keys that were parsed once.

Padding and hash objects are shared: they hold no state, and making them anew costs more than it seems next to
a verification of 30 µs.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from . import pem
from .errors import DecryptionFailed
from .privacy import unseen

T = TypeVar("T")

_PKCS1 = PKCS1v15()
_SHA256 = hashes.SHA256()
# Sensitive fields: SHA-1 for both hashes, as the manual demands; OAEP does not rest on collision resistance.
_OAEP = OAEP(mgf=MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


@unseen
def private_key(key: str | bytes | RSAPrivateKey) -> RSAPrivateKey:
    """Return a merchant's private key from its text or file, in any form people have it, or as it is when loaded.

    PKCS#8 or PKCS#1; PEM, also without its BEGIN and END lines, on one line or with ``\\n`` as two characters; DER.
    ValueError, without any part of the text, when it is no RSA private key; it says what it is instead.
    """
    if isinstance(key, RSAPrivateKey):
        return key
    loaded = _first(key, ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"), _load_private)
    if loaded is None:
        problem = pem.described(key)
        raise ValueError(f"The private key is no unencrypted RSA private key: {problem}. Use apiclient_key.pem.")
    if not isinstance(loaded, RSAPrivateKey):
        raise ValueError("The private key is not an RSA key; WeChat Pay signs with RSA.")
    return loaded


@unseen
def public_key(key: str | bytes | RSAPublicKey) -> RSAPublicKey:
    """Return a WeChat Pay public key, in any form as `private_key`, or as it is; ValueError when it is none."""
    if isinstance(key, RSAPublicKey):
        return key
    loaded = _first(key, ("PUBLIC KEY", "RSA PUBLIC KEY"), load_der_public_key)
    if loaded is None:
        problem = pem.described(key)
        raise ValueError(f"The public key is no RSA public key: {problem}. Use pub_key.pem.")
    if not isinstance(loaded, RSAPublicKey):
        raise ValueError("The public key is not an RSA key; WeChat Pay signs with RSA.")
    return loaded


@unseen
def certificate(text: str | bytes) -> x509.Certificate:
    """Return an X.509 certificate, in any form as `private_key`; ValueError when it is none."""
    loaded = _first(text, ("CERTIFICATE",), x509.load_der_x509_certificate)
    if loaded is None:
        problem = pem.described(text)
        raise ValueError(f"The certificate is none: {problem}.")
    return loaded


def _first(given: str | bytes, labels: tuple[str, ...], load: Callable[[bytes], T]) -> T | None:
    """Return the first part of a text that loads, among those that are labelled so or not at all."""
    for label, der in pem.parts(given):
        if label in ("", *labels):
            try:
                return load(der)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                continue
    return None


@lru_cache(maxsize=16)  # an RSA key is checked as it is loaded, which takes as long as twenty signatures
def _load_private(der: bytes) -> PrivateKeyTypes:
    return load_der_private_key(der, password=None)


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial as WeChat Pay writes it: hexadecimal capitals."""
    return f"{certificate.serial_number:X}"


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """Return the base64 of the RSA-SHA256 signature of a message."""
    return b64encode(key.sign(message, _PKCS1, _SHA256)).decode("ascii")


def verifies(key: RSAPublicKey, signature: bytes, message: bytes) -> bool:
    """Say whether a signature is the key's own over this very message."""
    try:
        key.verify(signature, message, _PKCS1, _SHA256)
    except InvalidSignature:
        return False
    return True


def encrypt_field(key: RSAPublicKey, text: str) -> str:
    """Return the base64 of a sensitive field, readable by WeChat Pay only.

    ValueError when it does not fit (214 bytes of UTF-8 with a key of 2048 bits).
    """
    return b64encode(key.encrypt(text.encode(), _OAEP)).decode("ascii")


def decrypt_field(key: RSAPrivateKey, ciphertext: str) -> str:
    """Return the text of a sensitive field that WeChat Pay encrypted for the merchant."""
    try:
        return key.decrypt(b64decode(ciphertext, validate=True), _OAEP).decode()
    except ValueError:
        raise DecryptionFailed("The merchant's private key does not open this field.") from None


def open_sealed(keys: tuple[AESGCM, ...], ciphertext: str, nonce: str, associated_data: str) -> bytes:
    """Return what AES-256-GCM sealed, tried with each key in turn; DecryptionFailed when none opens it."""
    try:
        sealed = b64decode(ciphertext, validate=True)
        iv, extra = nonce.encode(), associated_data.encode()
    except ValueError:
        raise DecryptionFailed("The sealed text is not base64, or its nonce is broken text.") from None
    for key in keys:
        try:
            return key.decrypt(iv, sealed, extra)
        except (InvalidTag, ValueError):
            continue
    raise DecryptionFailed(
        "No APIv3 key opens the message: was the key changed in the merchant platform? "
        "Set the new one, and keep the old one as the previous key while messages are under way."
    )
