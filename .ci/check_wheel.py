"""Install a wheel into an empty environment and use it there, as a shop would: check_wheel.py WHEEL."""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOP = """
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only here",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "django_wxpay"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "shop.sqlite3",
            "CONN_MAX_AGE": 60,
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
        }
    },
    WXPAY={"MERCHANTS": {}, "NOTIFY_URL_BASE": "https://shop.example/wxpay/notify/"},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command

import django_wxpay
from django_wxpay.client import Client
from django_wxpay.services import contracts, orders, refunds

call_command("check", fail_level="ERROR")
call_command("migrate", verbosity=0)
print("django_wxpay", django_wxpay.__version__, "works from", django_wxpay.__file__)
"""


def refuse_missing_files(wheel: Path) -> None:
    """Every file of the package that git knows must be in the wheel: templates, translations, py.typed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "django_wxpay"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    packed = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in listed if name and (ROOT / name).exists() and name not in packed]
    if missing:
        sys.exit(f"Not in {wheel.name} (see MANIFEST.in): {', '.join(missing)}")


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    refuse_missing_files(wheel)
    with tempfile.TemporaryDirectory(prefix="django-wxpay-wheel-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        here = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        for command in (
            [python, "-m", "pip", "install", "-qq", str(wheel)],
            [python, "-W", "error::DeprecationWarning:django_wxpay", "-c", SHOP],
        ):
            subprocess.run([str(part) for part in command], cwd=folder, env=here, check=True)


if __name__ == "__main__":
    main()
