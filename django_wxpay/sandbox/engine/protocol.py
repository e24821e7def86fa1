"""The envelope of every call: who asks, is the signature right, and how the answer is signed.

The order of the checks is WeChat Pay's: headers, then the signature over the raw bytes and the request target as
received, and only then anything inside the body.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import keys
from .answers import NO_ACCEPTANCE_RELATION, Refused
from .fields import BOTH, DIRECT, INSTITUTION, Field, read, text

SCHEME = "WECHATPAY2-SHA256-RSA2048"
SIGNATURE_WINDOW_SECONDS = 300
AUTHORIZATION_ITEMS = ("mchid", "nonce_str", "timestamp", "serial_no", "signature")
SIGN_MESSAGE_SHOWN = 512


@dataclass(frozen=True)
class Merchant:
    """A merchant number that may sign requests. ``mode`` decides which fields its requests have."""

    mchid: str
    appid: str
    mode: str


@dataclass
class Party:
    """For whom a request speaks, taken from its identity fields."""

    mchid: str
    appid: str
    sub_mchid: str = ""
    sub_appid: str | None = None


@dataclass
class Call:
    """One authenticated request."""

    merchant: Merchant
    sub_appids: dict[str, set[str]]  # of the sub-merchants the caller may act for
    method: str
    path: str
    target: str
    raw_body: bytes
    headers: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    fault_kind: str = ""

    @property
    def mode(self) -> str:
        return self.merchant.mode

    def body(self, *fields: Field) -> dict[str, Any]:
        """Return the checked JSON body. None at all is ``{}``: some calls have no field in direct mode."""
        if not self.raw_body:
            return self._read(fields, {}, "body")
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Refused(400, "INVALID_REQUEST", "Content-Type must be application/json")
        try:
            given = json.loads(self.raw_body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise _bad_parameter("", "the body is not JSON in UTF-8", "body") from None
        if not isinstance(given, dict):
            raise _bad_parameter("", "the body must be a JSON object", "body")
        return self._read(fields, given, "body")

    def query(self, *fields: Field) -> dict[str, Any]:
        """Return the checked query parameters."""
        given: dict[str, Any] = {}
        for name, value in parse_qsl(urlsplit(self.target).query, keep_blank_values=True):
            if name in given:
                raise _bad_parameter(f"/{name}", "is given twice", "query")
            given[name] = value
        return self._read(fields, given, "query")

    def in_path(self, name: str, value: str, longest: int) -> str:
        return str(self._read([Field(name, text(longest), BOTH)], {name: value}, "path")[name])

    def party(self, given: dict[str, Any]) -> Party:
        """Check the identity fields against the signer and return for whom the request speaks."""
        own_number = given.get("mchid") or given.get("sp_mchid")
        if own_number and own_number != self.merchant.mchid:
            raise Refused(403, "NO_AUTH", "the merchant number is not the one that signed the request")
        own_appid = given.get("appid") or given.get("sp_appid")
        if own_appid and own_appid != self.merchant.appid:
            raise Refused(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the merchant number")
        party = Party(self.merchant.mchid, self.merchant.appid)
        if self.mode == INSTITUTION and "sub_mchid" in given:
            party.sub_mchid, party.sub_appid = given["sub_mchid"], given.get("sub_appid")
            if party.sub_mchid not in self.sub_appids:
                raise Refused(
                    403,
                    "NO_AUTH",
                    f"{party.sub_mchid} is not a sub-merchant of {party.mchid} "
                    "(add it with POST /_sandbox/sub-merchants)",
                    reason=NO_ACCEPTANCE_RELATION,
                )
            if party.sub_appid and party.sub_appid not in self.sub_appids[party.sub_mchid]:
                raise Refused(400, "APPID_MCHID_NOT_MATCH", "sub_appid is not bound to sub_mchid")
        return party

    def _read(self, fields: Sequence[Field], given: dict[str, Any], location: str) -> dict[str, Any]:
        known = {one.name for one in fields}
        self.ignored += [name for name in given if name not in known]
        return read(fields, given, mode=self.mode, location=location)


MCHID = text(32, pattern=r"[0-9]+")
APPID = text(32, pattern=r"[0-9A-Za-z]+")
# The identity fields that a request carries, by what its manual page lists.
WITH_APPIDS = (
    Field("appid", APPID, DIRECT, DIRECT),
    Field("sp_appid", APPID, INSTITUTION, INSTITUTION),
    Field("sub_mchid", MCHID, INSTITUTION, INSTITUTION),
    Field("sub_appid", APPID, modes=INSTITUTION),
)
WITH_NUMBERS = (
    Field("mchid", MCHID, DIRECT, DIRECT),
    Field("sp_mchid", MCHID, INSTITUTION, INSTITUTION),
    Field("sub_mchid", MCHID, INSTITUTION, INSTITUTION),
)
WITH_SUB_MCHID = (Field("sub_mchid", MCHID, INSTITUTION, INSTITUTION),)
WITH_BOTH = WITH_NUMBERS + (WITH_APPIDS[0], WITH_APPIDS[1], WITH_APPIDS[3])


def check_headers(headers: dict[str, str], *, media_types: Sequence[str] = ("application/json",)) -> None:
    """Refuse requests without User-Agent or Accept, as the gateway does."""
    if not headers.get("user-agent", "").strip():
        raise Refused(400, "INVALID_REQUEST", "the User-Agent header is missing or empty")
    accept = headers.get("accept", "").strip()
    if not accept:
        raise Refused(400, "INVALID_REQUEST", "the Accept header is missing")
    wanted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not wanted & {"*/*", "application/*", *media_types}:
        raise Refused(406, "INVALID_REQUEST", f"Accept must allow {media_types[0]}")


def read_authorization(header: str) -> dict[str, str]:
    """Return the five items of the Authorization header, in whatever order they came."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme != SCHEME:
        raise sign_error(f"the Authorization header must begin with {SCHEME}")
    items: dict[str, str] = {}
    for part in re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", rest.strip()):
        found = re.fullmatch(r"\s*([a-z_]+)=\"([^\"]*)\"\s*", part)
        if not found or found[1] in items:
            raise sign_error('the Authorization header is not a list of name="value" items')
        items[found[1]] = found[2]
    for name in AUTHORIZATION_ITEMS:
        if not items.get(name):
            raise sign_error(f"the Authorization header has no {name}")
    return items


