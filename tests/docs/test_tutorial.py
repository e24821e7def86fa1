"""The tutorial, executed: its blocks in their order, in a new project, against the real sandbox process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from .blocks import DOCS, ROOT, steps

pytestmark = pytest.mark.real

TUTORIAL = DOCS / "tutorial.md"
# Generous: what is waited for comes, and a busy machine is no fault.
LONGEST_COMMAND_SECONDS = 300
READY_SECONDS = 180
OF_THIS_RUN = ("PYTEST_", "WXPAY_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "CACHE_URL", "DJANGO_", "http_proxy")
SPOKEN_PORTS = {"8000": "web", "8100": "sandbox"}


class Reader:
    """Somebody who does what the tutorial says, with other ports: theirs may be taken here."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {spoken: _free_port() for spoken in SPOKEN_PORTS}
        self.running = {}
        self.commands = {}
        self.shell = None
        bin_folder = str(Path(sys.executable).parent)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_RUN)} | {
            "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "no_proxy": "127.0.0.1",
        }

    def follow(self, step):
        text = re.sub(r"\b(8000|8100)\b", lambda found: str(self.ports[found[0]]), step.text)
        name, _, argument = step.marker.partition(": ")
        match name.split(",")[0]:
            case "skip":
                return
            case "run":
                self._run(text)
            case "background":
                self.commands[argument] = text
                self._start(argument)
            case "restart":
                self._stop(argument)
                self._start(argument)
            case "write":
                (self.folder / argument).write_text(text)
            case "append":
                with (self.folder / argument).open("a") as file:
                    file.write("\n\n" + text)
            case "agree":
                self._agree()
            case "shell":
                limit = re.search(r"within (\d+) s", step.marker)
                self._type(text, float(limit[1]) if limit else 0)
            case "leave the shell":
                self._leave_shell()
            case other:
                raise AssertionError(f"the tutorial's marker {other!r} means nothing")

    def _run(self, text):
        done = subprocess.run(
            ["bash", "-e"],
            input=text,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

    def _start(self, name):
        # The reloader would be a second process, and a restart is a step of its own.
        command = self.commands[name].strip().replace("runserver", "runserver --noreload")
        log = (self.folder / f"{name}.log").open("a")
        self.running[name] = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        if name == "worker":
            self._until(lambda: " ready." in (self.folder / "worker.log").read_text(), name)
        else:
            port = next(self.ports[spoken] for spoken, whose in SPOKEN_PORTS.items() if whose == name)
            self._until(lambda: _listens(port), name)

    def _until(self, is_ready, name):
        end = time.monotonic() + READY_SECONDS
        while not is_ready():
            log = (self.folder / f"{name}.log").read_text()
            assert self.running[name].poll() is None, f"{name} ended:\n{log}"
            assert time.monotonic() < end, f"{name} is not ready:\n{log}"
            time.sleep(0.1)

    def _stop(self, name):
        process = self.running.pop(name)
        for number, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 30)):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue
        process.wait(30)

    def _agree(self):
        """Press Agree on the phone page for whatever waits."""
        base = f"http://127.0.0.1:{self.ports['8100']}/_sandbox"
        with urlopen(f"{base}/state", timeout=60) as answer:
            sessions = json.load(answer)["sessions"]
        waiting = [session["session_id"] for session in sessions if session["state"] == "OPEN"]
        assert waiting, sessions
        for session_id in waiting:
            with urlopen(Request(f"{base}/contracts/{session_id}/sign", method="POST", data=b""), timeout=60) as answer:
                assert answer.status == 200

    def _type(self, source, patience):
        """Type examples into the Django shell; until `patience` seconds have passed they are typed again."""
        end = time.monotonic() + patience
        while True:
            result = self._ask_shell(source)
            if not result["failed"]:
                return
            assert time.monotonic() < end, result["report"]
            time.sleep(0.5)

    def _ask_shell(self, source):
        if self.shell is None:
            self.shell = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("interpreter.py"))],
                cwd=self.folder,
                env={**self.environment, "DJANGO_SETTINGS_MODULE": "shop.settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        patience = threading.Timer(LONGEST_COMMAND_SECONDS, self.shell.kill)
        patience.start()
        try:
            self.shell.stdin.write(json.dumps({"source": source}) + "\n")
            self.shell.stdin.flush()
            line = self.shell.stdout.readline()
        finally:
            patience.cancel()
        assert line, "the Django shell ended, or was too slow; its error is in the captured output"
        return json.loads(line)

    def _leave_shell(self):
        if self.shell is not None:
            self.shell.stdin.close()
            self.shell.stdout.close()
            self.shell.wait(60)
            self.shell = None

    def go_home(self):
        self._leave_shell()
        for name in list(self.running):
            self._stop(name)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _listens(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            return True
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("bash") is None, reason="the tutorial's commands are for a POSIX shell")
def test_a_newcomer_who_follows_the_tutorial_gets_what_it_shows(tmp_path):
    reader = Reader(tmp_path)
    try:
        for step in steps(TUTORIAL):
            try:
                reader.follow(step)
            except Exception as error:
                raise AssertionError(f"docs/tutorial.md, line {step.line} ({step.marker}): {error}") from error
    finally:
        reader.go_home()


def test_every_block_of_the_tutorial_is_marked():
    unmarked = re.findall(r"(?<! -->)\n```(?:sh|python|pycon)\n.*", TUTORIAL.read_text())
    assert unmarked == []
