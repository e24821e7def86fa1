"""The real world of these tests: the sandbox, shops and workers as processes, their messages over sockets.

Nothing in here is patched. What one test takes out on purpose is in `weaken`.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import requests
from django.apps import apps
from django.db import OperationalError, connection, connections, models
from django.db.models import F

from django_wxpay.services import combine_orders, contracts, payees, payscore, service_orders, sign_plans

DEDUCT = "/v3/global/papay/transactions"
SIGN_PLANS = "/v3/payscore/sign-plan/user-sign-plans"
SERVICE_ORDERS = "/v3/payscore/serviceorder"
COMBINED = "/v3/combine-transactions"
REFUND = "/v3/global/refunds"
PATIENCE_SECONDS = 30


def wait_until(condition, what="it to happen"):
    """Wait for a condition to return something true, and return that."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.05)
    return found


def at_once(*calls):
    """Make all calls at the same moment, each in a thread and over a database connection of its own.

    Returns what they returned, in their order; a call that raised stands there with its exception.
    """
    results = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(place, call):
        try:
            connection.ensure_connection()
            start.wait(PATIENCE_SECONDS)
            results[place] = call()
        except Exception as error:
            results[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE_SECONDS)
        assert not thread.is_alive(), "a call never came back"
    return results


def returned(results):
    """The results of `at_once`, when none of the calls raised."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def time_passes(seconds):
    """Make everything we remember `seconds` older, as if so much time had gone by."""
    gone = timedelta(seconds=seconds)
    for model in apps.get_app_config("django_wxpay").get_models():
        moments = [field.name for field in model._meta.get_fields() if isinstance(field, models.DateTimeField)]
        if moments:
            model.objects.update(**{name: F(name) - gone for name in moments})


class Trouble:
    """Fails updates of a model on this connection as PostgreSQL and MariaDB do: `times`, once `skip` were let pass."""

    def __init__(self, model, times, *, skip=0):
        self._table = model._meta.db_table
        self.left = times
        self._skip = skip

    def __call__(self, execute, sql, params, many, context):
        if self.left and sql.startswith("UPDATE") and self._table in sql:
            if self._skip:
                self._skip -= 1
                return execute(sql, params, many, context)
            self.left -= 1
            cause = Exception(1213, "Deadlock found when trying to get lock; try restarting transaction")
            raise OperationalError(*cause.args) from cause
        return execute(sql, params, many, context)


class Letter(NamedTuple):
    """A notification as it came over the wire."""

    headers: dict
    body: bytes

    def post_to(self, url):
        """Send it as WeChat Pay did, over a connection of its own; returns the status and the answer's text."""
        host, _, path = url.removeprefix("http://").partition("/")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=PATIENCE_SECONDS)) as line:
            line.request("POST", f"/{path}", self.body, self.headers)
            answer = line.getresponse()
            return answer.status, answer.read().decode()

    def as_json(self):
        return {"headers": self.headers, "body": base64.b64encode(self.body).decode()}


