"""One merchant, proved against WeChat Pay: keys, clocks, certificates, and the way back to us."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import requests
from django.core.exceptions import ImproperlyConfigured

from ... import conf
from ...client import Client, crypto, signatures
from ...client.answers import RawAnswer
from ...client.certificates import PATHS
from ...client.errors import APIError, DecryptionFailed, SignatureInvalid, WxPayError
from ...models import PlatformCertificate
from .. import certificates
from .findings import Finding, Verdict, failed, note, ok, warning

SKEW_WARNING, SKEW_LIMIT = 60, signatures.TOLERANCE_SECONDS
PROBE_SECONDS = 5  # WeChat Pay waits no longer
SOON = timedelta(days=30)


def examine(alias: str, *, certificate: str = "", probe: bool = False) -> Iterator[Finding]:
    """Yield a `Finding` for each thing that can be proved about a merchant; parameters as `doctor.examine` says."""
    try:
        merchant, client = conf.merchant(alias), conf.client(alias)
    except ImproperlyConfigured as error:
        yield failed(f"The merchant cannot be used: {error}", "Mend this first; nothing else was looked at.")
        return
    except Exception as error:  # a setting of a wrong kind; the checks have named it
        yield failed(f"The merchant cannot be used ({type(error).__name__}).", "Mend what the checks say first.")
        return
    yield _private_key(client, certificate)
    yield from _conversation(merchant, client)
    yield from _way_back(merchant, probe)


# Our own key


def _private_key(client: Client, path: str) -> Finding:
    key, serial_no = client.identity.private_key, client.identity.serial_no
    if not path:
        return note(
            f"The private key has {key.key_size} bits; it was not compared with its certificate.",
            "Name the certificate to do so: --certificate apiclient_cert.pem",
        )
    try:
        certificate = crypto.certificate(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # the system's own text repeats what was given
        return failed(f"The certificate cannot be read: {why}", "Give the path of apiclient_cert.pem.")
    if certificate.public_key() != key.public_key():
        return failed(
            "The private key does not belong to the certificate.",
            "Use apiclient_key.pem and apiclient_cert.pem of one and the same request.",
        )
    if crypto.serial_of(certificate) != serial_no.upper().lstrip("0"):
        return failed(
            f"The certificate's serial number is {crypto.serial_of(certificate)}, SERIAL_NO is {serial_no}.",
            "Set SERIAL_NO to the certificate's.",
        )
    left = certificate.not_valid_after_utc - datetime.now(timezone.utc)
    if left < SOON:
        return warning(
            f"The merchant's certificate ends on {certificate.not_valid_after_utc:%Y-%m-%d}.",
            "Request a new one in the merchant platform, and change PRIVATE_KEY and SERIAL_NO together.",
        )
    return ok(f"The private key belongs to the certificate {crypto.serial_of(certificate)}.")


# Speaking with WeChat Pay


def _conversation(merchant: conf.Merchant, client: Client) -> Iterator[Finding]:
    """One signed request tells about connection, clocks and our signature; its answer about theirs."""
    try:
        began = time.time()
        raw = client.exchange("GET", PATHS[merchant.region])
        now = (began + time.time()) / 2
    except WxPayError as error:
        yield failed(f"WeChat Pay did not answer: {error}", "Look at the network, PROXIES and HOST.")
        return
    skew = _skew(raw, now)
    yield _clock(skew)
    accepted = _our_signature(client, raw)
    yield accepted
    if accepted.verdict != Verdict.OK:
        return
    if merchant.options["CERTIFICATES"]:
        yield from _certificates(merchant)
    yield from _their_signature(merchant, client, raw, now + (skew or 0))


def _skew(raw: RawAnswer, now: float) -> float | None:
    """How many seconds WeChat Pay's clock is ahead of ours; None when it does not say."""
    return raw.server_time.timestamp() - now if raw.server_time else None


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return warning("WeChat Pay's answer had no Date: the clocks were not compared.", "Try again.")
    found = f"Our clock is {abs(skew):.0f} seconds {'behind' if skew > 0 else 'ahead of'} WeChat Pay's"
    if abs(skew) > SKEW_LIMIT:
        advice = f"Set this machine's clock (NTP). Beyond {SKEW_LIMIT} seconds every message is refused, on both sides."
        return failed(f"{found}.", advice)
    if abs(skew) > SKEW_WARNING:
        return warning(f"{found}.", f"Set this machine's clock (NTP) before it is off by {SKEW_LIMIT} seconds.")
    return ok("Our clock agrees with WeChat Pay's.")


def _our_signature(client: Client, raw: RawAnswer) -> Finding:
    if raw.status == 401:
        error = client.refusal(raw)
        return failed(
            f"WeChat Pay does not accept our signature: {error}",
            "PRIVATE_KEY, SERIAL_NO and the merchant number must belong together; look at the clock, too.",
        )
    if raw.status >= 500 or raw.status == 429:
        return warning(
            f"WeChat Pay has trouble (HTTP {raw.status}): our signature is not proved.", "Try again in a minute."
        )
    return ok(f"WeChat Pay accepts our signature (request id {raw.request_id or '-'}).")


