"""The live demo, `make demo`: the shop, the sandbox, a Celery worker and beat, until Ctrl-C.

A program that dies is started again. One demo runs in a folder at a time; one that was killed leaves nothing behind
that the next would stumble over.
"""

import fcntl
import json
import os
import shutil
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
  terminate. At the till, charge payment codes. Sign up for a course; as {staff}, hold its lessons at
  {shop}/trainer/. Everything is kept in {state}. Ctrl-C stops.
"""


class RunsAlready(Exception):
    """Another demo has this folder; the text says where."""


class Demo:
    """The four programs with their addresses and their folder. `start` returns when all of them answer.

    afresh: begin with an empty folder. restarts: start again what dies. Raises RunsAlready. Use as a context manager;
    leaving it stops them all.
    """

    def __init__(self, state: Path, *, is_shown: bool = False, afresh: bool = False, restarts: bool = False) -> None:
        self.state = state
        self._claim()
        left_over = Processes({}, state / "logs").stop_left_over()
        if left_over and is_shown:
            print(f"The last demo was killed and left {', '.join(left_over)} running; stopped now.", flush=True)
        if afresh:
            shutil.rmtree(state)
            state.mkdir()
        shop_port, sandbox_port = self._ports()
        self.shop, self.sandbox = _addresses(shop_port, sandbox_port)
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
            restarts=restarts,
        )
        celery = ["-m", "celery", "--quiet", "-A", "example_project"]
        self._commands = {
            "sandbox": ["-m", "django_wxpay.sandbox", "--port", str(sandbox_port), "--state", str(state / "sandbox")],
            "web": ["-m", "django", "runserver", f"{LOCAL}:{shop_port}", "--noreload"],
            "worker": [*celery, "worker", "-P", "threads", "-c", "4", "-l", "info"],
            "beat": [*celery, "beat", "-l", "info"],  # not the worker's `-B`: its death would be seen by nobody
        }

    def start(self) -> None:
        self._start(
            "sandbox", lambda: _answers(f"{self.sandbox}/_sandbox/state")
        )  # it writes the merchant's keys first
        self.processes.run(sys.executable, "-m", "django", "migrate", "--verbosity", "0")
        self.processes.run(sys.executable, "-m", "django", "shop_staff", *STAFF)
        self.processes.run(sys.executable, "-m", "django", "shop_staff", *CASHIER, "--cashier")
        self.processes.run(sys.executable, "-m", "django", "shop_course")
        self._start("web", lambda: _answers(self.shop))
        self._start("worker", lambda: self.processes.has_said("worker", "The worker is ready."))
        self._start("beat", lambda: True)

    def stop(self) -> dict[str, int]:
        """Stop all programs and let the folder go; returns the exit codes."""
        codes = self.processes.stop()
        self._lock.close()
        return codes

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start(self, name, is_ready) -> None:
        self.processes.start(name, sys.executable, *self._commands[name])
        self.processes.wait_until(name, is_ready)

    def _claim(self) -> None:
        """Lock the folder; the kernel lets it go when we end, however we do."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.state.with_name(f"{self.state.name}.lock").open("a")  # not inside: that may be cleared away
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunsAlready(self._where()) from None

    def _ports(self) -> tuple[int, int]:
        """The ports of the last time if they are free: WeChat Pay remembers where to send notifications."""
        wanted = self._kept_ports() or (8000, 8100)
        ports = _free_port(wanted[0]), _free_port(wanted[1])
        aside = self.state / "ports.json.new"
        aside.write_text(json.dumps(ports))
        os.replace(aside, self.state / "ports.json")
        return ports

    def _kept_ports(self) -> tuple[int, int] | None:
        try:
            shop, sandbox = json.loads((self.state / "ports.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return shop, sandbox

    def _where(self) -> str:
        shop, sandbox = _addresses(*self._kept_ports() or (8000, 8100))
        return (
            f"The demo runs already, in {self.state}: the shop is {shop}/, the customer's phone {sandbox}/_sandbox/.\n"
            "Ctrl-C stops it where it was started."
        )


def _addresses(*ports: int) -> tuple[str, ...]:
    return tuple(f"http://{LOCAL}:{port}" for port in ports)


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
        return requests.get(url, timeout=30).ok
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


def main(state: Path = ROOT / "var" / "demo") -> int:
    _stop_on_signals()
    try:
        demo = Demo(state, is_shown=True, restarts=True)
    except RunsAlready as problem:
        print(problem, file=sys.stderr)
        return 1
    try:
        demo.start()
        staff, cashier = " / ".join(STAFF), " / ".join(CASHIER)
        print(WELCOME.format(shop=demo.shop, sandbox=demo.sandbox, staff=staff, cashier=cashier, state=demo.state))
        while True:
            demo.processes.watch()
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    except ProcessEnded as problem:
        print(problem, file=sys.stderr)
        return 1
    finally:
        _ignore_signals()  # a second Ctrl-C would leave orphans
        print("\nStopping …", flush=True)
        demo.stop()


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
