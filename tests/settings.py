"""Settings of the tests: everything embedded, unless the environment names servers.

DATABASE_URL  sqlite (default: a file in a folder of this process), postgres://… or mysql://…
REDIS_URL     a Redis for cache and broker; CACHE_URL and BROKER_URL choose each of them apart (default: a folder)
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import environ

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent


def _folder() -> Path:
    """The files of this test run: made once, found again by the real processes that a test starts."""
    if "WXPAY_TEST_FOLDER" not in os.environ:
        made = tempfile.mkdtemp(prefix="django-wxpay-tests-")
        os.environ["WXPAY_TEST_FOLDER"] = made
        owner = os.getpid()

        def remove() -> None:
            if os.getpid() == owner:
                shutil.rmtree(made, ignore_errors=True)

        atexit.register(remove)
    folder = Path(os.environ["WXPAY_TEST_FOLDER"]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


FOLDER = _folder()

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
STATIC_URL = "static/"
MEDIA_ROOT = FOLDER / "media"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_wxpay",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, and guards nothing here

# --- Database: a file also for SQLite, because an in-memory one has no second connection.

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{FOLDER / 'db.sqlite3'}")}
_database = DATABASES["default"]
_database["CONN_MAX_AGE"] = 60
if _database["ENGINE"].endswith("sqlite3"):
    _database["TEST"] = {"NAME": f"{_database['NAME']}.test"}
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # synchronous=OFF: a killed process loses nothing by it, only a power cut would.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
    }
elif _database["ENGINE"].endswith("mysql"):
    _database.setdefault("OPTIONS", {}).update(charset="utf8mb4", isolation_level="read committed")
    # Numbers and openids differ by case and by trailing spaces; the server's own default compares neither.
    _database["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_nopad_bin"}

# --- Cache and broker

REDIS_URL = env.str("REDIS_URL", default="")
KEY_PREFIX = f"django-wxpay-tests:{FOLDER.name}:"  # in a Redis; FOLDER.name differs for each worker of xdist
CACHES = {"default": env.cache_url("CACHE_URL", default=REDIS_URL or "locmemcache://wxpay-tests")}
CACHES["default"]["KEY_PREFIX"] = KEY_PREFIX

CELERY_BROKER_URL = env.str("BROKER_URL", default=REDIS_URL)
CELERY_BROKER_TRANSPORT_OPTIONS = {}
if not CELERY_BROKER_URL:
    CELERY_BROKER_TRANSPORT = "django_wxpay.broker.Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(FOLDER / "queue")}
elif CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": KEY_PREFIX}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ALWAYS_EAGER = False
CELERY_TIMEZONE = "UTC"

# --- The app itself; the fixture `wxpay_sandbox` puts merchants of its own here.

WXPAY = {
    "MERCHANTS": {},
    "NOTIFY_URL_BASE": "https://shop.example/wxpay/notify/",
}
