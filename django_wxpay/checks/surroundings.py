"""Checks of what the app lives in: the shop's checkout, Celery, the databases."""

from collections.abc import Mapping

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.core.checks import Tags, register
from django.db import connections, router
from django.db.models import Q
from django.utils.module_loading import import_string

from .. import conf
from ..beat import BEAT_SCHEDULE
from ..models import Contract, MerchantState
from .merchants import usable_merchants
from .messages import found

OWN_SCHEDULER = "celery.beat:PersistentScheduler"
SKEW_SECONDS = 60
EXACT = ("_nopad_bin", "_0900_bin", "binary")


@register("wxpay")
def check_checkout(app_configs=None, **options):
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
def check_time_zones(app_configs=None, **options):
    return [] if settings.USE_TZ else [found("E043")]


@register("wxpay")
def check_celery(app_configs=None, **options):
    """Whether beat asks for what is open. Other schedulers keep their entries where we do not look."""
    if not usable_merchants():
        return []
    if current_app.main == "default" and not current_app.set_as_current:
        return [found("W042")]
    if current_app.conf.beat_scheduler != OWN_SCHEDULER:
        return []
    entries = (current_app.conf.beat_schedule or {}).values()
    scheduled = {entry.get("task") for entry in entries if isinstance(entry, Mapping)}
    missing = [entry["task"] for entry in BEAT_SCHEDULE.values() if entry["task"] not in scheduled]
    return [found("W041", names=", ".join(missing))] if missing else []


@register("wxpay")
def check_databases(app_configs=None, **options):
    """How the database of our rows is connected to."""
    alias = router.db_for_write(Contract)
    connection = connections[alias]
    known = connection.settings_dict
    options = known.get("OPTIONS") or {}
    messages = []
    if connection.vendor == "sqlite":
        if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
            messages.append(found("W044", alias=alias))
        if "wal" not in str(options.get("init_command", "")).lower():
            messages.append(found("W045", alias=alias))
    if known.get("CONN_MAX_AGE") == 0 and not options.get("pool"):
        messages.append(found("W046", alias=alias))
    return messages


@register("wxpay", deploy=True)
def check_database_timeout(app_configs=None, **options):
    """A database that does not answer must not keep WeChat Pay waiting."""
    alias = router.db_for_write(Contract)
    connection = connections[alias]
    is_remote = connection.vendor in ("postgresql", "mysql") and connection.settings_dict.get("HOST")
    has_limit = "connect_timeout" in (connection.settings_dict.get("OPTIONS") or {})
    return [found("W048", alias=alias)] if is_remote and not has_limit else []


@register(Tags.database)
def check_collation(app_configs=None, databases=None, **options):
    """MariaDB and MySQL: whether numbers and openids are compared as they are. Asks the database."""
    messages = []
    for alias in databases or ():
        if connections[alias].vendor == "mysql" and router.allow_migrate_model(alias, Contract):
            blind = [name for name in _collations(connections[alias]) if not name.endswith(EXACT)]
            if blind:
                messages.append(found("W047", alias=alias, collations=", ".join(blind)))
    return messages


@register(Tags.database)
def check_clock(app_configs=None, databases=None, **options):
    """Whether our clock was off when certificates were last asked for. Reads our rows, connects to nobody else."""
    alias = router.db_for_read(MerchantState)
    if alias not in (databases or ()) or not _exists(alias, MerchantState):
        return []
    off = Q(clock_skew__gt=SKEW_SECONDS) | Q(clock_skew__lt=-SKEW_SECONDS)
    return [
        found("W053", seconds=abs(state.clock_skew), side="behind" if state.clock_skew > 0 else "ahead of",
              merchant=state.merchant)
        for state in MerchantState.objects.using(alias).filter(off)
    ]  # fmt: skip


def _exists(alias, model):
    """Whether our tables are there already, as this version knows them: `migrate` runs these checks first."""
    connection = connections[alias]
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return False
        return "clock_skew" in {column.name for column in connection.introspection.get_table_description(cursor, table)}


def _collations(connection):
    """Those of our columns; before our tables exist, the database's own."""
    tables = [model._meta.db_table for model in apps.get_app_config("django_wxpay").get_models()]
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(tables))
        cursor.execute(
            "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            f" AND collation_name IS NOT NULL AND data_type = 'varchar' AND table_name IN ({marks})",
            tables,
        )
        names = sorted(row[0] for row in cursor.fetchall())
        if not names:
            cursor.execute("SELECT @@collation_database")
            names = [cursor.fetchone()[0]]
    return names
