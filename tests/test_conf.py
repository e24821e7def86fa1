"""`settings.WXPAY` as the app reads it: clients of a process, paths and keys, times, sub-merchants."""

import logging
import os
import select
import signal
import threading
import traceback
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from django_wxpay import conf
from django_wxpay.client.keyfiles import is_path
from django_wxpay.engine import operations
from django_wxpay.models import Operation
from django_wxpay.services import orders, refunds

from .client.sockets import serving


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_process_forked_while_another_thread_makes_a_client_can_make_its_own(wxpay_sandbox):
    """The thread that holds the lock is not in the child: nobody there would ever let go of it."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with conf._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr(conf.client("default")).encode())
        os._exit(0)
    done.set()
    thread.join()
    os.close(write)
    answered, _, _ = select.select([read], [], [], 5)
    if not answered:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read) as answer:
        assert "<Client" in answer.read()


# A key is given as text or as the path of a file


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)).strip()
LINES = KEY.splitlines()[1:-1]
BARE = "".join(LINES)
CUT = BARE[BARE.index("/", 100) :]  # begins as a path does


def spoil(text):
    """The same key with some of it missing: no form of it can be read, yet most of the secret is there."""
    return text.replace(LINES[3], LINES[3][:40])


@pytest.mark.parametrize(
    "value",
    [
        "/run/secrets/wxpay", "/run/secrets/wxpay_private_key.pem", "keys/apiclient_key.pem", "apiclient_key.pem\n",
        "./key", "../keys/wxpay", r"C:\keys\wxpay", r"\\server\keys\wxpay.pem", "C:/keys/wxpay", Path("wxpay"),
    ],
)  # fmt: skip
def test_name_of_a_file_is_taken_for_one(value):
    assert is_path(value)


@pytest.mark.parametrize(
    "value",
    [
        KEY, KEY.encode(), f" {KEY}", f'"{KEY}"', f"\ufeff{KEY}", KEY.replace("\n", "\\n"), KEY.replace("\n", " "),
        BARE, "\n".join(LINES), "\\n".join(LINES), "\\r\\n".join(LINES), BARE[200:400], CUT, "x" * 32, "", 5, None,
    ],
)  # fmt: skip
def test_text_of_a_key_in_any_form_is_not_taken_for_a_file(value):
    assert not is_path(value)


PUBLIC_KEY_ID = "PUB_KEY_ID_0119000001002026030100006500000001"
UNUSABLE = {
    "bare base64": spoil(BARE),
    "bare base64 in lines": spoil("\n".join(LINES)),
    "line ends of two characters": spoil("\\n".join(LINES)),
    "the first half": BARE[:800],
    "a piece that begins as a path": CUT,
    "text without its head": "\n".join(LINES) + "\n-----END PRIVATE KEY-----",
    "text without its end": KEY[: len(KEY) // 2],
    "bytes": spoil(BARE).encode(),
}


def assert_hidden(text):
    pieces = [BARE[start : start + 24] for start in range(0, len(BARE) - 24, 8)]
    assert [piece for piece in pieces if piece in text] == []


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("name", ["PRIVATE_KEY", "PUBLIC_KEY"])
@pytest.mark.parametrize("form", UNUSABLE)
def test_what_is_no_key_is_refused_and_quoted_nowhere(wxpay_sandbox, settings, db, caplog, form, name):
    contract, order = wxpay_sandbox.signed_contract(), wxpay_sandbox.paid_order()
    caplog.set_level(logging.DEBUG)
    known = settings.WXPAY["MERCHANTS"]["default"] | {name: UNUSABLE[form]}
    if name == "PUBLIC_KEY":
        known["PUBLIC_KEY_ID"] = PUBLIC_KEY_ID
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": known}}

    with pytest.raises(ImproperlyConfigured, match="'default'") as raised:
        conf.client("default")
    refund = refunds.plan_refund(order, amount=1, reference="return-1")
    with pytest.raises(ImproperlyConfigured):
        orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r")
    operations.send_due()
    messages = [message for message in run_checks(tags=["wxpay"]) if not message.id.startswith("wxpay.W")]
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("wxpay_doctor", stdout=out)
    answer = wxpay_sandbox.browserless.post("/wxpay/notify/default/", "{}", content_type="application/json")

    assert [message.id for message in messages] == ["wxpay.E011" if name == "PRIVATE_KEY" else "wxpay.E017"]
    assert "✗ The merchant cannot be used" in out.getvalue()
    assert answer.status_code == 500
    errors = [f"{one.error_code} {one.error_message}" for one in Operation.objects.all()]
    assert "ImproperlyConfigured" in " ".join(errors) and refund.pk
    shown = [*errors, out.getvalue(), answer.content.decode(), *(f"{one.msg} {one.hint}" for one in messages)]
    shown += traceback.format_exception(raised.value)
    formatter = logging.Formatter("%(message)s")
    shown += [formatter.format(record) for record in caplog.records]
    assert_hidden("\n".join(shown))


@pytest.mark.parametrize("name", ["PRIVATE_KEY", "PUBLIC_KEY"])
def test_file_that_cannot_be_read_is_named_by_its_setting(wxpay_sandbox, settings, name):
    known = settings.WXPAY["MERCHANTS"]["default"] | {name: "/nowhere/key.pem"}
    if name == "PUBLIC_KEY":
        known["PUBLIC_KEY_ID"] = PUBLIC_KEY_ID
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": known}}

    with pytest.raises(ImproperlyConfigured, match=rf"'default'.*{name}.*No such file or directory"):
        conf.client("default")


# What a call takes from the settings, unless it says so itself


def test_category_code_of_one_charge_wins_over_the_merchants(wxpay_sandbox, settings):
    assert conf.merchant("default").category_code() == "5734"
    assert conf.merchant("default").category_code("5812") == "5812"

    settings.WXPAY["MERCHANTS"]["default"]["MERCHANT_CATEGORY_CODE"] = ""
    with pytest.raises(ImproperlyConfigured, match="MERCHANT_CATEGORY_CODE"):
        conf.merchant("default").category_code()


def test_merchant_that_is_no_dictionary_is_refused_without_quoting_it(settings):
    settings.WXPAY = {"MERCHANTS": {"default": KEY}}

    with pytest.raises(ImproperlyConfigured, match="must be a dictionary") as raised:
        conf.merchant("default")
    assert_hidden(str(raised.value))


# How requests travel


@pytest.mark.parametrize("key", ["http", "HTTP", "http:", "http://", "all"])
def test_proxy_is_used_however_its_key_is_written(wxpay_sandbox, settings, db, key):
    with serving() as proxy:
        known = settings.WXPAY["MERCHANTS"]["default"]
        known |= {"TRANSPORT": None, "HOST": "http://wechat.invalid", "PROXIES": {key: proxy.url}}
        settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": known}}
        client = conf.client("default")
        client.exchange("GET", "/v3/x")
        client.close()

    assert [path for _, path, _ in proxy.received] == ["http://wechat.invalid/v3/x"]


def test_bundle_that_cannot_be_read_is_named_by_its_setting(wxpay_sandbox, settings):
    settings.WXPAY["MERCHANTS"]["default"]["CA_BUNDLE"] = "/nowhere/ca.pem"

    with pytest.raises(ImproperlyConfigured, match=r"'default'.*CA bundle"):
        conf.client("default")


def test_time_of_a_request_counts_connecting_to_each_host_and_one_answer(wxpay_sandbox, settings):
    known = settings.WXPAY["MERCHANTS"]["default"]
    assert conf.merchant("default").request_seconds == conf.SLACK_SECONDS + 3 + 10

    known |= {"BACKUP_HOSTS": ["a.example", "b.example"], "CONNECT_TIMEOUT_SECONDS": 1, "READ_TIMEOUT_SECONDS": 5}
    assert conf.merchant("default").request_seconds == conf.SLACK_SECONDS + 3 * 1 + 5
