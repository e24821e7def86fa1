"""The doctor: each ailment is named, with what to do about it."""

import os
import re
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from django.core.management import CommandError, call_command

from django_wxpay import tasks
from django_wxpay.beat import BEAT_SCHEDULE
from django_wxpay.checks import surroundings
from django_wxpay.engine import registry
from django_wxpay.management.commands import wxpay_sync
from django_wxpay.models import Contract, Notification, PlatformCertificate
from django_wxpay.services import service_orders
from django_wxpay.services.doctor import project
from tests.celery_app import app as celery_app

ROOT = Path(__file__).parents[2]
CERTIFICATES = "/v3/global/certificates"


@pytest.fixture
def wechat(wxpay_sandbox, db):
    return wxpay_sandbox


def doctor(*args, merchant="default", workers=False):
    """What it prints, and whether it is content. workers: also ask Celery, which takes its time when nobody answers."""
    out = StringIO()
    skip = [] if workers else ["--skip-workers"]
    try:
        call_command("wxpay_doctor", "--merchant", merchant, *skip, *args, stdout=out, no_color=True)
    except CommandError as error:
        return out.getvalue() + str(error), False
    return out.getvalue(), True


def change(settings, merchant="default", **changes):
    merchants = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {**merchants, merchant: merchants[merchant] | changes}}


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_healthy_merchant(wechat, merchant):
    output, well = doctor(merchant=merchant)

    assert well, output
    for line in (
        "✓ Our clock agrees",
        "✓ WeChat Pay accepts our signature",
        "1 platform certificate downloaded and decrypted",
        "✓ We can verify WeChat Pay's signature",
        f"· Address to register with WeChat Pay for terminations: https://shop.example/wxpay/notify/{merchant}/",
    ):
        assert line in output
    assert "✗" not in output
    assert PlatformCertificate.objects.exists()


def test_all_merchants_are_examined_when_none_is_named(wechat):
    out = StringIO()
    call_command("wxpay_doctor", "--skip-workers", stdout=out)

    assert out.getvalue().count("Project") == 1
    assert "Merchant default" in out.getvalue() and "Merchant institution" in out.getvalue()


def test_nothing_to_examine(settings):
    with pytest.raises(CommandError, match="MERCHANTS"):
        call_command("wxpay_doctor")


def test_unknown_merchant_is_named(wechat):
    output, well = doctor(merchant="nobody")

    assert not well and "✗ The merchant cannot be used" in output and "'nobody'" in output


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(
    ("seconds", "says", "well"),
    [
        (30, "✓ Our clock agrees", True),
        (120, "! Our clock is 1[12][0-9] seconds behind", True),
        (-120, "! Our clock is 1[12][0-9] seconds ahead", True),
        (600, "✗ Our clock is (59|60)[0-9] seconds behind", False),
        (-600, "✗ Our clock is (59|60)[0-9] seconds ahead", False),
    ],
)
def test_clock_that_is_off_is_named_with_the_skew(wechat, seconds, says, well):
    wechat.wechat.clock.skew = seconds

    output, is_well = doctor()

    assert is_well == well, output
    assert re.search(says, output), output


def test_private_key_of_somebody_else(wechat, settings):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    change(settings, PRIVATE_KEY=text)

    output, well = doctor()

    assert not well
    assert "✗ WeChat Pay does not accept our signature: SIGN_ERROR" in output
    assert "must belong together" in output
    assert "PRIVATE KEY" not in output


def test_wrong_apiv3_key(wechat, settings):
    change(settings, APIV3_KEY="x" * 32)

    output, well = doctor()

    assert not well and "✗ The platform certificates do not decrypt" in output
    assert "x" * 32 not in output


def test_nobody_answers(wechat):
    wechat.fault("closed_connection", CERTIFICATES, times=-1)

    output, well = doctor()

    assert not well and "✗ WeChat Pay did not answer" in output


def test_wechat_pay_has_trouble(wechat):
    wechat.fault("error_500", CERTIFICATES, times=-1)

    output, well = doctor()

    assert well and "! WeChat Pay has trouble (HTTP 500)" in output


