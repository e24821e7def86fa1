"""Notifications: proving, decoding and decrypting what WeChat Pay tells us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import crypto, signatures
from .answers import read_object
from .base import BaseClient
from .errors import MessageMalformed
from .privacy import Unseen

_ALGORITHM = "AEAD_AES_256_GCM"
_NAME = re.compile(r"[!-~]{1,64}")


class Envelope(NamedTuple):
    """A notification's outer part; ``resource`` is the sealed part, ``create_time`` is text as sent."""

    id: str
    create_time: str
    event_type: str
    resource_type: str
    summary: str
    original_type: str
    resource: dict[str, Any]

    def __repr__(self) -> str:
        return f"<Envelope {self.id} {self.event_type}>"


class Notifications(Unseen):
    """What to do with a notification's headers and bytes; `client.notifications`. Sends nothing."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise SignatureInvalid unless WeChat Pay signed these raw bytes within the last five minutes.

        headers: Django's ``request.headers`` or any mapping, in any case. The key ring may ask its store, and
        may download certificates, for a serial it does not know.
        """
        signatures.check(headers, body, self._client.keys.find, self._client.clock())

    def decode(self, body: bytes) -> Envelope:
        """Return the outer part of a verified notification; MessageMalformed when it is none."""
        try:
            told = read_object(body.decode())
            resource = told["resource"]
            if resource["algorithm"] != _ALGORITHM:
                raise ValueError("sealed by an unknown algorithm")
            envelope = Envelope(
                told["id"],
                told.get("create_time") or "",
                told["event_type"],
                told.get("resource_type") or "",
                told.get("summary") or "",
                resource.get("original_type") or "",
                resource,
            )
            sealed = (resource["ciphertext"], resource["nonce"], resource.get("associated_data") or "")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MessageMalformed(f"The notification is not as the manual describes ({error}).") from None
        if {*map(type, sealed), *map(type, envelope[:-1])} != {str}:
            raise MessageMalformed("The notification is not as the manual describes (something is no text).")
        if not (_NAME.fullmatch(envelope.id) and _NAME.fullmatch(envelope.event_type)):
            raise MessageMalformed("The notification has no proper id or event_type.")
        return envelope

    def decrypt(self, envelope: Envelope) -> tuple[dict[str, Any], str]:
        """Return a notification's content, as an object and as the text it was.

        Tries the APIv3 key, then the previous one. Raises DecryptionFailed; MessageMalformed when what was
        sealed is no JSON object.
        """
        resource = envelope.resource
        plain = crypto.open_sealed(
            self._client.identity.sealing_keys,
            resource["ciphertext"],
            resource["nonce"],
            resource.get("associated_data") or "",
        )
        try:
            text = plain.decode()
            return read_object(text), text
        except ValueError:
            raise MessageMalformed("The notification's content is no JSON object.") from None