def _certificates(merchant: conf.Merchant) -> Iterator[Finding]:
    known = "Set PUBLIC_KEY_ID and PUBLIC_KEY if this merchant number has a public key only, and CERTIFICATES to False."
    try:
        serials = certificates.refresh(merchant.alias)
    except DecryptionFailed:
        yield failed(
            "The platform certificates do not decrypt.", "APIV3_KEY is not the key set in the merchant platform."
        )
        return
    except APIError as error:
        yield failed(f"WeChat Pay gives no platform certificates: {error}", known)
        return
    except WxPayError as error:
        yield failed(f"The platform certificates cannot be used: {error}", f"Try again. {known}")
        return
    if not serials:
        kind = warning if merchant.options["PUBLIC_KEY_ID"] else failed
        yield kind("WeChat Pay has no platform certificates for this merchant.", known)
        return
    newest = PlatformCertificate.objects.filter(mchid=merchant.mchid, serial_no__in=serials).latest("expire_time")
    yield ok(
        f"{len(serials)} platform certificate{'s'[: len(serials) > 1]} downloaded and decrypted; "
        f"{newest.serial_no} is good until {newest.expire_time:%Y-%m-%d}."
    )


def _their_signature(merchant: conf.Merchant, client: Client, raw: RawAnswer, now: float) -> Iterator[Finding]:
    """Whether we can verify what WeChat Pay signs, with the key that it signs with today."""
    serial = raw.headers.get("Wechatpay-Serial", "")
    try:
        # By their clock: ours was spoken of already.
        signatures.check(raw.headers, raw.body, client.keys.find, now)
    except SignatureInvalid as error:
        yield failed(
            f"WeChat Pay's signature cannot be verified: {error.reason}",
            "Try again, for WeChat Pay now and then sends a wrong one as a probe; then look at PUBLIC_KEY.",
        )
        return
    public_key_id = merchant.options["PUBLIC_KEY_ID"]
    if public_key_id and serial != public_key_id:
        yield warning(
            f"WeChat Pay signed with its certificate {serial}, though the public key was asked for.",
            "Is PUBLIC_KEY_ID the one in the merchant platform, and has the change to public keys begun there?",
        )
    else:
        yield ok(f"We can verify WeChat Pay's signature ({serial}).")


# The way back


def _way_back(merchant: conf.Merchant, probe: bool) -> Iterator[Finding]:
    try:
        address = merchant.notify_url
    except ImproperlyConfigured as error:
        yield failed(str(error), "Set WXPAY['NOTIFY_URL_BASE'].")
        return
    if probe:
        yield _probe(address)
    if merchant.region == "mainland":
        yield from _payscore(merchant, address)
        return
    yield note(
        f"Address to register with WeChat Pay for terminations: {address}",
        "It belongs to the contract template (plan); terminations are sent there and nowhere else.",
    )


def _payscore(merchant: conf.Merchant, address: str) -> Iterator[Finding]:
    yield note(
        f"WeChat Pay is told to send notifications to {address}",
        "Nothing is to be registered: each request names it. Notices of a signature end after eleven minutes, of a "
        "PayScore payment after four hours, of a refund after a day; what is missed, the poller finds.",
    )
    if merchant.options["SERVICE_ID"]:
        yield ok(f"PayScore service: {merchant.service_id}.")
    else:
        yield note(
            "There is no SERVICE_ID: this merchant sells no PayScore plans.", "Set it once a service is granted."
        )


def _probe(address: str) -> Finding:
    """Send a message that nobody signed: our view must refuse it, and in time."""
    began = time.monotonic()
    try:
        answer = requests.post(
            address, json={"id": "doctor"}, headers={"User-Agent": "wxpay_doctor"}, timeout=PROBE_SECONDS,
            allow_redirects=False,
        )  # fmt: skip
    except requests.RequestException as error:
        why = type(error).__name__
        return failed(f"{address} does not answer ({why}).", "WeChat Pay needs DNS, a valid certificate and a route.")
    seconds, status = time.monotonic() - began, answer.status_code
    if status == 401 and _is_ours(answer):
        if seconds > PROBE_SECONDS - 2:
            return warning(f"{address} took {seconds:.1f} seconds.", "WeChat Pay waits five.")
        return ok(f"{address} refuses what is not signed ({seconds * 1000:.0f} ms).")
    advice = {
        2: "Whatever answers there acknowledges everything, unverified: it is not our view.",
        3: "WeChat Pay follows no redirects: use the final address, with https.",
    }.get(status // 100, "A login, a firewall, CSRF protection or another route stands before our view.")
    return failed(f"{address} answers {status} where 401 is expected.", advice)


def _is_ours(answer: requests.Response) -> bool:
    try:
        return bool(answer.json().get("code") == "FAIL")
    except (ValueError, AttributeError):
        return False
