"""WeChat Pay's notifications, caught on their way to the shop: to be handed over late, twice, altered or never."""

import json
from base64 import b64decode, b64encode
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.test import Client

from django_wxpay import conf, signals
from django_wxpay.sandbox.engine import protocol
from django_wxpay.services import notifications

NAMED_SIGNALS = {name: value for name, value in vars(signals).items() if isinstance(value, signals.Signal)}


class Letter(NamedTuple):
    """One message as it left WeChat Pay."""

    alias: str
    headers: dict
    body: bytes

    def receive(self, alias=None):
        """Hand it to the service; returns the `Notification`."""
        return notifications.receive(alias or self.alias, self.headers, self.body)

    def post(self, alias=None):
        """Hand it to the address, as WeChat Pay does; returns the answer."""
        browserless = Client(raise_request_exception=False)
        path = f"/wxpay/notify/{alias or self.alias}/"
        return browserless.generic("POST", path, self.body, "application/json", headers=self.headers)

    def signed_by(self, sandbox, *, serial=None, shift=0):
        """The same bytes, signed again now (plus `shift` seconds) by WeChat Pay's key of today."""
        wechat = sandbox.wechat
        private_key, known_serial = wechat.certificates.signer()
        now = wechat.clock.wire_time() + shift
        signed = protocol.signature_headers(private_key, serial or known_serial, self.body, now=now)
        return self._replace(headers=self.headers | signed)

    def altered(self, sandbox, **changes):
        """The same message with other values in its outer part (None removes one), signed again."""
        content = {name: value for name, value in (json.loads(self.body) | changes).items() if value is not None}
        return self._replace(body=json.dumps(content).encode()).signed_by(sandbox)

    def sealing(self, sandbox, plain, key=None):
        """The same message with other bytes sealed in it, signed again. key: another than the merchant's."""
        nonce, extra = "synthnonce34", "x"
        sealed = AESGCM((key or sandbox.wechat.keys.apiv3_key).encode()).encrypt(nonce.encode(), plain, extra.encode())
        resource = {
            "algorithm": "AEAD_AES_256_GCM", "ciphertext": b64encode(sealed).decode(), "nonce": nonce,
            "associated_data": extra, "original_type": "transaction",
        }  # fmt: skip
        return self.altered(sandbox, resource=resource)

    def opened(self, sandbox):
        """What is sealed in it."""
        sealed = json.loads(self.body)["resource"]
        key = AESGCM(sandbox.wechat.keys.apiv3_key.encode())
        extra = (sealed.get("associated_data") or "").encode()
        return key.decrypt(sealed["nonce"].encode(), b64decode(sealed["ciphertext"]), extra).decode()


def catch(sandbox):
    """Take every notification that is due, oldest first; WeChat Pay believes that it was delivered."""
    caught = []

    def take(url, headers, body):
        caught.append(Letter(urlsplit(url).path.rstrip("/").rpartition("/")[2], headers, body))
        return 200, b""

    notifications_of = sandbox.wechat.notifications
    sender, notifications_of.sender = notifications_of.sender, take
    try:
        sandbox.wechat.deliver_due()
    finally:
        notifications_of.sender = sender
    return caught


def write(sandbox, event_type, payload, *, alias="default", original_type="transaction"):
    """A genuine message with that content, about nothing that the emulator knows."""
    url = f"https://shop.example/wxpay/notify/{alias}/"
    sandbox.wechat.notifications.tell(
        conf.merchant(alias).mchid, event_type, url, payload, original_type=original_type, about="a test"
    )
    return catch(sandbox)[-1]


def payload_of_order(sandbox, order):
    """What WeChat Pay says of an order."""
    return sandbox.wechat.orders.shown(sandbox.wechat.orders.get(order.out_trade_no))


@contextmanager
def hearing(*names):
    """Listen to signals, all by default; gives the list of (name, row's number, state) heard so far."""
    heard, receivers = [], []
    for name in names or NAMED_SIGNALS:

        def receiver(sender, row, transition, name=name, **kwargs):
            heard.append((name, getattr(row, "number", None), transition.to_state))

        NAMED_SIGNALS[name].connect(receiver)
        receivers.append((NAMED_SIGNALS[name], receiver))
    try:
        yield heard
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)


@contextmanager
def receiver_of(name, receiver):
    """Connect a shop's receiver to a signal."""
    NAMED_SIGNALS[name].connect(receiver)
    try:
        yield
    finally:
        NAMED_SIGNALS[name].disconnect(receiver)
