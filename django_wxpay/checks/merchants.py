"""Checks of `WXPAY` and of each merchant in it. Nothing is connected to: `wxpay_doctor` does that."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register

from .. import conf
from ..client.errors import InvalidField
from ..client.fields import appid, mchid
from ..client.identity import HOSTS
from ..client.keyfiles import KeyFileUnreadable
from ..client.keyring import PUBLIC_KEY_PREFIX
from . import network
from .messages import found

TEXTS = (
    "MCHID", "APPID", "SP_MCHID", "SP_APPID", "SUB_MCHID", "SUB_APPID", "SERIAL_NO", "APIV3_KEY", "APIV3_KEY_PREVIOUS",
    "PUBLIC_KEY_ID", "MERCHANT_CATEGORY_CODE", "HOST", "LANGUAGE", "SERVICE_ID",
)  # fmt: skip
OF_THE_NUMBER = {"REGION": "global", "APIV3_KEY": "", "APIV3_KEY_PREVIOUS": "", "PUBLIC_KEY_ID": ""}
MAXIMA = ("PLAN_DURATION_MAX", "DEDUCTION_QUANTITY_MAX", "RISK_AMOUNT_MAX")
SWITCHES = ("CERTIFICATES", "TRUST_UNSIGNED_ERRORS")
ONLY_IN = {
    "direct": ("MCHID", "APPID"),
    "institution": ("SP_MCHID", "SP_APPID", "SUB_MCHID", "SUB_APPID"),
}
KNOWN = {*conf.MERCHANT_DEFAULTS, *(name for names in conf.REQUIRED.values() for name in names)}
Entry = Mapping[str, Any]


@register("wxpay")
def check_settings(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """The dictionary `WXPAY`, and every merchant in it."""
    wxpay = getattr(settings, "WXPAY", {})
    if not isinstance(wxpay, Mapping):
        return [found("E001", where="WXPAY", kind=_kind(wxpay))]
    messages = _unknown("WXPAY", wxpay, conf.DEFAULTS)
    for name, default in conf.DEFAULTS.items():
        if isinstance(default, int) and not _is_count(wxpay.get(name, default)):
            messages.append(found("E029", name=name))
    entries = wxpay.get("MERCHANTS", {})
    if not isinstance(entries, Mapping):
        return [*messages, found("E001", where="WXPAY['MERCHANTS']", kind=_kind(entries))]
    if not entries:
        return [*messages, found("W002")]
    for alias, entry in entries.items():
        messages += _check_alias(alias)
        if isinstance(entry, Mapping):
            messages += _check_merchant(where_of(alias), entry)
        else:
            messages.append(found("E001", where=where_of(alias), kind=_kind(entry)))
    return messages + _check_doubles(usable_merchants())


@register("wxpay", deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """What is right for developing, but not for money."""
    entries = usable_merchants()
    messages = [] if entries else [found("E050")]
    for alias, entry in entries.items():
        messages += network.check_deployment(where_of(alias), entry)
        if entry.get("TRUST_UNSIGNED_ERRORS"):
            messages.append(found("W052", where=where_of(alias)))
    return messages


def usable_merchants() -> dict[str, Entry]:
    """The merchants that are dictionaries at least: {alias: entry}."""
    wxpay = getattr(settings, "WXPAY", {})
    entries = wxpay.get("MERCHANTS", {}) if isinstance(wxpay, Mapping) else {}
    entries = entries if isinstance(entries, Mapping) else {}
    return {alias: entry for alias, entry in entries.items() if isinstance(entry, Mapping)}


def where_of(alias: str) -> str:
    return f"WXPAY['MERCHANTS'][{alias!r}]"


def _kind(value: object) -> str:
    return type(value).__name__


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unknown(where: str, given: Iterable[str], known: Iterable[str]) -> list[CheckMessage]:
    messages = []
    for name in given:
        if name not in known:
            like = get_close_matches(str(name).upper(), known, n=1)
            hint = f"Did you mean {like[0]!r}?" if like else f"Known are {', '.join(sorted(known))}."
            messages.append(found("E003", where=where, name=name, hint=hint))
    return messages


def _check_alias(alias: object) -> list[CheckMessage]:
    is_slug = isinstance(alias, str) and re.fullmatch(r"[-a-zA-Z0-9_]{1,32}", alias)
    return [] if is_slug else [found("E004", alias=alias)]


def _check_merchant(where: str, entry: Entry) -> list[CheckMessage]:
    messages = _unknown(where, entry, KNOWN)
    messages += [
        found("E027", where=where, name=name, kind=_kind(entry[name]))
        for name in TEXTS
        if name in entry and not isinstance(entry[name], str)
    ]
    messages += [
        found("E028", where=where, name=name, kind=_kind(entry[name]))
        for name in SWITCHES
        if not isinstance(entry.get(name, False), bool)
    ]
    # What has the wrong type was told; what follows may rely on types.
    entry = {
        name: value for name, value in entry.items() if not (name in TEXTS and not isinstance(value, str))
    }  # fmt: skip
    return [
        *messages,
        *_check_identity(where, entry),
        *_check_private_key(where, entry),
        *_check_trust(where, entry),
        *_check_region(where, entry),
        *network.check_network(where, entry),
    ]


def _check_identity(where: str, entry: Entry) -> list[CheckMessage]:
    messages = []
    region = entry.get("REGION", "global")
    if region not in HOSTS:
        messages.append(found("E006", where=where, known=", ".join(HOSTS)))
    try:
        mode = conf.MODES[entry.get("MODE", "direct")]
    except (KeyError, TypeError):
        return [*messages, found("E005", where=where, known=", ".join(conf.MODES))]
    missing = [name for name in conf.REQUIRED[mode] if not entry.get(name)]
    if missing:
        messages.append(found("E007", where=where, names=", ".join(missing)))
    other = "institution" if mode == "direct" else "direct"
    messages += [found("W026", where=where, name=name, mode=mode) for name in ONLY_IN[other] if entry.get(name)]
    for name in ("MCHID", "SP_MCHID", "SUB_MCHID"):
        if not _passes(mchid, entry.get(name)):
            messages.append(found("E008", where=where, name=name))
    for name in ("APPID", "SP_APPID", "SUB_APPID"):
        if not _passes(appid, entry.get(name)):
            messages.append(found("E009", where=where, name=name))
    code = entry.get("MERCHANT_CATEGORY_CODE", "")
    if code and not re.fullmatch(r"[0-9]{4}", code):
        messages.append(found("E019", where=where))
    if not code and region == "global":
        messages.append(found("W020", where=where))
    return messages


def _check_region(where: str, entry: Entry) -> list[CheckMessage]:
    """What only one region has: PayScore, individual payees."""
    messages = []
    if (service := entry.get("SERVICE_ID")) and not re.fullmatch(r"[0-9]{1,32}", service):
        messages.append(found("E063", where=where))
    for name in MAXIMA:
        value = entry.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            messages.append(found("E064", where=where, name=name))
    if entry.get("PAYEE_SIGN_FORM", "A") not in ("A", "B"):
        messages.append(found("E067", where=where))
    if entry.get("REGION", "global") == "global":
        mainland = ("SERVICE_ID", *MAXIMA, "PAYEE_SIGN_FORM")
        messages += [found("W065", where=where, name=name) for name in mainland if entry.get(name)]
    return messages


def _passes(check: Callable[[str, object], str], value: object) -> bool:
    try:
        return not value or bool(check("", value))
    except InvalidField:
        return False


def _check_private_key(where: str, entry: Entry) -> list[CheckMessage]:
    messages = []
    if (serial := entry.get("SERIAL_NO")) and not re.fullmatch(r"[0-9A-Fa-f]{8,40}", serial):
        messages.append(found("E013", where=where))
    for name in ("APIV3_KEY", "APIV3_KEY_PREVIOUS"):
        if (key := entry.get(name)) and len(key.encode()) != 32:
            messages.append(found("E014", where=where, name=name, length=len(key.encode())))
    if not entry.get("PRIVATE_KEY"):
        return messages
    key, trouble = _load(where, entry, "PRIVATE_KEY", "E011")
    if isinstance(key, RSAPrivateKey) and key.key_size < 2048:
        trouble = [found("E012", where=where, bits=key.key_size)]
    return messages + trouble


def _check_trust(where: str, entry: Entry) -> list[CheckMessage]:
    """By what answers and notifications are verified."""
    key_id, has_key = entry.get("PUBLIC_KEY_ID", ""), bool(entry.get("PUBLIC_KEY"))
    messages = []
    if bool(key_id) != has_key:
        present, missing = ("PUBLIC_KEY_ID", "PUBLIC_KEY") if key_id else ("PUBLIC_KEY", "PUBLIC_KEY_ID")
        messages.append(found("E015", where=where, present=present, missing=missing))
    if key_id and not re.fullmatch(PUBLIC_KEY_PREFIX + r"[0-9A-Za-z]{1,64}", key_id):
        messages.append(found("E016", where=where))
    if has_key:
        key, trouble = _load(where, entry, "PUBLIC_KEY", "E017")
        messages += trouble
        own, _ = _load(where, entry, "PRIVATE_KEY", "E011") if key else (None, [])
        if own is not None and own.public_key().public_numbers() == key.public_numbers():
            messages.append(found("E025", where=where))
    elif not entry.get("CERTIFICATES", True):
        messages.append(found("E018", where=where))
    return messages


def _load(where: str, entry: Entry, name: str, wrong: str) -> tuple[Any, list[CheckMessage]]:
    """A key from its text or a file: (key, []) or (None, [what is wrong])."""
    try:
        return conf.load_key(entry, name), []
    except KeyFileUnreadable as error:
        return None, [found("E010", where=where, name=name, why=error.reason)]
    except ValueError as error:  # it says what stands there instead, and quotes nothing of it
        return None, [found(wrong, where=where, why=error)]


def _check_doubles(entries: Mapping[str, Entry]) -> list[CheckMessage]:
    """Aliases that sign with one number: right for two sub-merchants of an institution, but not with other keys."""
    numbers, same = defaultdict(list), defaultdict(list)
    for alias, entry in entries.items():
        number = entry.get("SP_MCHID") or entry.get("MCHID")
        if number:
            numbers[number].append(alias)
            same[(number, entry.get("SUB_MCHID", ""))].append(str(alias))
    messages = [found("W024", aliases=", ".join(aliases)) for aliases in same.values() if len(aliases) > 1]
    for aliases in numbers.values():
        first, *others = [_of_the_number(entries[alias]) for alias in aliases]
        names = [name for name in first if any(other[name] != first[name] for other in others)]
        if names:
            messages.append(found("E054", aliases=", ".join(map(str, aliases)), names=", ".join(names)))
    return messages


def _of_the_number(entry: Entry) -> dict[str, object]:
    """What belongs to the signing number: its rows, certificates and pauses are shared by all its aliases."""
    given = {name: entry.get(name, default) for name, default in OF_THE_NUMBER.items()}
    return given | {"HOST": network.is_sandbox(entry)}
