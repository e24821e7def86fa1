"""Settings of the example shop: SQLite, a broker in a folder and the sandbox, all under var/.

Good for one machine and one evening. A real shop takes PostgreSQL or MariaDB, Redis or RabbitMQ, and keys from a
safe place; what concerns django_wxpay is at the end and would look the same there.
"""

import json
from pathlib import Path

import environ

from django_wxpay.beat import BEAT_SCHEDULE

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
STATE = Path(env.str("SHOP_STATE", default=str(BASE_DIR / "var" / "demo")))
SHOP_URL = env.str("SHOP_URL", default="http://127.0.0.1:8000")
SANDBOX_URL = env.str("SANDBOX_URL", default="http://127.0.0.1:8100")

SECRET_KEY = "an example shop keeps no secrets"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_wxpay",
    "example_project.shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
                "example_project.shop.context.sandbox",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": STATE / "shop.sqlite3",
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            # SQLite has no row locks: transactions that write begin with the write lock instead, one after the other.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = "Asia/Hong_Kong"
USE_TZ = True
STATIC_URL = "static/"
MEDIA_ROOT = STATE / "files"
LOGIN_URL = "shop:home"
SESSION_COOKIE_NAME = "shop_session"  # the sandbox's page lives on the same host

CELERY_BROKER_TRANSPORT = "django_wxpay.broker.Transport"
CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(STATE / "queue")}
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False  # LOGGING below is for the worker, too
CELERY_TIMEZONE = TIME_ZONE
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(STATE / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    **BEAT_SCHEDULE,
    "shop: renew memberships": {"task": "example_project.shop.tasks.renew_memberships", "schedule": 3600.0},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "example_project.shop.tokens.TokenAuthentication",  # the mini program
        "rest_framework.authentication.SessionAuthentication",  # the shop's pages
    ]
}

# What django_wxpay does and what goes wrong elsewhere; not each tick of beat.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%H:%M:%S"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"django_wxpay": {"level": "INFO"}, "celery": {"level": "WARNING"}},
}

# --- django_wxpay. The sandbox has written down who we are; a real shop got this when it became a merchant.

SANDBOX_STATE = STATE / "sandbox"


def sandbox_merchants() -> dict[str, dict[str, object]]:
    """The merchants that the sandbox in SANDBOX_STATE knows, one of each region; none before its first start."""
    written = SANDBOX_STATE / "merchant.json"
    if not written.exists():
        return {}
    known = json.loads(written.read_text())
    keys = {
        "SERIAL_NO": known["merchant_serial"],
        "PRIVATE_KEY": str(SANDBOX_STATE / known["merchant_private_key"]),
        "APIV3_KEY": known["apiv3_key"],
        "HOST": SANDBOX_URL,
    }
    return {
        "default": {
            **keys,
            "MCHID": known["mchid"],
            "APPID": known["appid"],
            "MERCHANT_CATEGORY_CODE": "5812",
        },
        "courses": {
            **keys,
            "REGION": "mainland",
            "MCHID": known["mainland_mchid"],
            "APPID": known["mainland_appid"],
            "SERVICE_ID": known["service_id"],
        },
    }


WXPAY = {
    "MERCHANTS": sandbox_merchants(),
    "NOTIFY_URL_BASE": f"{SHOP_URL}/wxpay/notify/",
    "CHECKOUT": "example_project.shop.checkout.ShopCheckout",
    "TILL_GIVE_UP_SECONDS": 20,  # nobody watches a demo for the usual 45
}