def test_signature_of_wechat_pay_that_cannot_be_verified(wechat):
    wechat.fault("bad_signature", CERTIFICATES, times=1)

    output, well = doctor()

    assert not well and "✗ WeChat Pay's signature cannot be verified" in output


def test_merchant_without_certificates_needs_a_public_key(wechat):
    wechat.fault("empty_list", CERTIFICATES, times=-1)

    output, well = doctor()

    assert not well and "✗ The platform certificates cannot be used" in output
    assert "if this merchant number has a public key only" in output


def test_merchant_with_a_public_key_only_need_not_ask_for_certificates(wechat, settings):
    known = wechat.wechat.merchant
    change(settings, PUBLIC_KEY_ID=known["public_key_id"], PUBLIC_KEY=known["public_key"])
    wechat.fault("empty_list", CERTIFICATES, times=-1)

    output, well = doctor()

    assert well and "! WeChat Pay has no platform certificates" in output


def test_public_key_is_proved(wechat, settings):
    known = wechat.wechat.merchant
    change(settings, PUBLIC_KEY_ID=known["public_key_id"], PUBLIC_KEY=known["public_key"], CERTIFICATES=False)

    output, well = doctor()

    assert well and f"✓ We can verify WeChat Pay's signature ({known['public_key_id']})" in output


def test_wrong_public_key(wechat, settings):
    known = wechat.wechat.merchant
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    text = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    change(settings, PUBLIC_KEY_ID=known["public_key_id"], PUBLIC_KEY=text, CERTIFICATES=False)

    output, well = doctor()

    assert not well and "cannot be verified" in output


def test_public_key_that_is_not_used_there_yet(wechat, settings):
    key_id = "PUB_KEY_ID_0119000001002026030100006500000001"
    change(settings, PUBLIC_KEY_ID=key_id, PUBLIC_KEY=wechat.wechat.merchant["public_key"])

    output, well = doctor()

    assert well and "! WeChat Pay signed with its certificate" in output


def test_mistakes_in_the_settings_are_told_too(wechat, settings):
    settings.WXPAY = {**settings.WXPAY, "NOTIFY_URL_BASE": "https://shop.example/elsewhere/", "NOTIFY": 1}

    output, well = doctor()

    assert not well
    assert "wxpay.E036" in output and "wxpay.E003" in output


def test_merchant_that_cannot_be_used_stops_the_examination(wechat, settings):
    change(settings, PRIVATE_KEY="/nowhere/key.pem")

    output, well = doctor()

    assert not well and "nothing else was looked at" in output


@pytest.mark.parametrize("changes", [{"TRANSPORT": "nowhere.Adapter"}, {"BACKUP_HOSTS": 5}, {"MODE": ["direct"]}])
def test_setting_of_a_wrong_kind_is_no_traceback(wechat, settings, changes):
    change(settings, **changes)

    output, well = doctor()

    assert not well and "✗ The merchant cannot be used" in output and "wxpay.E0" in output


# What all merchants share


MERCHANT = """
from tests.settings import *
WXPAY |= {{"MERCHANTS": {{"default": {{
    "MCHID": "1900000001", "APPID": "wx0123456789abcdef", "PRIVATE_KEY": "/nowhere.pem", "SERIAL_NO": "5157F09EF",
    "APIV3_KEY": "0123456789abcdef0123456789abcdef", "HOST": "http://127.0.0.1:9",
}}}}}}
DATABASES["default"]["NAME"] = {name!r}
"""


def doctor_of_another_process(folder, database):
    (folder / "shop_settings.py").write_text(MERCHANT.format(name=str(database)))
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "django", "wxpay_doctor", "--skip-workers", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    return done.stdout + done.stderr, done.returncode


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.sqlite3", "✗ The database 'default' lacks"),
        ("nowhere/shop.sqlite3", "✗ The database 'default' cannot be asked (OperationalError)"),
    ],
)
def test_database_that_is_not_ready_is_named_before_anything_is_asked(tmp_path, name, says):
    output, status = doctor_of_another_process(tmp_path, tmp_path / name)

    assert status == 1 and says in output, output
    assert "Traceback" not in output and "Merchant default" not in output


