"""Checks of how a merchant's requests travel: hosts, time limits, proxies."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string
from requests.adapters import BaseAdapter
from requests.utils import select_proxy

from .. import conf
from ..client.connections import tls_context
from ..client.identity import HOSTS
from ..client.transport import base_url
from .messages import found

WECHAT_HOSTS = ".mch.weixin.qq.com"
_GLOBAL, _MAINLAND = f"apihk{WECHAT_HOSTS}", (f"api{WECHAT_HOSTS}", f"api2{WECHAT_HOSTS}")
OF_OTHER_REGION = {"global": _MAINLAND, "mainland": (_GLOBAL,)}
Entry = Mapping[str, Any]


def check_network(where: str, entry: Entry) -> list[CheckMessage]:
    """Whether a merchant's requests can be sent the way that its settings say."""
    messages = []
    for name in ("CONNECT_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS"):
        value = entry.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 3600:
            messages.append(found("E021", where=where, name=name))
    if (host := entry.get("HOST")) and not host_name(host):
        messages.append(found("E022", where=where, name="HOST", should="no host name or base URL"))
    backups = entry.get("BACKUP_HOSTS", ())
    if not isinstance(backups, (list, tuple)) or not all(map(host_name, backups)):
        messages.append(found("E022", where=where, name="BACKUP_HOSTS", should="no list of host names or base URLs"))
    messages += _check_proxies(where, entry)
    wrong = OF_OTHER_REGION.get(entry.get("REGION", "global"), ())
    for name in ("HOST", "BACKUP_HOSTS"):
        if any(host_name(host) in wrong for host in _listed(entry.get(name))):
            messages.append(found("E066", where=where, name=name, region=entry.get("REGION", "global")))
    try:
        tls_context(entry.get("CA_BUNDLE") or None)
    except (ValueError, TypeError):
        messages.append(found("E056", where=where))
    transport = entry.get("TRANSPORT")
    try:
        made = import_string(transport)() if isinstance(transport, str) else transport
        if made is not None and not isinstance(made, BaseAdapter):
            raise TypeError("no requests adapter")
    except Exception as error:  # the shop's own code is called here
        messages.append(found("E023", where=where, why=f"{type(error).__name__}: {error}"))
    return messages


def check_deployment(where: str, entry: Entry) -> list[CheckMessage]:
    """Whether a merchant speaks to WeChat Pay, and to nobody who listens in between."""
    messages = []
    for name in ("HOST", "BACKUP_HOSTS", "TRANSPORT"):
        if not is_wechat_pay(entry, name):
            messages.append(found("E051", where=where, name=name))
        elif any(urlsplit(url).scheme != "https" for url in _urls(entry.get(name))):
            messages.append(found("E061", where=where, name=name))
    return messages


def is_sandbox(entry: Entry) -> bool:
    """Whether a merchant speaks to something else than WeChat Pay."""
    return not (is_wechat_pay(entry, "HOST") and is_wechat_pay(entry, "TRANSPORT"))


def is_wechat_pay(entry: Entry, name: str) -> bool:
    """Whether this setting leads to WeChat Pay; left out, it does."""
    value = entry.get(name)
    if name == "TRANSPORT":
        return value is None
    return all(host_name(host).endswith(WECHAT_HOSTS) for host in _listed(value))


def host_name(host: object) -> str:
    """The name in a HOST setting, or "" when there is none."""
    url = _url(host)
    return (urlsplit(url).hostname or "") if url else ""


def _listed(value: object) -> list[object]:
    hosts = value if isinstance(value, (list, tuple)) else [value]
    return [host for host in hosts if host]


def _urls(value: object) -> list[str]:
    return [url for url in map(_url, _listed(value)) if url]


def _url(host: object) -> str:
    try:
        return base_url(host) if isinstance(host, str) else ""
    except ValueError:
        return ""


def _check_proxies(where: str, entry: Entry) -> list[CheckMessage]:
    given = entry.get("PROXIES") or {}
    if not isinstance(given, Mapping):
        return [found("E022", where=where, name="PROXIES", should="no dictionary")]
    if not given:
        return []
    region = entry.get("REGION", "global")
    urls = _urls(entry.get("HOST")) or _urls(HOSTS.get(region) if isinstance(region, str) else None)
    proxies = conf.proxies(given)
    direct = [url for url in (*urls, *_urls(entry.get("BACKUP_HOSTS"))) if not select_proxy(url, proxies)]
    return [found("E055", where=where, host=urlsplit(direct[0]).hostname)] if direct else []
