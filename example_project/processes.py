"""Several programs at once: started, watched, their output kept and shown, stopped without orphans.

Like honcho, with one difference that matters here: a Celery worker may take longer than five seconds to finish the
tasks that it has begun.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

COLOURS = {"web": "36", "sandbox": "33", "worker": "35"}
PATIENCE_SECONDS = 20


class ProcessEnded(Exception):
    """A program ended, or did not get ready, by itself."""


class Processes:
    """Programs that live and end together. Use as a context manager; leaving it stops them all."""

    def __init__(self, environment: dict[str, str], logs: Path, *, is_shown: bool = False) -> None:
        self.environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self.logs = logs
        self.is_shown = is_shown
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()

    def start(self, name: str, *command: str) -> None:
        """Start a program in a process group of its own, so that Ctrl-C reaches it only through `stop`."""
        self.log(name).write_text("")
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.running[name] = process
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def run(self, *command: str) -> str:
        """Run a short program to its end; returns what it wrote. Raises ProcessEnded when it fails."""
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise ProcessEnded(f"{' '.join(command[1:])} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait_until(self, what: str, is_ready, seconds: float = 30) -> None:
        """Wait until `is_ready()`; raises ProcessEnded when a program ends meanwhile or time runs out."""
        end = time.monotonic() + seconds
        while not is_ready():
            self.refuse_ended()
            if time.monotonic() > end:
                raise ProcessEnded(f"{what} was not ready after {seconds} s, see {self.logs}")
            time.sleep(0.1)

    def has_said(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text(errors="replace")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def refuse_ended(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                tail = "".join(self.log(name).read_text(errors="replace").splitlines(keepends=True)[-15:])
                raise ProcessEnded(f"{name} ended with {process.returncode}:\n{tail}")

    def stop(self) -> dict[str, int]:
        """Ask every program to finish, wait, and kill what is left of it; returns the exit codes."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + PATIENCE_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            _kill_group(process)
        for reader in self._readers:
            reader.join(timeout=2)
        codes = {name: process.wait() for name, process in self.running.items()}
        self.running, self._readers = {}, []
        return codes

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout, self.log(name).open("a") as kept:
            for line in process.stdout:
                kept.write(line)
                kept.flush()
                if self.is_shown:
                    print(self._shown(name, line), end="", flush=True)

    def _shown(self, name: str, line: str) -> str:
        label = f"{name:<8}| "
        return f"\x1b[{COLOURS.get(name, '37')}m{label}\x1b[0m{line}" if sys.stdout.isatty() else label + line


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Nothing of a program stays behind, its own children (Celery's beat) neither."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
