"""Platform certificates: the keys answers and notifications are signed with, and their successors.

Source: APIv3 manual, "Get platform certificates", /v3/global/certificates and /v3/certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import crypto
from .answers import RawAnswer, prove, read_object
from .base import BaseClient
from .errors import MessageMalformed, OutcomeUnknown
from .identity import Identity
from .keyring import KeyRing, normal_serial
from .privacy import Unseen, unseen

PATHS = {"global": "/v3/global/certificates", "mainland": "/v3/certificates"}


@dataclass(frozen=True)
class DownloadedCertificate:
    """One platform certificate. ``item`` is what WeChat Pay sent, still encrypted: what may be stored."""

    serial_no: str
    effective_time: datetime
    expire_time: datetime
    item: dict[str, Any] = field(repr=False)
    certificate: x509.Certificate = field(repr=False)


class Certificates(Unseen):
    """The call for platform certificates; `client.certificates`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client
        # How many seconds WeChat Pay's clock is ahead of ours, as its last answer here told; None when none did.
        self.clock_skew: float | None = None

    def download(self) -> list[DownloadedCertificate]:
        """Return the platform certificates in use and soon to be; none when there is a public key only.

        Proven twice: each is sealed with the APIv3 key, and the answer is signed with one of them or with a
        key known before. The key ring is not changed: store them, then `KeyRing.add` them.

        Raises what `Client.request` raises, DecryptionFailed (is the APIv3 key right?), MessageMalformed.
        """
        try:
            return self._download()
        except OutcomeUnknown as error:
            if not 200 <= error.status < 300:
                raise
        return self._download()  # the first answer was a probe, perhaps

    def _download(self) -> list[DownloadedCertificate]:
        raw = self._client.exchange("GET", PATHS[self._client.identity.region])
        if raw.server_time is not None:
            self.clock_skew = raw.server_time.timestamp() - self._client.clock()
        if raw.status != 200:
            raise self._client.refusal(raw)
        found = [open_item(self._client.identity, item) for item in _items(raw)]
        fresh = KeyRing({one.serial_no: one.certificate for one in found}, clock=self._client.clock)

        def find(serial: str) -> RSAPublicKey | None:
            # Memory only: the ring's own refresh may be what called us.
            return fresh.remembered(serial) or self._client.keys.remembered(serial)

        prove(raw, find, self._client.clock())
        return found


@unseen
def open_item(identity: Identity, item: dict[str, Any]) -> DownloadedCertificate:
    """Return a certificate from an item of the list as sent, fresh or from a store.

    Raises DecryptionFailed when no APIv3 key opens it, MessageMalformed when it is not what it says it is.
    """
    try:
        sealed = item["encrypt_certificate"]
        serial = normal_serial(item["serial_no"])
        begins, ends = _moment(item["effective_time"]), _moment(item["expire_time"])
        ciphertext, nonce, extra = sealed["ciphertext"], sealed["nonce"], sealed.get("associated_data") or ""
        if not all(isinstance(text, str) for text in (ciphertext, nonce, extra)):
            raise TypeError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MessageMalformed("An item of the certificate list is not as the manual describes.") from error
    pem = crypto.open_sealed(identity.sealing_keys, ciphertext, nonce, extra)
    try:
        certificate = crypto.certificate(pem)
    except ValueError as error:
        raise MessageMalformed(f"The platform certificate {serial!r} is no certificate.") from error
    if crypto.serial_of(certificate) != serial.lstrip("0"):
        raise MessageMalformed(f"The platform certificate listed as {serial!r} has another serial.")
    return DownloadedCertificate(serial, begins, ends, item, certificate)


def _items(raw: RawAnswer) -> list[dict[str, Any]]:
    try:
        items = read_object(raw.body.decode()).get("data") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError("not a list")
    except ValueError:
        raise OutcomeUnknown(
            "The list of certificates cannot be read.", status=raw.status, request_id=raw.request_id
        ) from None
    return items


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    return moment
