"""Settings: our rows are read from a replica and written to `writer`. This replica lags behind for ever."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, FOLDER


class Router:
    def db_for_read(self, model, **hints):
        return "default" if model._meta.app_label == "django_wxpay" else "writer"

    def db_for_write(self, model, **hints):
        return "writer"

    def allow_relation(self, first, second, **hints):
        return True


REPLICA = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": FOLDER / "replica",
    "TEST": {"NAME": FOLDER / "replica.test"},
}
DATABASES = {"default": REPLICA, "writer": DATABASES["default"]}
DATABASE_ROUTERS = ["tests.routers.lagging.Router"]
