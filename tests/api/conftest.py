"""WeChat Pay as a forger would play it, too: notifications signed and sealed by keys that are made here."""

import json
import secrets
import time
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.test import Client

from django_wxpay.api import notifications as view
from django_wxpay.api.refusals import RefusalLog

APIV3_KEY = "0123456789abcdef0123456789abcdef"
SERIAL = "PUB_KEY_ID_0110000000012026030100000000000001"


@pytest.fixture(scope="session")
def keys():
    """The merchant's private key and WeChat Pay's."""
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key):
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def merchants(settings, keys):
    """Two merchants, `default` and `other`, that trust WeChat Pay's public key and fetch no certificates."""
    ours, theirs = keys
    common = {
        "APPID": "wx0123456789abcdef",
        "PRIVATE_KEY": pem(ours),
        "SERIAL_NO": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
        "APIV3_KEY": APIV3_KEY,
        "PUBLIC_KEY_ID": SERIAL,
        "PUBLIC_KEY": public_pem(theirs),
        "CERTIFICATES": False,
    }
    known = {"default": {"MCHID": "1900000001", **common}, "other": {"MCHID": "1900000002", **common}}
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": known}
    return known


class WeChat:
    """Sends notifications; every part of one can be spoiled."""

    path = "/wxpay/notify/default/"

    def __init__(self, key):
        self.key = key
        self.browserless = Client(raise_request_exception=False)

    def body(self, payload, *, event_type="PAPAY.SIGN", event_id=None, apiv3_key=APIV3_KEY, **extra):
        nonce = secrets.token_hex(6)
        sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), json.dumps(payload).encode(), b"papay")
        envelope = {
            "id": event_id or secrets.token_hex(16),
            "create_time": "2026-03-01T12:00:05+08:00",
            "event_type": event_type,
            "resource_type": "encrypt-resource",
            "resource": {
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": b64encode(sealed).decode(),
                "associated_data": "papay",
                "nonce": nonce,
            },
        }
        return json.dumps(envelope | extra).encode()

    def headers(self, body, *, key=None, at=None, serial=SERIAL):
        at, nonce = int(at or time.time()), secrets.token_hex(16)
        text = f"{at}\n{nonce}\n".encode() + body + b"\n"
        signature = (key or self.key).sign(text, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Wechatpay-Timestamp": str(at),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": serial,
            "Wechatpay-Signature": b64encode(signature).decode(),
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Request-ID": "08F5C0A60710",
        }

    def post(self, body, headers=None, *, path=None, content_type="application/json", **extra):
        headers = self.headers(body) if headers is None else headers
        return self.browserless.generic("POST", path or self.path, body, content_type, headers=headers, **extra)

    def tell(self, payload, **options):
        return self.post(self.body(payload, **options))


@pytest.fixture
def wechat(merchants, keys, monkeypatch):
    monkeypatch.setattr(view, "refusals", RefusalLog())  # each test begins with its lines unwritten
    return WeChat(keys[1])


def signed(contract, **changes):
    """What PAPAY.SIGN says of a contract."""
    return {
        "mchid": contract.mchid,
        "appid": contract.appid,
        "out_contract_code": contract.out_contract_code,
        "plan_id": contract.plan_id,
        "contract_id": "202603011234567890",
        "openid": contract.openid,
        "operate_time": "2026-03-01T12:10:00+08:00",
        "contract_status": "SIGNED",
        **changes,
    }
