"""Notifications: proving, decoding and decrypting what WeChat Pay tells us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from . import crypto, signatures
from .answers import read_object
from .base import BaseClient
from .errors import MessageMalformed
from .privacy import Unseen
from .texts import Hidden, hide

_ALGORITHM = "AEAD_AES_256_GCM"
_NAME = re.compile(r"[!-~]{1,64}")


class Envelope(NamedTuple):
    """A notification's outer part; ``resource`` is the sealed part.

    ``id``: as sent, or the SHA-256 of one that is no name of 64 characters (of the body, when there is none). The
    other texts are as sent, "" when they are absent or no text.
    """

    id: str
    create_time: str
    event_type: str
    resource_type: str
    summary: str
    original_type: str
    resource: dict[str, Any]

    def __repr__(self) -> str:
        return f"<Envelope {self.id} {self.event_type}>"


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    return value if isinstance(value, str) else ""


def _name(message: dict[str, Any], body: bytes) -> str:
    """What tells a message from others, the same for its repeats; it must fit a column, and be unique there."""
    name = _text(message, "id")
    if _NAME.fullmatch(name):
        return name
    return sha256(name.encode("utf-8", "surrogatepass") or body).hexdigest()


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
        """Return the outer part of a verified notification; MessageMalformed when nothing in it can be opened."""
        try:
            message = read_object(body.decode())
            resource = message["resource"]
            if resource["algorithm"] != _ALGORITHM:
                raise ValueError("sealed by an unknown algorithm")
            sealed = (resource["ciphertext"], resource["nonce"], resource.get("associated_data") or "")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MessageMalformed(f"The notification is not as the manual describes ({error}).") from None
        if {*map(type, sealed)} != {str}:
            raise MessageMalformed("The notification is not as the manual describes (something is no text).")
        return Envelope(
            _name(message, body),
            _text(message, "create_time"),
            _text(message, "event_type"),
            _text(message, "resource_type"),
            _text(message, "summary"),
            _text(resource, "original_type"),
            resource,
        )

    def decrypt(self, envelope: Envelope) -> tuple[dict[str, Any], str]:
        """Return a notification's content, as an object and as the text it was, every text in it `Hidden`.

        Tries the APIv3 key, then the previous one. Raises DecryptionFailed; MessageMalformed when what was
        sealed is no JSON object: that it opened proves all the same that it was sealed for us.
        """
        resource = envelope.resource
        plain = crypto.open_sealed(
            self._client.identity.sealing_keys,
            resource["ciphertext"],
            resource["nonce"],
            resource.get("associated_data") or "",
        )
        try:
            text = Hidden(plain.decode())
            return hide(read_object(text)), text
        except ValueError:
            raise MessageMalformed("The notification's content is no JSON object.") from None
