"""Keys and certificates as people really hand them over: pasted, quoted, on one line, without BEGIN and END, as DER.

Nothing here raises, and no text returned repeats any part of what was given: it may be a private key.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_ENCRYPTED = re.compile(r"Proc-Type:|ENCRYPTED")
# Line ends that an environment variable or a JSON file holds as two characters each.
_WRITTEN_LINE_ENDS = re.compile(r"\\r|\\n")


class Part(NamedTuple):
    """One key or certificate: the word of its BEGIN line ("" where there was none), and its DER bytes."""

    label: str
    der: bytes

    def __repr__(self) -> str:
        return f"<Part {self.label or 'without a label'}>"


def parts(given: str | bytes) -> list[Part]:
    """Return the keys and certificates in a text, or in the bytes of a file; none when nothing can be read."""
    if isinstance(given, bytes):
        if given[:1] == b"\x30":  # DER: an ASN.1 sequence; no text of ours begins with a nought
            return [Part("", given)]
        given = given.decode("utf-8", "replace")
    text = _WRITTEN_LINE_ENDS.sub("\n", given).strip("\ufeff\"' \t\r\n")
    if "-----" not in text:
        return _part("", text)
    return [part for label, inside in _BLOCK.findall(text) for part in _part(label, inside)]


def _part(label: str, text: str) -> list[Part]:
    if _ENCRYPTED.search(text):
        return [Part("ENCRYPTED PRIVATE KEY", b"")]
    try:
        return [Part(label, b64decode("".join(text.split()), validate=True))]
    except ValueError:
        return []


def described(given: str | bytes) -> str:
    """Say what a text is, for a person who gave the wrong one: ``it is a certificate``."""
    found = parts(given)
    if not found:
        return "nothing in it can be read as a key: it is cut, mixed up, or something else"
    label, der = found[0]
    if "ENCRYPTED" in label:
        return "it is encrypted with a password"
    if _loads(x509.load_der_x509_certificate, der):
        return "it is a certificate"
    if _loads(load_der_public_key, der):
        return "it is a public key"
    if _loads(lambda data: load_der_private_key(data, None), der):
        return "it is a private key"
    if der[4:7] == b"\x02\x01\x03":
        return "it is a .p12 file"
    return "nothing in it can be read as a key: it is cut, mixed up, or something else"


def _loads(load: object, der: bytes) -> bool:
    try:
        load(der)  # type: ignore[operator]
    except Exception:  # whatever a parser says of bytes that are not its own
        return False
    return True
