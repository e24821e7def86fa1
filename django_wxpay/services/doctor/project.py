"""What all merchants share: settings, the database of our rows, and Celery."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from celery.app import app_or_default
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections, router
from django.db.migrations.loader import MigrationLoader

from .findings import Finding, failed, note, ok, warning

BROKER_SECONDS = 5
OUR_TASK = "django_wxpay.tasks.send_operations"
WORKER_SECONDS = 2  # a worker answers within milliseconds, unless its only process is busy


def examine(*, workers: bool) -> Iterator[Finding]:
    """Yield what is found; workers: ask the broker and the workers too."""
    yield from _settings()
    for alias in _databases():
        yield _database(alias)
    if workers:
        yield from _celery()


def _settings() -> Iterator[Finding]:
    """What the system checks say; they know more about settings than a call can tell."""
    messages = [one for one in checks.run_checks(tags=["wxpay"]) if not one.is_silenced()]
    for one in messages:
        kind = failed if one.is_serious() else warning
        yield kind(f"{one.msg} ({one.id})", one.hint or "")
    if not messages:
        yield ok("The settings have no mistakes.")


# The database


def _databases() -> list[str]:
    models = list(apps.get_app_config("django_wxpay").get_models())
    return sorted({router.db_for_write(model) for model in models} | {router.db_for_read(model) for model in models})


def _database(alias: str) -> Finding:
    try:
        loader = MigrationLoader(connections[alias])
    except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
        return failed(
            f"The database {alias!r} cannot be asked ({type(error).__name__}).",
            "Look at DATABASES and DATABASE_ROUTERS, and whether the server runs.",
            stops=True,
        )
    known = [key for key in loader.disk_migrations if key[0] == "django_wxpay"]
    missing = [key for key in known if key not in loader.applied_migrations]
    if missing:
        return failed(
            f"The database {alias!r} lacks {len(missing)} of the {len(known)} migrations of django_wxpay.",
            "python manage.py migrate",
            stops=True,
        )
    return ok(f"The database {alias!r} has all migrations.")


# Celery


def _celery() -> Iterator[Finding]:
    """Whether what we queue finds somebody who does it."""
    app = app_or_default()  # itself, no proxy: in another thread a proxy may stand for another app
    if app.main == "default" and not app.set_as_current:
        return  # wxpay.W042 has said so
    with app.connection_for_write() as connection:
        broker = connection.as_uri()  # without its password
        can_ask = "fanout" in connection.transport.implements.exchange_type
    trouble, _ = _within(BROKER_SECONDS, lambda: _connect(app))
    if trouble:
        yield failed(
            f"The broker {broker} cannot be reached ({trouble}).",
            "Until it can, nothing that is planned is sent and no receiver is told. Look at CELERY_BROKER_URL.",
        )
        return
    yield ok(f"The broker {broker} answers.")
    if not can_ask:
        yield note("This broker cannot be asked for its workers.", "See yourself that a worker and beat are running.")
        return
    yield _workers(app)


def _connect(app: Any) -> None:
    with app.connection_for_write() as connection:
        connection.connect()


def _workers(app: Any) -> Finding:
    trouble, answers = _within(
        BROKER_SECONDS + WORKER_SECONDS, lambda: app.control.inspect(timeout=WORKER_SECONDS).registered()
    )
    if trouble or not answers:
        return warning(
            f"No worker of Celery answered within {WORKER_SECONDS} seconds.",
            "Start one, and beat: without them nothing that is planned is sent, and no receiver is told. "
            "(One that works with --pool=solo does not answer while it is busy.)",
        )
    knowing = [name for name, tasks in answers.items() if OUR_TASK in tasks]
    if not knowing:
        return warning(
            f"{_count(answers, 'worker')} of Celery answered, and none knows the tasks of django_wxpay.",
            "Does the worker run this project's app, and does that call autodiscover_tasks()?",
        )
    return ok(f"{_count(knowing, 'worker')} of Celery answered. (Whether beat runs cannot be asked.)")


def _count(things: Any, name: str) -> str:
    return f"{len(things)} {name}{'s'[: len(things) != 1]}"


def _within(seconds: float, work: Callable[[], Any]) -> tuple[str, Any]:
    """What went wrong, in a word, and what the work returned; a broker that is silent would hold us for minutes."""
    outcome: list[tuple[str, Any]] = []

    def run() -> None:
        try:
            outcome.append(("", work()))
        except Exception as error:  # each transport has errors of its own
            outcome.append((type(error).__name__, None))

    thread = threading.Thread(target=run, name="wxpay-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else (f"no answer within {seconds:.0f} seconds", None)
