"""The other end of the wire, for tests of the client alone: it answers as told, signs with its own keys.

It shares no code with `django_wxpay.client`: the messages to sign are spelled out here once more.
"""

import base64
import json
import time
from datetime import datetime, timedelta, timezone
from functools import cache
from io import BytesIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from django_wxpay.client import Client, Identity, KeyRing

APIV3_KEY = "0123456789abcdef0123456789ABCDEF"
PREVIOUS_APIV3_KEY = "fedcba9876543210FEDCBA9876543210"
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000001002026030100000006500001"
MERCHANT_SERIAL = "3A00000000000000000000000000000000000001"


@cache
def key(name):
    """A key pair by name: ``merchant``, ``platform``, ``stranger`` …, made once per run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(name):
    return (
        key(name)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_pem(name):
    return (
        key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@cache
def certificate(name, serial, begins=-1, ends=365):
    """A self-signed certificate of a key; begins, ends: days from now."""
    now = datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key(name).public_key())
        .serial_number(int(serial, 16))
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .sign(key(name), hashes.SHA256())
    )


def certificate_pem(name, serial, **validity):
    return certificate(name, serial, **validity).public_bytes(serialization.Encoding.PEM).decode()


def seal(plain, *, apiv3_key=APIV3_KEY, nonce="synthnonce12", associated_data="", original_type=None):
    """A ``resource`` as notifications carry it."""
    text = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), text, associated_data.encode())
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(sealed).decode(),
        "nonce": nonce,
        "associated_data": associated_data,
    }
    return resource | ({"original_type": original_type} if original_type else {})


def listed(name, serial, *, apiv3_key=APIV3_KEY, **validity):
    """An item of the list of certificates."""
    made = certificate(name, serial, **validity)
    sealed = seal(
        certificate_pem(name, serial, **validity).encode(), apiv3_key=apiv3_key, associated_data="certificate"
    )
    return {
        "serial_no": serial,
        "effective_time": made.not_valid_before_utc.isoformat(),
        "expire_time": made.not_valid_after_utc.isoformat(),
        "encrypt_certificate": sealed,
    }


def signed(body=b"", *, name="platform", serial=PUBLIC_KEY_ID, at=None, nonce="n0nce", **changed):
    """The headers WeChat Pay puts on a message; ``changed`` overrides (None: left out)."""
    at = str(int(time.time() if at is None else at))
    message = f"{at}\n{nonce}\n".encode() + body + b"\n"
    headers = {
        "Wechatpay-Timestamp": at,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature": base64.b64encode(key(name).sign(message, padding.PKCS1v15(), hashes.SHA256())).decode(),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }
    headers.update({f"Wechatpay-{part.replace('_', '-').title()}": value for part, value in changed.items()})
    return {header: value for header, value in headers.items() if value is not None}


class Reply:
    """One answer. body: bytes, or what becomes JSON. signing: as `signed` takes; ``sign=False``: none.

    signs: the bytes that are signed instead of the body.
    """

    def __init__(self, status=200, body=None, *, headers=(), sign=True, signs=None, **signing):
        self.status = status
        if body is None:
            body = b"" if status == 204 else {}
        self.body = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.signs = self.body if signs is None else signs
        self.signing = signing if sign else None
        self.more = dict(headers)

    @property
    def headers(self):
        """Made when it is sent: a signature given when tests are collected is old when the last of them run."""
        return {
            "Request-ID": "08F0A1-268512771",
            "Date": "Sun, 01 Mar 2026 04:00:00 GMT",
            **(signed(self.signs, **self.signing) if self.signing is not None else {}),
            **self.more,
        }


class FakeWeChat(HTTPAdapter):
    """A requests adapter that answers with the replies it was given, in order; an exception is raised."""

    def __init__(self, *replies):
        super().__init__()
        self.replies = list(replies)
        self.requests = []
        self.timeouts = []

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        self.requests.append(request)
        self.timeouts.append(timeout)
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        raw = HTTPResponse(BytesIO(reply.body), HTTPHeaderDict(reply.headers), reply.status, preload_content=False)
        return self.build_response(request, raw)

    @property
    def last(self):
        return self.requests[-1]

    @property
    def sent(self):
        """The JSON of the last request."""
        return json.loads(self.last.body)


def make_identity(**changed):
    known = {
        "mchid": "1900000100",
        "appid": "wx1111111111111111",
        "serial_no": MERCHANT_SERIAL,
        "private_key": key("merchant"),
        "apiv3_key": APIV3_KEY,
    }
    return Identity(**(known | changed))


def make_client(*replies, mode="direct", identity=None, keys=None, **options):
    """A client whose network is a `FakeWeChat`, found again as ``client.wire``."""
    wire = FakeWeChat(*replies)
    client = Client(
        identity or make_identity(mode=mode),
        keys=keys or KeyRing({PUBLIC_KEY_ID: public_pem("platform")}),
        transport=wire,
        **options,
    )
    client.wire = wire
    return client