@pytest.fixture
def use(monkeypatch):
    """Make a Celery app the project's."""

    def choose(**options):
        app = Celery("shop", set_as_current=False, **options)
        app.conf.beat_schedule = dict(BEAT_SCHEDULE)
        monkeypatch.setattr(surroundings, "current_app", app)
        monkeypatch.setattr(project, "app_or_default", lambda: app)
        return app

    return choose


@pytest.mark.parametrize(
    ("broker", "seconds", "why"),
    [
        ("redis://:secret@127.0.0.1:9/0", 5, "ConnectionError|OperationalError"),
        ("redis://:secret@192.0.2.1/0", 0.2, "no answer within 0 seconds|OperationalError"),
    ],
)
def test_broker_that_cannot_be_reached_is_named_in_good_time(wechat, use, monkeypatch, broker, seconds, why):
    monkeypatch.setattr(project, "BROKER_SECONDS", seconds)
    use(broker=broker)

    output, well = doctor(workers=True)

    assert not well and re.search(rf"✗ The broker redis://:\*\*@\S+ cannot be reached \(({why})\)", output), output
    assert "secret" not in output and "All is well" not in output


def test_nobody_who_works_is_no_good_health(wechat, use):
    use(broker="memory://")

    output, well = doctor(workers=True)

    assert well and "✓ The broker memory://" in output
    assert "! No worker of Celery answered within 2 seconds" in output
    assert "Nothing failed; see the warnings (" in output and "All is well" not in output


@pytest.fixture
def worker_of_this_process():
    """What a worker takes over from its process it gives back: the log, and which app is the default."""

    def leave_the_log(**kwargs):
        return None

    setup_logging.connect(leave_the_log)
    yield
    setup_logging.disconnect(leave_the_log)
    celery_app.set_default()
    celery_app.set_current()


@pytest.mark.django_db(transaction=True)  # a worker that starts closes the connections of its process
def test_worker_is_asked_whether_it_knows_our_tasks(wxpay_sandbox, use, worker_of_this_process):
    app = use(broker="memory://")
    assert project.OUR_TASK == tasks.send_operations.name and project.OUR_TASK in app.tasks
    with start_worker(app, pool="solo", perform_ping_check=False):
        output, well = doctor(workers=True)
        assert well and "✓ 1 worker of Celery answered" in output, output

        del app.tasks[project.OUR_TASK]
        output, well = doctor(workers=True)
        assert well and "! 1 worker of Celery answered, and none knows the tasks of django_wxpay" in output


# The merchant's own certificate


def certificate(key, *, serial, days=1000):
    now = datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "1900000001")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(serial).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM)


def test_key_is_compared_with_its_certificate(wechat, tmp_path):
    (tmp_path / "cert.pem").write_text(wechat.wechat.merchant["merchant_certificate"])

    output, well = doctor("--certificate", str(tmp_path / "cert.pem"))

    assert well and "✓ The private key belongs to the certificate" in output


@pytest.mark.parametrize(
    ("own_key", "own_serial", "days", "says", "well"),
    [
        (False, True, 1000, "✗ The private key does not belong to the certificate", False),
        (True, False, 1000, "✗ The certificate's serial number is 499602D2, SERIAL_NO is", False),
        (True, True, 10, "! The merchant's certificate ends on", True),
    ],
)
def test_certificate_that_does_not_fit(wechat, tmp_path, own_key, own_serial, days, says, well):
    known = wechat.wechat.merchant
    ours = serialization.load_pem_private_key(known["merchant_private_key"].encode(), None)
    key = ours if own_key else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    serial = int(known["merchant_serial"], 16) if own_serial else 1234567890
    (tmp_path / "cert.pem").write_bytes(certificate(key, serial=serial, days=days))

    output, is_well = doctor("--certificate", str(tmp_path / "cert.pem"))

    assert (is_well, says in output) == (well, True), output


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificate_that_cannot_be_read(wechat, tmp_path, content):
    if content:
        (tmp_path / "cert.pem").write_bytes(content)

    output, well = doctor("--certificate", str(tmp_path / "cert.pem"))

    assert not well and "✗ The certificate cannot be read" in output


# Probing our own notify URL


