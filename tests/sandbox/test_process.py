import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests

from tests.sandbox.shop import Shop


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(500 if len(self.server.received) == 1 else 204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def start(tmp_path):
    running = []

    def run(*options):
        command = [sys.executable, "-m", "django_wxpay.sandbox", "--port", "0", "--state", str(tmp_path), *options]
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        running.append(process)
        return process, process.stdout.readline().strip()

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def shop_of(folder, base_url):
    """A shop that reads merchant.json, as any foreign client would."""
    merchant = json.loads((folder / "merchant.json").read_text())
    assert merchant["base_url"] == base_url
    for name in ("merchant_private_key", "merchant_certificate", "platform_certificate", "public_key"):
        merchant[name] = (folder / merchant[name]).read_text()
    rows = [{"serial": merchant["platform_serial"], "certificate": merchant["platform_certificate"]}]
    stand_in = SimpleNamespace(merchant=merchant, certificates=SimpleNamespace(all=lambda: rows))
    shop = Shop(SimpleNamespace(sandbox=stand_in))
    shop.session = RealSession(base_url)
    return shop


class RealSession(requests.Session):
    """Sends what was prepared for http://wxpay.sandbox to the process."""

    def __init__(self, base_url):
        super().__init__()
        self.trust_env = False
        self._base_url = base_url

    def send(self, request, **options):
        request.url = request.url.replace("http://wxpay.sandbox", self._base_url)
        return super().send(request, **options)


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_process_serves_notifies_and_stops(start, tmp_path, receiver):
    process, base_url = start("--speed", "60")
    shop = shop_of(tmp_path, base_url)
    notify_url = f"http://127.0.0.1:{receiver.server_port}/notify/"
    answer = shop.pre_sign("c1", success_notify_url=notify_url)
    assert shop.verifies(answer.headers, answer.content)
    assert answer.headers["Date"].endswith("GMT") and answer.raw.headers.getlist("Date") == [answer.headers["Date"]]
    contract = requests.post(f"{base_url}/_sandbox/contracts/c1/sign", timeout=5).json()

    wait_for(lambda: len(receiver.received) == 2)  # refused once, then repeated after 15 s / 60
    headers, body = receiver.received[1]
    assert shop.verifies(headers, body) and json.loads(body)["event_type"] == "PAPAY.SIGN"

    shop.deduct(contract, "d1", notify_url=notify_url)
    shop.refund("d1", "r1", 100, notify_url=notify_url)
    wait_for(lambda: len(receiver.received) == 4)
    assert {json.loads(body)["event_type"] for _, body in receiver.received[2:]} == {
        "TRANSACTION.SUCCESS",
        "REFUND.SUCCESS",
    }

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_connections_are_really_closed(start, tmp_path):
    _, base_url = start()
    shop = shop_of(tmp_path, base_url)
    faults = f"{base_url}/_sandbox/faults"
    for kind in ("lost_answer", "closed_connection"):
        requests.post(faults, json={"kind": kind, "path": "/v3/global/papay"}, timeout=5)
        with pytest.raises(requests.ConnectionError):
            shop.pre_sign(kind)
    sessions = requests.get(f"{base_url}/_sandbox/state", timeout=5).json()["sessions"]
    assert [session["out_contract_code"] for session in sessions] == ["lost_answer"]
    requests.post(faults, json={"kind": "slow", "seconds": 3}, timeout=5)
    with pytest.raises(requests.ReadTimeout):
        shop.request("GET", "/v3/certificates", timeout=0.3)


def test_a_silent_process_accepts_the_connection_and_does_nothing(start, tmp_path):
    _, base_url = start()
    shop = shop_of(tmp_path, base_url)
    requests.post(f"{base_url}/_sandbox/faults", json={"kind": "silent", "mchid": shop.mchid, "times": -1}, timeout=5)
    for _ in range(3):
        with pytest.raises(requests.ReadTimeout):
            shop.request("GET", "/v3/certificates", timeout=0.2)
    assert len(requests.get(f"{base_url}/_sandbox/state", timeout=5).json()["calls"]) == 3
    requests.delete(f"{base_url}/_sandbox/faults", timeout=5)
    assert shop.get("/v3/certificates").status_code == 200


def test_a_held_answer_is_let_go_when_the_test_is_ready(start, tmp_path):
    """It says what was true when it was made."""
    _, base_url = start()
    shop = shop_of(tmp_path, base_url)
    shop.pre_sign("c1")
    contract = requests.post(f"{base_url}/_sandbox/contracts/c1/sign", timeout=5).json()
    shop.deduct(contract, "d1", total=6660011)
    query = "/v3/global/papay/transactions/out-trade-no/d1"
    requests.post(f"{base_url}/_sandbox/faults", json={"kind": "slow", "path": query, "seconds": 60}, timeout=5)
    answers = []
    late = threading.Thread(target=lambda: answers.append(shop.get(query).json()["trade_state"]))
    late.start()
    wait_for(lambda: requests.get(f"{base_url}/_sandbox/state", timeout=5).json()["calls"][-1].get("fault"))
    requests.post(f"{base_url}/_sandbox/orders/d1/pay", timeout=5)
    assert shop.get(query).json()["trade_state"] == "SUCCESS" and answers == []
    requests.post(f"{base_url}/_sandbox/release", timeout=5)
    late.join(5)
    assert answers == ["USERPAYING"]


def test_a_restart_keeps_keys_and_rows_and_tells_the_new_address(start, tmp_path):
    first, address = start()
    shop_of(tmp_path, address).pre_sign("c1")
    before = json.loads((tmp_path / "merchant.json").read_text())
    first.send_signal(signal.SIGINT)
    assert first.wait(10) == 0
    _, base_url = start()
    after = json.loads((tmp_path / "merchant.json").read_text())
    assert after == {**before, "base_url": base_url}
    assert shop_of(tmp_path, base_url).get("/v3/certificates").status_code == 200
    assert len(requests.get(f"{base_url}/_sandbox/state", timeout=5).json()["sessions"]) == 1


def test_the_sandbox_needs_nothing_of_the_rest():
    script = (
        "import sys, django_wxpay.sandbox, django_wxpay.sandbox.transport, django_wxpay.sandbox.runner\n"
        "other = [name for name in sys.modules if name.split('.')[0] in ('django', 'celery', 'rest_framework')]\n"
        "ours = [name for name in sys.modules if name.startswith('django_wxpay.') and 'sandbox' not in name]\n"
        "sys.exit(repr(other + ours) if other or ours else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
