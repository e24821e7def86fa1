import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from django.utils import translation

from tests.celery_app import app as celery_app

pytest_plugins = ["django_wxpay.testing"]

BROWSER_TESTS = Path(__file__).parent / "e2e"


def pytest_configure(config):
    celery_app.set_default()  # tasks that are queued on commit go to the broker of tests.settings


def pytest_sessionstart(session):
    """Begin with an empty Redis, as far as this process' keys go."""
    import redis
    from django.conf import settings

    for url in {settings.REDIS_URL, settings.CELERY_BROKER_URL}:
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as connection:
                for key in connection.scan_iter(f"{settings.KEY_PREFIX}*"):
                    connection.delete(key)


def pytest_ignore_collect(collection_path, config):
    """Browser tests run only when asked for: Playwright keeps an event loop in the thread."""
    if collection_path == BROWSER_TESTS and not any("e2e" in arg for arg in config.invocation_params.args):
        return True
    return None


@pytest.fixture(autouse=True)
def no_language_left():
    """A page that was asked for in Chinese leaves Chinese to the thread, and so to the next test."""
    yield
    translation.deactivate()


@pytest.fixture
def process_environment(db):
    """The environment for a real second process that shall meet this test's database and broker.

    Only useful in tests with ``django_db(transaction=True)``: another process sees what is committed.
    """
    from django.db import connection

    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{settings['NAME']}"
    else:
        scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
        who = quote(settings["USER"]) + (f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else "")
        port = f":{settings['PORT']}" if settings["PORT"] else ""
        url = f"{scheme}://{who}@{settings['HOST']}{port}/{settings['NAME']}"
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def later():
    """Let the time pass in which a request may be under way, for what is open; then do what a worker does."""

    from django.utils import timezone

    from django_wxpay.engine import operations
    from django_wxpay.models import Operation

    def pass_time(seconds=3600):
        past = timedelta(seconds=seconds)
        now = timezone.now()
        for operation in Operation.objects.open():
            Operation.objects.filter(pk=operation.pk).update(
                next_try_at=now,
                leased_until=None,
                sent_at=operation.sent_at and operation.sent_at - past,
                busy_until=operation.busy_until and operation.busy_until - past,
                created_at=operation.created_at - past,
            )
        return operations.send_due()

    return pass_time
