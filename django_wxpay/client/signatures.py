"""Proving that an answer or a notification comes from WeChat Pay, by its five ``Wechatpay-`` headers."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import crypto
from .errors import SignatureInvalid

ALGORITHM = "WECHATPAY2-SHA256-RSA2048"
TOLERANCE_SECONDS = 300
_LONGEST = 128
_LONGEST_SIGNATURE = 4096
_NEEDED = ("Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature")


def _in_any_case(headers: Mapping[str, str]) -> tuple[str, str, str, str, str | None]:
    """Return the five headers from a plain dictionary, which spells them in its own way."""
    lower = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in _NEEDED if lower.get(name.lower()) is None]
    if missing:
        raise SignatureInvalid(f"Not signed: {', '.join(missing)} missing.")
    timestamp, nonce, serial, signature = (lower[name.lower()] for name in _NEEDED)
    return timestamp, nonce, serial, signature, lower.get("wechatpay-signature-type")


def are_present(headers: Mapping[str, str]) -> bool:
    """Say whether a message carries a signature at all, good or bad."""
    return any(name.lower() == "wechatpay-signature" for name in headers)


def check(
    headers: Mapping[str, str],
    body: bytes,
    find_key: Callable[[str], RSAPublicKey | None],
    now: float,
) -> None:
    """Raise SignatureInvalid unless WeChat Pay signed these very bytes within five minutes of ``now``.

    headers: any mapping, in any case. body: the raw bytes (of an answer: after transport compression). The
    cheap checks come first, so that forgeries cost neither a key lookup nor RSA.

    A probe (``WECHATPAY/SIGNTEST/…``) needs no branch of its own: it fails like any forgery.
    """
    get = headers.get
    timestamp, nonce = get("Wechatpay-Timestamp"), get("Wechatpay-Nonce")
    serial, signature = get("Wechatpay-Serial"), get("Wechatpay-Signature")
    kind = get("Wechatpay-Signature-Type")
    if timestamp is None or nonce is None or serial is None or signature is None:
        timestamp, nonce, serial, signature, kind = _in_any_case(headers)
    if kind is not None and kind != ALGORITHM:
        raise SignatureInvalid(f"Signature type {kind[:_LONGEST]!r} is not {ALGORITHM}.")
    # A header sent twice arrives joined by a comma; which of the two was meant cannot be known.
    if "," in timestamp or "," in nonce or "," in serial or "," in signature:
        raise SignatureInvalid("A signature header was sent twice.")
    if len(nonce) > _LONGEST or len(serial) > _LONGEST or len(signature) > _LONGEST_SIGNATURE:
        raise SignatureInvalid("A signature header is too long.")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureInvalid("Wechatpay-Timestamp is no number of seconds.")
    skew = now - int(timestamp)
    if not -TOLERANCE_SECONDS <= skew <= TOLERANCE_SECONDS:
        raise SignatureInvalid(
            f"Signed {abs(skew):.0f} seconds {'ago' if skew > 0 else 'ahead of our clock'}, more than "
            f"{TOLERANCE_SECONDS}: a repeated old message, or our clock is wrong."
        )
    try:
        raw = b64decode(signature, validate=True)
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    except ValueError:
        raise SignatureInvalid("Wechatpay-Signature is not base64.") from None
    key = find_key(serial)
    if key is None:
        raise SignatureInvalid(f"No key of WeChat Pay is known under the serial {serial!r}.")
    if not crypto.verifies(key, raw, message):
        raise SignatureInvalid("The signature does not fit the message.")
