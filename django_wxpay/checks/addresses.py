"""Checks of the address WeChat Pay sends notifications to."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register
from django.http.request import split_domain_port, validate_host
from django.urls import NoReverseMatch, Resolver404, resolve, reverse

from .. import conf
from ..client import fields
from ..client.errors import InvalidField
from .merchants import usable_merchants
from .messages import found
from .network import is_sandbox

LONGEST = 256
LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]  # what Django allows while DEBUG is on and nothing is listed


@register("wxpay")
def check_notify_url(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """Whether notifications would arrive, as far as the settings tell."""
    entries = usable_merchants()
    if not entries:
        return []
    base = conf.setting("NOTIFY_URL_BASE")
    if not base:
        return [found("E030")]
    try:
        fields.url("It", base, LONGEST * 8)
    except InvalidField as error:
        return [found("E031", why=str(error).removeprefix("It ").rstrip("."))]
    parts = urlsplit(base)
    messages = _check_reach(parts, entries) + _check_admission(parts)
    for alias in entries:
        address = f"{base.rstrip('/')}/{alias}/"
        if len(address) > LONGEST:
            messages.append(found("E034", alias=alias, length=len(address)))
    return messages + _check_route(base, next(iter(entries)))


@register("wxpay", deploy=True)
def check_notify_url_for_money(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """What DEBUG or a sandbox excuses while developing: an address without https."""
    base, entries = conf.setting("NOTIFY_URL_BASE"), usable_merchants()
    is_reported = not settings.DEBUG and not _is_playground(entries)
    is_plain = str(base).lower().startswith("http://")
    return [found("E032")] if entries and is_plain and not is_reported else []


def leads_to_us(path: str) -> bool:
    """Whether a path is answered by our notification view, perhaps after a proxy took away its first parts."""
    parts = path.split("/")
    for begin in range(1, len(parts)):
        try:
            if resolve("/" + "/".join(parts[begin:])).view_name.endswith("django_wxpay:notify"):
                return True
        except Resolver404:
            continue
    return False


def _is_playground(entries: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(is_sandbox(entry) for entry in entries.values())


def _check_reach(parts: SplitResult, entries: Mapping[str, Mapping[str, Any]]) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if _is_playground(entries):
        return messages
    if parts.scheme != "https":
        messages.append(found("W033" if settings.DEBUG else "E032"))
    if _is_local(parts.hostname):
        messages.append(found("W037"))
    return messages


def _check_admission(parts: SplitResult) -> list[CheckMessage]:
    """Whether Django itself would turn a notification away before our view sees it."""
    messages = []
    host, _ = split_domain_port(parts.netloc)
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    if not validate_host(host, allowed):
        messages.append(found("W057", host=host))
    path = parts.path.lstrip("/")
    is_exempt = any(re.search(pattern, path) for pattern in settings.SECURE_REDIRECT_EXEMPT)
    if settings.SECURE_SSL_REDIRECT and not settings.SECURE_PROXY_SSL_HEADER and not is_exempt:
        messages.append(found("W058"))
    return messages


def _is_local(host: str | None) -> bool:
    host = host or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _check_route(base: str, alias: str) -> list[CheckMessage]:
    try:
        route = reverse("django_wxpay:notify", args=[alias])
    except NoReverseMatch:
        return [found("E035")]
    path = urlsplit(f"{base.rstrip('/')}/{alias}/").path
    return [] if leads_to_us(path) else [found("E036", path=path, route=route)]
