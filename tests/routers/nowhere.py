"""Settings: there is no default database at all; everything is in `writer`."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES


class Router:
    def db_for_read(self, model, **hints):
        return "writer"

    db_for_write = db_for_read


WRITER = DATABASES["default"]
WRITER["TEST"] = WRITER.get("TEST", {}) | {"DEPENDENCIES": []}
DATABASES = {"default": {}, "writer": WRITER}
DATABASE_ROUTERS = ["tests.routers.nowhere.Router"]
