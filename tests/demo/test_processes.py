"""The demo's programs: what dies is started again, what keeps dying is given up, nothing stays behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from example_project import processes as module
from example_project.processes import ProcessEnded, Processes
from tests.docs.blocks import ROOT

ENDLESS = "import time; print('here', flush=True); time.sleep(600)"


@pytest.fixture
def start(tmp_path):
    begun = []

    def make(source, *, name="shop", **options):
        begun.append(Processes({}, tmp_path / "logs", **options))
        begun[-1].start(name, sys.executable, "-c", source)
        return begun[-1]

    yield make
    for processes in begun:
        processes.stop()


def until(holds, processes=None, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        if processes is not None:
            processes.watch()
        time.sleep(0.02)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # a zombie that nobody waits for here is dead
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def is_linux():
    return os.path.exists("/proc/self/stat")


def test_program_that_was_killed_is_started_again_and_that_is_said(start, capfd):
    processes = start(ENDLESS, restarts=True, is_shown=True)
    processes.wait_until("shop", lambda: processes.has_said("shop", "here"))
    first = processes.programs["shop"].process
    first.kill()
    until(lambda: processes.programs["shop"].process is not first, processes)
    until(lambda: processes.log("shop").read_text() == "here\nhere\n")
    shown = capfd.readouterr().out
    assert "shop ended by itself after" in shown
    assert "killed by SIGKILL. It is started again in 1 s" in shown


def test_program_that_keeps_ending_is_given_up_with_its_last_words(start, monkeypatch, capfd):
    monkeypatch.setattr(module, "RESTARTS", 2)
    processes = start("print('no tea today', flush=True); raise SystemExit(3)", restarts=True, is_shown=True)
    with pytest.raises(ProcessEnded, match=r"with exit code 3, 3 times in a row: I give up(.|\n)*no tea today"):
        until(lambda: False, processes)
    shown = capfd.readouterr().out
    assert shown.index("again in 1 s") < shown.index("again in 2 s")


def test_program_that_lived_for_a_while_begins_a_new_row(start, monkeypatch):
    monkeypatch.setattr(module, "RESTARTS", 1)
    monkeypatch.setattr(module, "STEADY_SECONDS", 0)
    processes = start("pass", restarts=True)
    seen = set()
    until(lambda: seen.add(processes.programs["shop"].process.pid) or len(seen) == 4, processes)


def test_program_that_ends_where_nothing_is_started_again_is_an_error(start):
    processes = start("print('so it goes')")
    with pytest.raises(ProcessEnded, match="shop ended by itself after 0 s, with exit code 0(.|\n)*so it goes"):
        processes.wait_until("shop", lambda: False)


@pytest.mark.skipif(not is_linux(), reason="reads /proc")
def test_children_of_a_program_that_died_do_not_stay(start):
    child = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {ENDLESS!r}]).pid, flush=True)"
    processes = start(f"{child}\n{ENDLESS}", restarts=True)
    processes.wait_until("shop", lambda: processes.has_said("shop", "here"))
    child_pid = int(processes.log("shop").read_text().split("\n")[0])
    processes.programs["shop"].process.kill()
    until(lambda: not lives(child_pid), processes)


@pytest.mark.skipif(not is_linux(), reason="reads /proc")
def test_programs_of_a_runner_that_was_killed_are_stopped_by_the_next(tmp_path):
    script = (
        "import os, pathlib, sys\n"
        "from example_project.processes import Processes\n"
        f"processes = Processes({{}}, pathlib.Path({str(tmp_path)!r}))\n"
        f"processes.start('shop', sys.executable, '-c', {ENDLESS!r})\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == -signal.SIGKILL
    left = int((tmp_path / "shop.pid").read_text())
    assert lives(left)
    assert Processes({}, tmp_path).stop_left_over() == ["shop"]
    until(lambda: not lives(left))
    assert Processes({}, tmp_path).stop_left_over() == []


def test_number_of_a_program_that_is_gone_is_nobodys_death(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", ENDLESS], start_new_session=True)
    try:
        (tmp_path / "shop.pid").write_text(str(other.pid))
        assert Processes({}, tmp_path).stop_left_over() == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_program_that_never_gets_ready_is_an_error_that_names_its_output(start, tmp_path):
    processes = start(ENDLESS)
    with pytest.raises(ProcessEnded, match=f"tea was not ready after 0 s, see {tmp_path / 'logs'}"):
        processes.wait_until("tea", lambda: False, seconds=0.3)
