"""Checks of `WXPAY` and of each merchant in it. Nothing is connected to: `wxpay_doctor` does that."""

import re
from collections import defaultdict
from collections.abc import Mapping
from difflib import get_close_matches
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.conf import settings
from django.core.checks import register
from django.utils.module_loading import import_string
from requests.adapters import BaseAdapter

from .. import conf
from ..client.errors import InvalidField
from ..client.fields import appid, mchid
from ..client.identity import HOSTS
from ..client.keyring import PUBLIC_KEY_PREFIX
from ..client.transport import base_url
from .messages import found

TEXTS = (
    "MCHID", "APPID", "SP_MCHID", "SP_APPID", "SUB_MCHID", "SUB_APPID", "SERIAL_NO", "APIV3_KEY", "APIV3_KEY_PREVIOUS",
    "PUBLIC_KEY_ID", "MERCHANT_CATEGORY_CODE", "HOST", "LANGUAGE",
)  # fmt: skip
SWITCHES = ("CERTIFICATES", "TRUST_UNSIGNED_ERRORS")
ONLY_IN = {
    "direct": ("MCHID", "APPID"),
    "institution": ("SP_MCHID", "SP_APPID", "SUB_MCHID", "SUB_APPID"),
}
KNOWN = {*conf.MERCHANT_DEFAULTS, *(name for names in conf.REQUIRED.values() for name in names)}
WECHAT_HOSTS = ".mch.weixin.qq.com"


@register("wxpay")
def check_settings(app_configs=None, **options):
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
def check_deployment(app_configs=None, **options):
    """What is right for developing, but not for money."""
    entries = usable_merchants()
    messages = [] if entries else [found("E050")]
    for alias, entry in entries.items():
        for name in ("HOST", "BACKUP_HOSTS", "TRANSPORT"):
            if not is_wechat_pay(entry, name):
                messages.append(found("E051", where=where_of(alias), name=name))
        if entry.get("TRUST_UNSIGNED_ERRORS"):
            messages.append(found("W052", where=where_of(alias)))
    return messages


def usable_merchants():
    """The merchants that are dictionaries at least: {alias: entry}."""
    wxpay = getattr(settings, "WXPAY", {})
    entries = wxpay.get("MERCHANTS", {}) if isinstance(wxpay, Mapping) else {}
    entries = entries if isinstance(entries, Mapping) else {}
    return {alias: entry for alias, entry in entries.items() if isinstance(entry, Mapping)}


def is_sandbox(entry):
    """Whether a merchant speaks to something else than WeChat Pay."""
    return not (is_wechat_pay(entry, "HOST") and is_wechat_pay(entry, "TRANSPORT"))


def is_wechat_pay(entry, name):
    """Whether this setting leads to WeChat Pay; left out, it does."""
    value = entry.get(name)
    if name == "TRANSPORT":
        return value is None
    hosts = [value] if isinstance(value, str) else list(value or ())
    return all(_host_name(host).endswith(WECHAT_HOSTS) for host in hosts if host)


def where_of(alias):
    return f"WXPAY['MERCHANTS'][{alias!r}]"


def _host_name(host):
    try:
        return urlsplit(base_url(host)).hostname or ""
    except (TypeError, ValueError, AttributeError):
        return ""


def _kind(value):
    return type(value).__name__


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unknown(where, given, known):
    messages = []
    for name in given:
        if name not in known:
            like = get_close_matches(str(name).upper(), known, n=1)
            hint = f"Did you mean {like[0]!r}?" if like else f"Known are {', '.join(sorted(known))}."
            messages.append(found("E003", where=where, name=name, hint=hint))
    return messages


def _check_alias(alias):
    is_slug = isinstance(alias, str) and re.fullmatch(r"[-a-zA-Z0-9_]{1,32}", alias)
    return [] if is_slug else [found("E004", alias=alias)]


def _check_merchant(where, entry):
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
        *_check_network(where, entry),
    ]


def _check_identity(where, entry):
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


def _passes(check, value):
    try:
        return not value or bool(check("", value))
    except InvalidField:
        return False


def _check_private_key(where, entry):
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


def _check_trust(where, entry):
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


def _load(where, entry, name, wrong):
    """A key from its text or a file: (key, []) or (None, [what is wrong])."""
    try:
        return conf.load_key(entry, name), []
    except conf.KeyFileUnreadable as error:
        return None, [found("E010", where=where, name=name, why=error.reason)]
    except ValueError:
        return None, [found(wrong, where=where)]


def _check_network(where, entry):
    messages = []
    for name in ("CONNECT_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS"):
        value = entry.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 3600:
            messages.append(found("E021", where=where, name=name))
    if (host := entry.get("HOST")) and not _host_name(host):
        messages.append(found("E022", where=where, name="HOST", should="no host name or base URL"))
    backups = entry.get("BACKUP_HOSTS", ())
    if not isinstance(backups, (list, tuple)) or not all(map(_host_name, backups)):
        messages.append(found("E022", where=where, name="BACKUP_HOSTS", should="no list of host names or base URLs"))
    if not isinstance(entry.get("PROXIES") or {}, Mapping):
        messages.append(found("E022", where=where, name="PROXIES", should="no dictionary"))
    transport = entry.get("TRANSPORT")
    try:
        made = import_string(transport)() if isinstance(transport, str) else transport
        if made is not None and not isinstance(made, BaseAdapter):
            raise TypeError("no requests adapter")
    except Exception as error:  # the shop's own code is called here
        messages.append(found("E023", where=where, why=f"{type(error).__name__}: {error}"))
    return messages


def _check_doubles(entries):
    same = defaultdict(list)
    for alias, entry in entries.items():
        number = entry.get("SP_MCHID") or entry.get("MCHID")
        if number:
            same[(number, entry.get("SUB_MCHID", ""))].append(str(alias))
    return [found("W024", aliases=", ".join(aliases)) for aliases in same.values() if len(aliases) > 1]
