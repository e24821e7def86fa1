"""How much memory a large statement needs: fetched from the sandbox, proved, kept, and read row by row.

    python benchmarks/statements.py [--rows 1000000] [--limit-mb 150]

The sandbox and the shop are processes of their own. What is measured is the shop's peak of resident memory, Django,
its database and all. Ends with 1 when a peak is above the limit. Linux only: it reads /proc.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
import zoneinfo
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
DAY = datetime.datetime.now(zoneinfo.ZoneInfo("Asia/Shanghai")).date() - datetime.timedelta(days=1)
PATIENCE_SECONDS = 1800  # the sandbox makes all rows before it sends the first


def main(rows, limit_mb):
    with tempfile.TemporaryDirectory(prefix="wxpay-statements-") as folder:
        sandbox = subprocess.Popen(
            [sys.executable, "-m", "django_wxpay.sandbox", "--port", "0", "--state", folder],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = sandbox.stdout.readline().strip()
            asked = {"rows": rows}
            requests.post(f"{url}/_sandbox/statements/{DAY:%Y%m%d}", json=asked, timeout=60).raise_for_status()
            arguments = [sys.executable, __file__, "--shop", folder, url]
            said = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        finally:
            sandbox.terminate()
            sandbox.wait()
    return report(json.loads(said), rows, limit_mb)


def report(found, rows, limit_mb):
    print(f"{'':<12} {'seconds':>9} {'rows/s':>11} {'peak MB':>9}")
    for name, phase in found["phases"].items():
        speed = f"{rows / phase['seconds']:,.0f}" if phase["rows"] else ""
        print(f"{name:<12} {phase['seconds']:9.1f} {speed:>11} {phase['peak_mb']:9.1f}")
    print(f"{found['rows']:,} rows, {found['size'] / 1e6:,.1f} MB, kept as {found['kept'] / 1e6:,.1f} MB")
    assert found["rows"] == rows == found["phases"]["read"]["rows"], found
    peak = max(phase["peak_mb"] for phase in found["phases"].values())
    print(f"peak {peak:.1f} MB, limit {limit_mb} MB: {'ok' if peak < limit_mb else 'TOO MUCH'}")
    return peak < limit_mb


# The shop


def shop(folder, url):
    sys.path.insert(0, str(ROOT))
    configure(Path(folder), url)
    from django_wxpay.services import bills

    phases = {}
    with measured(phases, "start"):
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    with measured(phases, "download") as done:
        bill = bills.download_statement(DAY)
        assert bill.has_file, f"{bill.state}: {bill.error}"
        done["rows"] = bill.rows
    with measured(phases, "read") as done:
        done["rows"] = sum(row.amount_total > 0 and bool(row.out_trade_no) for row in bills.rows(bill))
    print(json.dumps({"phases": phases, "rows": bill.rows, "size": bill.size, "kept": bill.file.size}))


def configure(folder, url):
    import django
    from django.conf import settings

    known = json.loads((folder / "merchant.json").read_text())
    merchant = {
        "MCHID": known["mchid"],
        "APPID": known["appid"],
        "SERIAL_NO": known["merchant_serial"],
        "PRIVATE_KEY": str(folder / known["merchant_private_key"]),
        "APIV3_KEY": known["apiv3_key"],
        "HOST": url,
        "READ_TIMEOUT_SECONDS": PATIENCE_SECONDS,
    }
    settings.configure(
        SECRET_KEY="only for measuring",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "shop.sqlite3"}},
        MEDIA_ROOT=folder / "media",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "django_wxpay",
        ],
        WXPAY={"MERCHANTS": {"default": merchant}, "NOTIFY_URL_BASE": "https://shop.example/wxpay/notify/"},
    )
    django.setup()


class measured:
    """Note how long a phase took and how much memory it needed at most."""

    def __init__(self, phases, name):
        self._phases, self._name = phases, name

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        self._started = time.perf_counter()
        self._done = {"rows": 0}
        return self._done

    def __exit__(self, *error):
        self._done |= {"seconds": time.perf_counter() - self._started, "peak_mb": peak_mb()}
        self._phases[self._name] = self._done


def peak_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["--shop"]:
        shop(*sys.argv[2:])
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit-mb", type=float, default=150)
    options = parser.parse_args()
    sys.exit(0 if main(options.rows, options.limit_mb) else 1)
