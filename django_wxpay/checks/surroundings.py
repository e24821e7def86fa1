"""Checks of what the app lives in: the shop's checkout, time zones, Celery, the place for statements."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celery import current_app
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register
from django.core.files.storage import FileSystemStorage, storages
from django.utils.module_loading import import_string

from .. import conf
from ..beat import BEAT_SCHEDULE
from ..models.bills import STORAGE
from .merchants import usable_merchants
from .messages import found

OWN_SCHEDULER = "celery.beat:PersistentScheduler"


@register("wxpay")
def check_checkout(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """The shop's class that knows the offers."""
    path = conf.setting("CHECKOUT") if isinstance(getattr(settings, "WXPAY", {}), Mapping) else ""
    if not path:
        return []
    try:
        if not callable(getattr(import_string(path), "contract_offer", None)):
            return [found("E040", why="it has no contract_offer")]
    except Exception as error:  # the shop's own module is imported here
        return [found("E040", why=f"{type(error).__name__}: {error}")]
    return []


@register("wxpay")
def check_time_zones(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    return [] if settings.USE_TZ else [found("E043")]


@register("wxpay")
def check_celery(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """Whether beat asks for what is open. Other schedulers keep their entries where we do not look."""
    if not usable_merchants():
        return []
    if current_app.main == "default" and not current_app.set_as_current:
        return [found("W042")]
    messages = [found("W059")] if current_app.conf.task_always_eager else []
    if current_app.conf.beat_scheduler != OWN_SCHEDULER:
        return messages
    entries = (current_app.conf.beat_schedule or {}).values()
    scheduled = {entry.get("task") for entry in entries if isinstance(entry, Mapping)}
    missing = [entry["task"] for entry in BEAT_SCHEDULE.values() if entry["task"] not in scheduled]
    return [*messages, found("W041", names=", ".join(missing))] if missing else messages


@register("wxpay", deploy=True)
def check_storage(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """Whether statements, which name openids, are kept apart from what is served."""
    if STORAGE not in storages.backends:
        return [found("W062", why=f"there is no STORAGES[{STORAGE!r}], so the default storage is used")]
    storage = storages[STORAGE]
    if not isinstance(storage, FileSystemStorage):
        return []
    place = Path(storage.location)
    served = {"MEDIA_ROOT": settings.MEDIA_ROOT, "STATIC_ROOT": settings.STATIC_ROOT}
    return [
        found("W062", why=f"{STORAGE} is below {name}")
        for name, root in served.items()
        if root and place.resolve().is_relative_to(Path(root).resolve())
    ]
