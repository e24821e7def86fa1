"""The live demo, `make demo`: the shop, the sandbox and one Celery worker with beat, until Ctrl-C."""

import json
import signal
import socket
import sys
import time
from pathlib import Path

import requests

from .processes import ProcessEnded, Processes

ROOT = Path(__file__).resolve().parent.parent
STAFF = ("staff", "kettle")
CASHIER = ("cashier", "kettle")
LOCAL = "127.0.0.1"
WELCOME = """
  The shop             {shop}/
  The customer's phone {sandbox}/_sandbox/
  For staff            {shop}/admin/   {staff}
  The till             {shop}/till/    {cashier}

  Choose a plan, agree on the phone, see the payment arrive; then refund part of it in the admin and
  terminate. At the till, charge payment codes. Everything is kept in {state}. Ctrl-C stops.
"""


class Demo:
    """The three programs with their addresses and their folder. `start` returns when all of them answer."""

    def __init__(self, state: Path, *, is_shown: bool) -> None:
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        shop_port, sandbox_port = self._ports()
        self.shop, self.sandbox = f"http://{LOCAL}:{shop_port}", f"http://{LOCAL}:{sandbox_port}"
        self.processes = Processes(
            {
                "DJANGO_SETTINGS_MODULE": "example_project.settings",
                "PYTHONPATH": str(ROOT),
                "SHOP_STATE": str(state),
                "SHOP_URL": self.shop,
                "SANDBOX_URL": self.sandbox,
                "DJANGO_RUNSERVER_HIDE_WARNING": "true",
            },
            state / "logs",
            is_shown=is_shown,
        )
        self._commands = {
            "sandbox": ["-m", "django_wxpay.sandbox", "--port", str(sandbox_port), "--state", str(state / "sandbox")],
            "web": ["-m", "django", "runserver", f"{LOCAL}:{shop_port}", "--noreload"],
            "worker": [
                "-m",
                "celery",
                "--quiet",
                "-A",
                "example_project",
                "worker",
                "-B",
                "-P",
                "threads",
                "-c",
                "4",
                "-l",
                "info",
            ],
        }

    def start(self) -> None:
        self._start(
            "sandbox", lambda: _answers(f"{self.sandbox}/_sandbox/state")
        )  # it writes the merchant's keys first
        self.processes.run(sys.executable, "-m", "django", "migrate", "--verbosity", "0")
        self.processes.run(sys.executable, "-m", "django", "shop_staff", *STAFF)
        self.processes.run(sys.executable, "-m", "django", "shop_staff", *CASHIER, "--cashier")
        self._start("web", lambda: _answers(self.shop))
        self._start("worker", lambda: self.processes.has_said("worker", "The worker is ready."))

    def _start(self, name, is_ready) -> None:
        self.processes.start(name, sys.executable, *self._commands[name])
        self.processes.wait_until(name, is_ready)

    def _ports(self) -> tuple[int, int]:
        """The ports of the last time if they are free: WeChat Pay remembers where to send notifications."""
        kept = self.state / "ports.json"
        wanted = json.loads(kept.read_text()) if kept.exists() else [8000, 8100]
        ports = _free_port(wanted[0]), _free_port(wanted[1])
        kept.write_text(json.dumps(ports))
        return ports


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCAL, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no free port")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _stop_on_signals() -> None:
    def stop(number, frame):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    _stop_on_signals()
    demo = Demo(ROOT / "var" / "demo", is_shown=True)
    try:
        demo.start()
        staff, cashier = " / ".join(STAFF), " / ".join(CASHIER)
        print(WELCOME.format(shop=demo.shop, sandbox=demo.sandbox, staff=staff, cashier=cashier, state=demo.state))
        while True:
            demo.processes.refuse_ended()
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    except ProcessEnded as problem:
        print(problem, file=sys.stderr)
        return 1
    finally:
        _ignore_signals()  # a second Ctrl-C would leave orphans
        print("\nStopping …", flush=True)
        demo.processes.stop()


if __name__ == "__main__":
    sys.exit(main())
