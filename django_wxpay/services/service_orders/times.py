"""Times as PayScore writes them: China's, without a zone, to the second."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from ... import conf
from ...client.errors import InvalidField
from ...engine.facts import YEARS

CHINA = ZoneInfo("Asia/Shanghai")


def written(moment: datetime) -> str:
    """A moment as `yyyyMMddHHmmss`."""
    return timezone.localtime(moment, CHINA).strftime("%Y%m%d%H%M%S")


def read(text: Any) -> datetime | None:
    """The moment that `yyyyMMddHHmmss` or `yyyyMMdd` (its first second) means; None when it means none."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) not in (8, 14):
        return None
    try:
        moment = datetime.strptime(text.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=CHINA)
    except ValueError:
        return None
    return moment if moment.year in YEARS else None


def margin() -> timedelta:
    """How much WeChat Pay's clock may be behind ours."""
    return timedelta(seconds=conf.setting("CLOCK_MARGIN_SECONDS"))


def past(name: str, moment: datetime) -> datetime:
    """The moment, to the second. InvalidField unless it is aware and not in the future."""
    if timezone.is_naive(moment):
        raise InvalidField(f"{name} must be aware: a time without a zone is another one in China.", field=name)
    if moment > timezone.now():
        raise InvalidField(f"{name} is in the future.", field=name)
    return moment.replace(microsecond=0)
