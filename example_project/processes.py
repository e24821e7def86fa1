"""Several programs at once: started, watched, their output kept and shown, stopped without orphans.

Like honcho, with two differences that matter here: a Celery worker may take longer than five seconds to finish the
tasks that it has begun, and a program that died is started again.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

COLOURS = {"web": "36", "sandbox": "33", "worker": "35", "beat": "34", "demo": "31"}
# Generous, because a busy machine is no fault: nobody waits for longer than it takes, except for what never comes.
READY_SECONDS = 180
STOP_SECONDS = 60
RUN_SECONDS = 300
RESTARTS = 5  # in a row, 1, 2, 4, 8 and 16 s after the end
STEADY_SECONDS = 60  # a program that lived so long begins a new row


class ProcessEnded(Exception):
    """A program ended, or did not get ready, by itself."""


@dataclass
class Program:
    command: tuple[str, ...]
    process: subprocess.Popen[str]
    started: float  # on the monotonic clock, like `again_at`
    ended_in_a_row: int = 0
    again_at: float | None = None  # it has ended and waits for its next start


class Processes:
    """Programs that live and end together.

    folder: their output, and who they are. restarts: start again what ended by itself, until it keeps ending.
    """

    def __init__(
        self, environment: dict[str, str], folder: Path, *, is_shown: bool = False, restarts: bool = False
    ) -> None:
        self.environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self.folder = folder
        self.is_shown = is_shown
        self.restarts = restarts
        self.programs: dict[str, Program] = {}
        self._readers: list[threading.Thread] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str) -> None:
        """Start a program in a process group of its own, so that Ctrl-C reaches it only through `stop`."""
        self.log(name).write_text("")
        self.programs[name] = Program(command, self._launch(name, command), time.monotonic())

    def run(self, *command: str) -> str:
        """Run a short program to its end; returns what it wrote. Raises ProcessEnded when it fails."""
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        try:
            done = subprocess.run(command, env=self.environment, timeout=RUN_SECONDS, **options)
        except subprocess.TimeoutExpired as problem:
            raise ProcessEnded(f"{' '.join(command[1:])} takes longer than {RUN_SECONDS} s") from problem
        if done.returncode:
            raise ProcessEnded(f"{' '.join(command[1:])} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait_until(self, what: str, is_ready: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Wait until `is_ready()`; raises ProcessEnded when a program ends meanwhile or time runs out."""
        end = time.monotonic() + seconds
        while not is_ready():
            self.watch()
            if time.monotonic() > end:
                raise ProcessEnded(f"{what} was not ready after {seconds:.0f} s, see {self.folder}")
            time.sleep(0.1)

    def watch(self) -> None:
        """See to what ended by itself. Raises ProcessEnded when it shall not be started again, or keeps ending."""
        now = time.monotonic()
        for name, program in self.programs.items():
            if program.again_at is not None:
                if now >= program.again_at:
                    program.process = self._launch(name, program.command)
                    program.started, program.again_at = now, None
            elif program.process.poll() is not None:
                self._see_to(name, program, now)

    def has_said(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text(errors="replace")

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def stop(self) -> dict[str, int]:
        """Ask every program to finish, wait, and kill what is left of it; returns the exit codes."""
        processes = {name: program.process for name, program in self.programs.items()}
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for process in processes.values():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            _kill_group(process.pid)
        for reader in self._readers:
            reader.join(timeout=2)
        codes = {name: process.wait() for name, process in processes.items()}
        self.programs, self._readers = {}, []
        for name in codes:
            self._pid_file(name).unlink(missing_ok=True)
        return codes

    def stop_left_over(self) -> list[str]:
        """Kill the programs of a runner that was killed itself; returns their names.

        Each holds the lock of the file that has its number, so no number is taken for a program that has it by chance.
        """
        names = []
        for path in sorted(self.folder.glob("*.pid")):
            with path.open() as file:
                if _is_locked(file) and (number := file.read()):
                    _kill_group(int(number))
                    names.append(path.stem)
                    end = time.monotonic() + STOP_SECONDS
                    while _is_locked(file) and time.monotonic() < end:  # it has its port until it is dead
                        time.sleep(0.05)
            path.unlink()
        return names

    def _see_to(self, name: str, program: Program, now: float) -> None:
        _kill_group(program.process.pid)  # what it had started itself
        lived = now - program.started
        program.ended_in_a_row = program.ended_in_a_row + 1 if lived < STEADY_SECONDS else 1
        ended = f"{name} ended by itself after {lived:.0f} s, {_how(program.process.returncode)}"
        if not self.restarts or program.ended_in_a_row > RESTARTS:
            tail = "".join(self.log(name).read_text(errors="replace").splitlines(keepends=True)[-15:])
            times = f", {program.ended_in_a_row} times in a row: I give up" if self.restarts else ""
            raise ProcessEnded(f"{ended}{times}. Its last words, from {self.log(name)}:\n{tail}")
        pause = 2 ** (program.ended_in_a_row - 1)
        program.again_at = now + pause
        self._show("demo", f"{ended}. It is started again in {pause} s; its output is in {self.log(name)}\n")

    def _launch(self, name: str, command: tuple[str, ...]) -> subprocess.Popen[str]:
        self._pid_file(name).unlink(missing_ok=True)
        with self._pid_file(name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            lock.write(str(process.pid))
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        reader.start()
        self._readers.append(reader)
        return process

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout, self.log(name).open("a") as kept:
            for line in process.stdout:
                kept.write(line)
                kept.flush()
                self._show(name, line)

    def _show(self, name: str, line: str) -> None:
        if not self.is_shown:
            return
        label = f"{name:<8}| "
        try:
            print(
                f"\x1b[{COLOURS.get(name, '37')}m{label}\x1b[0m{line}" if sys.stdout.isatty() else label + line, end=""
            )
            sys.stdout.flush()
        except OSError:  # the terminal is gone; the programs must not wait for somebody who reads
            self.is_shown = False


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _kill_group(pid: int) -> None:
    """Nothing of a program stays behind, its own children (Celery's beat) neither."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