class Postbox:
    """An address that takes every notification and acknowledges it, so that a test can send it on as it likes."""

    def __init__(self):
        self.letters = []
        letters = self.letters

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                letters.append((self.path, Letter(kept, body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next(self, name, event_type):
        """Wait for a notification of that type below the path /name/, and take it out."""

        def find():
            for path, letter in list(self.letters):
                if path.startswith(f"/{name}/") and json.loads(letter.body)["event_type"] == event_type:
                    self.letters.remove((path, letter))
                    return letter
            return None

        return wait_until(find, f"a notification {event_type}")

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Process:
    """One of our processes; `ready` waits for its first line."""

    def __init__(self, *arguments, environment, ready=False):
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.said = self._process.stdout.readline().strip() if ready else ""
        assert self.said or not ready, f"{arguments[0]} did not start"

    @property
    def is_running(self):
        return self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    @property
    def memory_kib(self):
        """Resident memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def result(self):
        """Wait for its end and return what it said last, which is JSON. It must have ended well."""
        said, _ = self._process.communicate(timeout=2 * PATIENCE_SECONDS)
        assert self._process.returncode == 0, f"it ended with {self._process.returncode}"
        return json.loads(said.splitlines()[-1])

    def wait_for_death(self):
        """Wait until it was killed by signal 9, by itself or by somebody else."""
        self._process.communicate(timeout=2 * PATIENCE_SECONDS)
        assert self._process.returncode == -signal.SIGKILL, f"it ended with {self._process.returncode}"

    def kill(self):
        """kill -9: no handler runs, nothing is rolled back politely."""
        self._process.send_signal(signal.SIGKILL)
        self.wait_for_death()

    def go_on(self):
        """Wake it from its suspension and wait for its end; returns its status."""
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate(timeout=2 * PATIENCE_SECONDS)
        return self._process.returncode

    def stop(self):
        if self.is_running:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # it may be suspended
        self._process.communicate(timeout=PATIENCE_SECONDS)


class RealSandbox:
    """`python -m django_wxpay.sandbox` on a port of its own."""

    def __init__(self, folder, environment):
        self.folder = Path(folder)
        arguments = ("--port", "0", "--state", str(self.folder), "--speed", "20")
        self._process = Process("django_wxpay.sandbox", *arguments, environment=environment, ready=True)
        self.url = self._process.said
        self._session = requests.Session()
        self._session.trust_env = False

    def settings(self, notify_url_base):
        """`settings.WXPAY` of a shop that uses it."""
        known = json.loads((self.folder / "merchant.json").read_text())
        merchant = {
            "MCHID": known["mchid"],
            "APPID": known["appid"],
            "SERIAL_NO": known["merchant_serial"],
            "PRIVATE_KEY": str(self.folder / known["merchant_private_key"]),
            "APIV3_KEY": known["apiv3_key"],
            "MERCHANT_CATEGORY_CODE": "5734",
            "HOST": self.url,
        }
        return {"MERCHANTS": {"default": merchant}, "NOTIFY_URL_BASE": notify_url_base}

    def tell(self, where, /, **values):
        """Control it."""
        answer = self._session.post(f"{self.url}/_sandbox/{where}", json=values, timeout=PATIENCE_SECONDS)
        answer.raise_for_status()
        return answer.json()

    def state(self):
        return self._session.get(f"{self.url}/_sandbox/state?limit=300", timeout=PATIENCE_SECONDS).json()

    def combine_order(self, order):
        """What WeChat Pay has of a combined order; None when it has none."""
        return self._one("combine_orders", "combine_out_trade_no", order.combine_out_trade_no)

    def parts(self, order):
        """What WeChat Pay has of its parts, in their order."""
        return [one for one in self.state()["orders"] if one["combine_out_trade_no"] == order.combine_out_trade_no]

    def sign_plan(self, sign_plan):
        """What WeChat Pay has of a sign plan; None when it has none."""
        return self._one("sign_plans", "merchant_sign_plan_no", sign_plan.merchant_sign_plan_no)

    def service_order(self, order):
        """What WeChat Pay has of a service order; None when it has none."""
        return self._one("service_orders", "out_order_no", order.out_order_no)

    def _one(self, kind, name, number):
        return next((one for one in self.state()[kind] if one[name] == number), None)

    def orders(self, contract):
        """What was charged, or tried, to a contract."""
        return [order for order in self.state()["orders"] if order.get("contract_id") == contract.contract_id]

    def refunds(self, order):
        return [refund for refund in self.state()["refunds"] if refund["out_trade_no"] == order.out_trade_no]

    def calls(self, method, path, about=""):
        """How often a path was called (or, with a slash at its end, what lies below); the request holds `about`."""

        def fits(target):
            return target.startswith(path) if path.endswith("/") else target.partition("?")[0] == path

        return sum(
            call["method"] == method and fits(call["target"]) and about in f"{call['target']} {call['body']}"
            for call in self.state()["calls"]
        )

    def fault(self, kind, path, **options):
        return self.tell("faults", kind=kind, path=path, **options)

    def forget_faults(self):
        self._session.delete(f"{self.url}/_sandbox/faults", timeout=PATIENCE_SECONDS)

    def close(self):
        self._session.close()
        self._process.stop()


class World:
    """Everything a test here plays with."""

    def __init__(self, sandbox, postbox, environment):
        self.sandbox = sandbox
        self._postbox = postbox
        # An address of this test's own: what the sandbox still has to tell about another test does not come here.
        self._address = uuid.uuid4().hex
        self.settings = sandbox.settings(f"{postbox.url}/{self._address}/")
        self._environment = {**environment, "WXPAY_OF_TEST": json.dumps(self.settings)}
        self._processes = []
        self._names = 0

    def add_institution(self, **options):
        """A second merchant, `institution`; `options` are settings of both, for processes that start from now on."""
        known = json.loads((self.sandbox.folder / "merchant.json").read_text())
        common = self.settings["MERCHANTS"]["default"] | options
        theirs = {
            f"{side}_{what}": known[f"{side}_{what}".lower()] for side in ("SP", "SUB") for what in ("MCHID", "APPID")
        }
        institution = {name: value for name, value in common.items() if name not in ("MCHID", "APPID")} | theirs
        merchants = {"default": common, "institution": institution | {"MODE": "institution"}}
        self.settings = self.settings | {"MERCHANTS": merchants}
        self._environment["WXPAY_OF_TEST"] = json.dumps(self.settings)

    def add_mainland(self):
        """Merchants of the mainland, `mainland` and `mainland_partner`, for processes that start from now on."""
        known = json.loads((self.sandbox.folder / "merchant.json").read_text())
        default = self.settings["MERCHANTS"]["default"]
        common = {name: default[name] for name in ("SERIAL_NO", "PRIVATE_KEY", "APIV3_KEY", "HOST")}
        common |= {"REGION": "mainland", "SERVICE_ID": known["service_id"]}
        names = [f"{side}_{what}" for side in ("SP", "SUB") for what in ("MCHID", "APPID")]
        partner = {name: known[f"mainland_{name.lower()}"] for name in names}
        added = {
            "mainland": {"MCHID": known["mainland_mchid"], "APPID": known["mainland_appid"]} | common,
            "mainland_partner": partner | common | {"MODE": "partner"},
        }
        self.settings["MERCHANTS"].update(added)
        self._environment["WXPAY_OF_TEST"] = json.dumps(self.settings)

    def name(self, word):
        """A new reference."""
        self._names += 1
        return f"{word}-{self._names}"

    def signed_contract(self, **asked):
        """A contract that its user signed on the sandbox's phone; its notification will be a `letter`."""
        contract = contracts.sign(plan_id=12345, user_display_name="Li M.", openid=self.name("o-user"), **asked)
        self.sandbox.tell(f"contracts/{contract.session_id}/sign")
        contract = contracts.sync(contract)
        assert contract.state == "SIGNED"
        return contract

    def plan(self, *prices, merchant="mainland"):
        """A PayScore plan whose services cost so much."""
        details = [payscore.Detail(f"Lesson {place}", price, price) for place, price in enumerate(prices, 1)]
        name = self.name("course")
        return payscore.create_plan(
            name="Lessons", details=details, duration_days=90, reference=name, merchant=merchant
        )

    def signed_plan(self, *prices, merchant="mainland"):
        """A plan that its user signed on the sandbox's phone; its notification will be a `letter`."""
        sign_plan = sign_plans.sign(self.plan(*prices, merchant=merchant), openid=self.name("o-user"))
        self.confirm(sign_plan)
        sign_plan = sign_plans.sync(sign_plan)
        assert sign_plan.state == "SIGNED"
        return sign_plan

    def confirm(self, sign_plan):
        """Its user signs on the phone."""
        self.sandbox.tell(f"sign-plans/{sign_plan.merchant_sign_plan_no}/confirm")

    def started(self, sign_plan):
        """The next service of a signed plan, in use."""
        order = service_orders.start(sign_plan, reference=self.name("lesson"))
        assert order.is_running
        return order

    def payee(self):
        """A person who is authorised, as we know."""
        payee = payees.enrol(openid=self.name("o-payee"), merchant="mainland")
        self.sandbox.tell(f"payees/{payee.openid}/authorize", mchid=payee.mchid)
        return payees.sync(payee)

    def combined(self, parts=2):
        """A combined order that can be paid; its notification will be a `letter`."""
        listed = [combine_orders.Part(self.payee(), 500 + place, "Book") for place in range(parts)]
        return combine_orders.place(parts=listed, openid="o-payer", reference=self.name("basket"), merchant="mainland")

    def letter(self, event_type):
        """The next notification of that type, as it came from WeChat Pay."""
        return self._postbox.next(self._address, event_type)

    def shop(self, *, merchant="default", without=()):
        """A shop's web server; returns it with `url`, the address of its notifications for a merchant."""
        shop = self._start("tests.real.shop", *without, ready=True)
        shop.url = f"http://127.0.0.1:{shop.said}/wxpay/notify/{merchant}/"
        return shop

    def actor(self, action, *, without=(), dies="", **arguments):
        """Another process of the shop that does one thing; see `actor`. `dies`: the point at which it is killed."""
        return self._start("tests.real.actor", json.dumps([action, arguments, list(without), dies]))

    def worker(self, *, processes=2, sleeps=0, without=()):
        """The shop's Celery worker and beat, ready; `sleeps`: what its receiver takes for each order's change."""
        return self._start("tests.real.worker", json.dumps([processes, sleeps, list(without)]), ready=True)

    def kill_at_the_end(self, process):
        """It may be in the middle of something long: nobody waits for it."""
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        process.kill()

    def _start(self, *arguments, ready=False):
        process = Process(*arguments, environment=self._environment, ready=ready)
        self._processes.append(process)
        return process

    def close(self):
        for process in self._processes:
            process.stop()
        self.sandbox.forget_faults()


def settings_of_test():
    """What a test's other processes put into `settings.WXPAY`."""
    return json.loads(os.environ["WXPAY_OF_TEST"])