@pytest.mark.django_db(transaction=True)
def test_probe_of_our_own_address_is_refused_as_it_should_be(wxpay_sandbox, live_server, settings):
    settings.WXPAY = {**settings.WXPAY, "NOTIFY_URL_BASE": f"{live_server.url}/wxpay/notify/"}

    output, well = doctor("--probe")

    assert well and "refuses what is not signed" in output


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("status", "says"),
    [(200, "acknowledges everything"), (302, "follows no redirects"), (403, "firewall"), (401, "another route")],
)
def test_probe_that_something_else_answers(wechat, settings, monkeypatch, status, says):
    monkeypatch.setattr(Answering, "status", status)
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.WXPAY = {**settings.WXPAY, "NOTIFY_URL_BASE": f"http://127.0.0.1:{server.server_port}/wxpay/notify/"}
        output, well = doctor("--probe")
        server.shutdown()

    assert not well and f"answers {status} where 401 is expected" in output and says in output


def test_probe_that_nobody_answers(wechat, settings):
    settings.WXPAY = {**settings.WXPAY, "NOTIFY_URL_BASE": "http://127.0.0.1:9/wxpay/notify/"}

    output, well = doctor("--probe")

    assert not well and "does not answer (ConnectionError)" in output


# The other commands


def test_prune_says_how_many_went(wechat):
    wechat.signed_contract()
    Notification.objects.update(received_at="2020-01-01T00:00:00Z")
    out = StringIO()
    call_command("wxpay_prune", stdout=out)

    assert out.getvalue().strip().endswith("deleted.") and not Notification.objects.exists()
    with pytest.raises(CommandError):
        call_command("wxpay_prune", "--days", "0")


def test_sync_asks_about_one_row(wechat):
    order = wechat.paid_order()
    wechat.delivers = False
    contract = wechat.signed_contract()
    assert contract.state == "PENDING"
    out = StringIO()

    call_command("wxpay_sync", "contract", contract.out_contract_code, stdout=out)
    call_command("wxpay_sync", "order", order.out_trade_no, stdout=out)

    assert Contract.objects.get(pk=contract.pk).state == "SIGNED"
    assert "was PENDING, is SIGNED" in out.getvalue() and "is SUCCESS, as before" in out.getvalue()


@pytest.mark.parametrize("merchant", ["mainland", "mainland_partner"])
def test_sync_asks_about_what_a_course_is_made_of(wechat, merchant):
    plan = wechat.plan(merchant=merchant)
    running = wechat.started(wechat.signed_plan(plan))
    wechat.delivers = False
    service_orders.complete(running)
    wechat.wechat.sign_plans.cancel_by_user(running.sign_plan.number)
    out = StringIO()

    call_command("wxpay_sync", "payscore_plan", plan.merchant_plan_no, stdout=out)
    call_command("wxpay_sync", "sign_plan", running.sign_plan.merchant_sign_plan_no, stdout=out)
    call_command("wxpay_sync", "service_order", running.out_order_no, stdout=out)
    collected = running.orders.get()
    call_command("wxpay_sync", "order", collected.transaction_id, stdout=out)

    said = [line.partition(") ")[2] for line in out.getvalue().splitlines()]
    assert said == [
        "is NORMAL, as before",
        "was SIGNED, is SIGN_PLAN_CANCEL",
        "was DOING, is DONE",
        "is SUCCESS, as before",
    ]


def test_each_kind_of_row_that_wechat_pay_is_asked_about_can_be_synced():
    assert set(wxpay_sync.SUBJECTS) == set(registry.SUBJECT)


def test_sync_of_what_is_not_there_or_not_to_be_reached(wechat):
    with pytest.raises(CommandError, match="There is no refund"):
        call_command("wxpay_sync", "refund", "abc")

    order = wechat.paid_order()
    wechat.fault("error_500", "/v3/", times=-1)
    with pytest.raises(CommandError, match="default: "):
        call_command("wxpay_sync", "order", order.out_trade_no)


def test_commands_print_no_secret(wechat):
    output, _ = doctor()

    known = wechat.wechat.merchant
    assert known["apiv3_key"] not in output and "PRIVATE KEY" not in output

    output, _ = doctor("--certificate", known["merchant_private_key"])
    assert "✗ The certificate cannot be read" in output and "PRIVATE KEY" not in output
