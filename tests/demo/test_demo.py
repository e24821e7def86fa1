"""`make demo` as it is, its real programs, killed one after the other."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from example_project.demo_check import Story
from tests.docs.blocks import ROOT

from .test_processes import is_linux, lives

pytestmark = [pytest.mark.real, pytest.mark.skipif(not is_linux(), reason="reads /proc")]

OF_THIS_RUN = ("PYTEST_", "WXPAY_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "CACHE_URL", "DJANGO_", "SHOP_")
READY = "Ctrl-C stops."


class Running:
    """The command in a folder, and what it has printed."""

    def __init__(self, state, name):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(OF_THIS_RUN)}
        self.state, self.output = state, state.parent / f"{name}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "example_project.demo", str(state)],
                cwd=ROOT,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def until(self, text, seconds=240):
        end = time.monotonic() + seconds
        while not re.search(text, self.output.read_text()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.1)

    def ended(self):
        return self.process.wait(90), self.output.read_text()

    def address(self, of):
        return re.search(rf"{of} +(http://[\d.]+:\d+)/", self.output.read_text())[1]

    def pid(self, name):
        return int((self.state / "logs" / f"{name}.pid").read_text())

    @property
    def shop(self):
        return self.address("The shop")

    @property
    def sandbox(self):
        return self.address("The customer's phone")

    @property
    def processes(self):
        return self

    def watch(self):
        assert self.process.poll() is None, self.output.read_text()


@pytest.fixture
def run(tmp_path):
    begun = []

    def make(name):
        begun.append(Running(tmp_path / "demo", name))
        return begun[-1]

    yield make
    for running in begun:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(90)


@pytest.mark.scenario("S65")
def test_demo_survives_its_programs_and_its_own_death_and_runs_once(run):
    demo = run("first")
    demo.until(READY)

    code, said = run("second").ended()
    assert code == 1
    assert f"runs already, in {demo.state}: the shop is {demo.shop}/, the customer's phone {demo.sandbox}/" in said

    for name in ("worker", "beat", "sandbox", "web"):
        killed = demo.pid(name)
        os.kill(killed, signal.SIGKILL)
        demo.until(f"{name} ended by itself after .* killed by SIGKILL. It is started again in 1 s")
    end = time.monotonic() + 120
    while not _becomes_member(demo):
        assert time.monotonic() < end, demo.output.read_text()
        time.sleep(1)

    left = demo.pid("worker")
    demo.process.kill()
    demo.process.wait()
    again = run("third")
    again.until(READY)
    assert (
        "The last demo was killed and left beat, sandbox, web, worker running; stopped now." in again.output.read_text()
    )
    assert not lives(left)
    assert again.shop == demo.shop
    again.process.send_signal(signal.SIGINT)
    code, said = again.ended()
    assert (code, "Traceback" in said) == (0, False), said
    assert list((demo.state / "logs").glob("*.pid")) == []


def _becomes_member(demo):
    """Whether a customer signs and is charged, which needs all programs."""
    story = Story(demo)
    try:
        story.choose_plan()
        story.agree()
    except OSError:  # one of them is not back yet
        return False
    story.see_active()
    return True
