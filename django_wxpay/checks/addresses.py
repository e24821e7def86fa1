"""Checks of the address WeChat Pay sends notifications to."""

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import register
from django.urls import NoReverseMatch, Resolver404, resolve, reverse

from .. import conf
from ..client import fields
from ..client.errors import InvalidField
from .merchants import is_sandbox, usable_merchants
from .messages import found

LONGEST = 256


@register("wxpay")
def check_notify_url(app_configs=None, **options):
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
    messages = _check_reach(urlsplit(base), entries)
    for alias in entries:
        address = f"{base.rstrip('/')}/{alias}/"
        if len(address) > LONGEST:
            messages.append(found("E034", alias=alias, length=len(address)))
    return messages + _check_route(base, next(iter(entries)))


def leads_to_us(path):
    """Whether a path is answered by our notification view, perhaps after a proxy took away its first parts."""
    parts = path.split("/")
    for begin in range(1, len(parts)):
        try:
            if resolve("/" + "/".join(parts[begin:])).view_name.endswith("django_wxpay:notify"):
                return True
        except Resolver404:
            continue
    return False


def _check_reach(parts, entries):
    messages = []
    if all(is_sandbox(entry) for entry in entries.values()):
        return messages
    if parts.scheme != "https":
        messages.append(found("W033" if settings.DEBUG else "E032"))
    if _is_local(parts.hostname):
        messages.append(found("W037"))
    return messages


def _is_local(host):
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _check_route(base, alias):
    try:
        route = reverse("django_wxpay:notify", args=[alias])
    except NoReverseMatch:
        return [found("E035")]
    path = urlsplit(f"{base.rstrip('/')}/{alias}/").path
    return [] if leads_to_us(path) else [found("E036", path=path, route=route)]