def check_signature(
    items: dict[str, str], *, method: str, target: str, raw_body: bytes, certificate: str, now: float
) -> None:
    """Refuse a request whose time or signature is wrong, with the help that WeChat Pay gives."""
    if not re.fullmatch(r"[0-9A-Za-z]{1,32}", items["nonce_str"]):
        raise sign_error("nonce_str must be 1 to 32 letters and digits")
    if not re.fullmatch(r"[0-9]{1,11}", items["timestamp"]):
        raise sign_error("timestamp must be Unix seconds")
    if abs(int(items["timestamp"]) - now) > SIGNATURE_WINDOW_SECONDS:
        raise sign_error(f"timestamp is more than {SIGNATURE_WINDOW_SECONDS // 60} minutes off")
    message = "\n".join((method, target, items["timestamp"], items["nonce_str"], "")).encode("latin-1")
    message += raw_body + b"\n"
    if not keys.verifies(certificate, message, items["signature"]):
        raise sign_error(
            "the signature does not match",
            sign_information={
                "method": method,
                "url": target,
                "truncated_sign_message": message[:SIGN_MESSAGE_SHOWN].decode("utf-8", "replace"),
                "sign_message_length": len(message),
            },
        )


def sign_error(issue: str, *, sign_information: dict[str, Any] | None = None) -> Refused:
    detail: dict[str, Any] = {
        "field": "signature",
        "issue": issue,
        "location": "authorization",
        "detail": {"issue": issue},
    }
    if sign_information:
        detail["sign_information"] = sign_information
    return Refused(401, "SIGN_ERROR", issue, detail=detail)


def signature_headers(private_key: str, serial: str, body: bytes, *, now: float) -> dict[str, str]:
    """Return the five headers that prove an answer or a notification."""
    timestamp, nonce = str(int(now)), keys.new_nonce()
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": keys.sign(private_key, message),
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SCHEME,
    }


def new_request_id(reason: int = 0) -> str:
    return f"{uuid.uuid4().hex.upper()}-{reason}"


def _bad_parameter(pointer: str, issue: str, location: str) -> Refused:
    detail = {"field": pointer, "value": "", "issue": issue, "location": location}
    return Refused(400, "PARAM_ERROR", f"{pointer.strip('/')} {issue}".strip(), detail=detail)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
