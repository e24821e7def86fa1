"""Keys, certificates and the three operations on them: sign, verify, encrypt.

Written against the manual with ``cryptography`` alone. Nothing is shared with the client of this package: an
emulator that used the same signing code would agree with its mistakes.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

ALPHABET = string.ascii_letters + string.digits
CERTIFICATE_YEARS = 5


@dataclass(frozen=True, repr=False)
class Certificate:
    """A key with its certificate, both PEM text. ``serial`` is 40 upper-case hex digits."""

    serial: str
    private_key: str
    certificate: str
    effective_at: float
    expires_at: float

    @classmethod
    def generate(cls, common_name: str, organisation: str, *, extra_days: int = 0) -> Certificate:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        number = int.from_bytes(bytes([0x10 + secrets.randbelow(0x60)]) + secrets.token_bytes(19), "big")
        start = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1)
        end = start + timedelta(days=365 * CERTIFICATE_YEARS + extra_days)
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(number)
            .not_valid_before(start)
            .not_valid_after(end)
            .sign(key, hashes.SHA256())
        )
        return cls(
            serial=f"{number:040X}",
            private_key=_private_pem(key),
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            effective_at=start.timestamp(),
            expires_at=end.timestamp(),
        )


@dataclass(frozen=True, repr=False)
class Keys:
    """Everything secret in one sandbox: the merchant's half and WeChat Pay's half."""

    merchant: Certificate
    platform: Certificate
    public_key_id: str
    public_key: str
    public_private_key: str
    apiv3_key: str

    @classmethod
    def generate(cls) -> Keys:
        """Make new keys (three RSA pairs of 2048 bits: takes a moment)."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(
            merchant=Certificate.generate("Sandbox merchant", "django-wxpay sandbox"),
            platform=Certificate.generate("Sandbox platform certificate", "django-wxpay sandbox"),
            public_key_id="PUB_KEY_ID_" + "".join(secrets.choice(string.digits) for _ in range(34)),
            public_key=_public_pem(key),
            public_private_key=_private_pem(key),
            apiv3_key=new_apiv3_key(),
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Keys:
        return cls(
            **{
                **stored,
                "merchant": Certificate(**stored["merchant"]),
                "platform": Certificate(**stored["platform"]),
            }
        )


@lru_cache(maxsize=1)
def shared_keys() -> Keys:
    """Return keys made once per process, for tests that start many sandboxes."""
    return Keys.generate()


def new_apiv3_key() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(32))


def new_nonce(length: int = 32) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def sign(private_pem: str, message: bytes) -> str:
    """Sign with RSASSA-PKCS1-v1_5 and SHA-256; return base64 in one line."""
    signature = load_private_key(private_pem).sign(message, padding.PKCS1v15(), hashes.SHA256())
    return base64.b64encode(signature).decode()


def verifies(certificate_pem: str, message: bytes, signature: str) -> bool:
    """Tell whether a base64 signature was made over exactly this message."""
    try:
        raw = base64.b64decode(signature, validate=True)
        load_certificate_key(certificate_pem).verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def encrypt(apiv3_key: str, plain: bytes, associated_data: str) -> dict[str, str]:
    """Encrypt with AES-256-GCM; return the resource as WeChat Pay writes it (12-byte nonce, tag at the end)."""
    nonce = new_nonce(12)
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plain, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated_data,
        "ciphertext": base64.b64encode(sealed).decode(),
    }


@lru_cache(maxsize=64)
def load_private_key(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@lru_cache(maxsize=64)
def load_certificate_key(pem: str) -> rsa.RSAPublicKey:
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
