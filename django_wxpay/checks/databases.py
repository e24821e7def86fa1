"""Checks of the databases that our rows are written to, as the router names them, and of the clock as last seen."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Tags, register
from django.db import connections, models, router
from django.db.models import Q

from ..models import MerchantState
from .messages import found

SKEW_SECONDS = 60
EXACT = ("_nopad_bin", "_0900_bin", "binary")


def written_to() -> list[str]:
    """The databases that our models are written to; the money paths need them to be one."""
    return sorted({router.db_for_write(model) for model in _models()})


@register("wxpay")
def check_databases(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """How the database of our rows is connected to."""
    aliases = written_to()
    messages = [found("E060", databases=", ".join(aliases))] if len(aliases) > 1 else []
    for alias in aliases:
        connection = connections[alias]
        known = connection.settings_dict
        given = known.get("OPTIONS") or {}
        if connection.vendor == "sqlite":
            if str(given.get("transaction_mode", "")).upper() != "IMMEDIATE":
                messages.append(found("W044", alias=alias))
            if "wal" not in str(given.get("init_command", "")).lower():
                messages.append(found("W045", alias=alias))
        if known.get("CONN_MAX_AGE") == 0 and not given.get("pool"):
            messages.append(found("W046", alias=alias))
    return messages


@register("wxpay", deploy=True)
def check_database_timeout(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """A database that does not answer must not keep WeChat Pay waiting."""
    messages = []
    for alias in written_to():
        connection = connections[alias]
        is_remote = connection.vendor in ("postgresql", "mysql") and connection.settings_dict.get("HOST")
        if is_remote and "connect_timeout" not in (connection.settings_dict.get("OPTIONS") or {}):
            messages.append(found("W048", alias=alias))
    return messages


@register(Tags.database)
def check_collation(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """MariaDB and MySQL: whether numbers and openids are compared as they are. Asks the database."""
    messages = []
    for alias in databases or ():
        is_ours = alias in written_to() or any(router.allow_migrate_model(alias, model) for model in _models())
        if connections[alias].vendor == "mysql" and is_ours:
            blind = [name for name in _collations(connections[alias]) if not name.endswith(EXACT)]
            if blind:
                messages.append(found("W047", alias=alias, collations=", ".join(blind)))
    return messages


@register(Tags.database)
def check_clock(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """Whether our clock was off when certificates were last asked for. Reads our rows, connects to nobody else."""
    alias = router.db_for_read(MerchantState)
    if alias not in (databases or ()) or not _exists(alias, MerchantState):
        return []
    off = Q(clock_skew__gt=SKEW_SECONDS) | Q(clock_skew__lt=-SKEW_SECONDS)
    messages = []
    for state in MerchantState.objects.using(alias).filter(off):
        skew = state.clock_skew or 0
        side = "behind" if skew > 0 else "ahead of"
        messages.append(found("W053", seconds=abs(skew), side=side, merchant=state.merchant))
    return messages


def _models() -> list[type[models.Model]]:
    return list(apps.get_app_config("django_wxpay").get_models())


def _exists(alias: str, model: type[models.Model]) -> bool:
    """Whether our tables are there already, as this version knows them: `migrate` runs these checks first."""
    connection = connections[alias]
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return False
        return "clock_skew" in {column.name for column in connection.introspection.get_table_description(cursor, table)}


def _collations(connection: Any) -> list[str]:
    """Those of our columns; before our tables exist, the database's own."""
    tables = [model._meta.db_table for model in _models()]
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
