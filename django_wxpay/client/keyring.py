"""The keys that prove a message comes from WeChat Pay, found by the serial the message names."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import crypto
from .errors import RequestNotSent

PUBLIC_KEY_PREFIX = "PUB_KEY_ID_"
_CERTIFICATE_SERIAL = re.compile(r"[0-9A-Fa-f]{8,40}")
# An outgoing certificate may be used for a day after it was replaced, and clocks differ: keep it two.
_GRACE_SECONDS = timedelta(days=2).total_seconds()
# After an unknown serial nobody is asked for a while: each look outside brings all keys that there are, whatever
# serial it was made for, so a flood of forged ones costs no more and hides no genuine one for longer than this.
PAUSE_SECONDS = 2.0

Key = RSAPublicKey | x509.Certificate | str | bytes
Keys = Mapping[str, Key]


class _Known(NamedTuple):
    key: RSAPublicKey
    begins: float
    ends: float

    def may_sign(self, now: float) -> bool:
        return now < self.ends + _GRACE_SECONDS


def _known(key: Key) -> _Known:
    if isinstance(key, (str, bytes)):
        text = key.encode() if isinstance(key, str) else key
        key = crypto.certificate(text) if b"BEGIN CERTIFICATE" in text else crypto.public_key(text)
    if isinstance(key, RSAPublicKey):
        return _Known(key, float("-inf"), float("inf"))
    public = key.public_key()
    if not isinstance(public, RSAPublicKey):
        raise ValueError("The certificate does not hold an RSA key; WeChat Pay signs with RSA.")
    return _Known(
        public,
        key.not_valid_before_utc.timestamp(),
        key.not_valid_after_utc.timestamp(),
    )


def normal_serial(serial: str) -> str:
    """Return a serial as the ring stores it: certificates' in capitals, public key ids as they are."""
    return serial if serial.startswith(PUBLIC_KEY_PREFIX) else serial.upper()


class KeyRing:
    """Platform certificates and public keys at once, by serial.

    public_keys: those of the configuration, by id (``PUB_KEY_ID_…``); PEM text or loaded. load: returns what
    the shop's store holds, by serial. refresh: returns what a download brought, by serial, or None; it limits
    itself how often it downloads. Both are asked only for serials of 8 to 40 hexadecimal digits, and not within
    `PAUSE_SECONDS` after one was unknown; their values may be PEM text, certificates or keys. A certificate that
    ended more than two days ago proves nothing, wherever it comes from.

    Safe between threads without a lock: a dictionary is made anew and swapped in whole, never emptied.
    """

    def __init__(
        self,
        public_keys: Keys | None = None,
        *,
        load: Callable[[], Keys | None] | None = None,
        refresh: Callable[[], Keys | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = {normal_serial(serial): _known(key) for serial, key in (public_keys or {}).items()}
        self._fetched: dict[str, _Known] = {}
        self._load = load
        self._refresh = refresh
        self._clock = clock
        self._loaded_once = False
        self._pause_ends = 0.0

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join([*self._fixed, *self._fetched]) or 'empty'}>"

    def find(self, serial: str) -> RSAPublicKey | None:
        """Return the key a message names, or None: memory, then the store, then one refresh."""
        found = self.remembered(serial)
        if found or not _CERTIFICATE_SERIAL.fullmatch(serial) or self._is_pausing():
            return found
        for source in (self._load, self._refresh):
            if source is not None:
                self.add(source())
                if found := self.remembered(serial):
                    return found
        self._pause_ends = self._clock() + PAUSE_SECONDS
        return None

    def _is_pausing(self) -> bool:
        # The second half: a wall clock that was set back must not make it last.
        return 0 < self._pause_ends - self._clock() <= PAUSE_SECONDS

    def remembered(self, serial: str) -> RSAPublicKey | None:
        """Return the key a message names when it is in memory; ask nobody."""
        known = self._fixed.get(serial) or self._fetched.get(serial)
        if known is None:
            name = normal_serial(serial)
            known = self._fixed.get(name) or self._fetched.get(name)
        return known.key if known and known.may_sign(self._clock()) else None

    def add(self, keys: Keys | None) -> None:
        """Take in keys by serial, beside the ones at hand; those that are well past their end are left out."""
        if not keys:
            return
        news = {normal_serial(serial): _known(key) for serial, key in keys.items()}
        now = self._clock()
        self._fetched = {serial: known for serial, known in {**self._fetched, **news}.items() if known.may_sign(now)}

    def encryption_key(self) -> tuple[str, RSAPublicKey]:
        """Return serial and key to encrypt for WeChat Pay with: the public key, else the newest certificate.

        While none is known they are downloaded. Raises RequestNotSent when that brought none.
        """
        serial = self.preferred_serial()
        if self.remembered(serial) is None and self._refresh is not None and not self._is_pausing():
            self.add(self._refresh())
            serial = self.preferred_serial()
        key = self.remembered(serial)
        if key is None:
            self._pause_ends = self._clock() + PAUSE_SECONDS
            raise RequestNotSent("No key of WeChat Pay is known to encrypt with: download its certificates first.")
        return serial, key

    def preferred_serial(self) -> str:
        """Return the serial requests should name in ``Wechatpay-Serial``, or ``""`` while none is known."""
        for serial in self._fixed:
            if serial.startswith(PUBLIC_KEY_PREFIX):
                return serial
        if not self._fetched and not self._loaded_once and self._load is not None:
            self.add(self._load())
            self._loaded_once = True
        certificates = {**self._fixed, **self._fetched}
        now = self._clock()
        # A valid one before one that is not; among these the one that lasts longest.
        return max(
            certificates,
            key=lambda serial: (
                certificates[serial].begins <= now < certificates[serial].ends,
                certificates[serial].ends,
            ),
            default="",
        )
