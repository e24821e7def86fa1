"""What error pages and error trackers write down: the locals of every frame. No key of a merchant is among them."""

import sys
import traceback
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

import django_wxpay
from django_wxpay import conf
from django_wxpay.client.errors import WxPayError
from django_wxpay.services import certificates, contracts, doctor, notifications, orders

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S52")]
PACKAGE = Path(django_wxpay.__file__).parent


def written_down(value, depth=0):
    """A value as trackers write it: containers part by part, everything else by its repr."""
    if depth < 6 and isinstance(value, dict):
        return " ".join(f"{written_down(key, depth + 1)} {written_down(one, depth + 1)}" for key, one in value.items())
    if depth < 6 and isinstance(value, (list, tuple, set, frozenset)):
        return " ".join(written_down(one, depth + 1) for one in value)
    return repr(value)


def frames_of(error):
    """Every frame of ours that an error passed, those of the errors behind it too."""
    seen, errors = set(), [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        errors += [one.__cause__, one.__context__]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                yield frame


def change(settings, **changes):
    known = settings.WXPAY["MERCHANTS"]
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": known | {"default": known["default"] | changes}}
    conf._forget_clients()


def keys_of(sandbox):
    known = sandbox.wechat.merchant
    lines = [line for line in known["merchant_private_key"].splitlines() if "-----" not in line]
    return [known["apiv3_key"], *lines, "".join(lines)[100:140]]


def one_line_less(sandbox):
    """A private key that cannot be read, with nearly all of it there."""
    lines = sandbox.wechat.merchant["merchant_private_key"].splitlines()
    return "\n".join([*lines[:4], *lines[5:]])


def call_while(sandbox, settings, fault):
    """Make a call fail in a way of its own."""
    contract = sandbox.signed_contract()
    if fault == "nobody answers":
        sandbox.fault("closed_connection", "/v3/", times=-1)
        orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r")
    elif fault == "certificates":
        sandbox.fault("wrong_tag", "/v3/", times=-1)
        certificates.refresh("default")
    elif fault == "notification":
        notifications.receive("default", {}, b"{}")
    elif fault == "private key":
        change(settings, PRIVATE_KEY=one_line_less(sandbox))
        contracts.sync(contract)
    elif fault == "private key that looks like a path":
        change(settings, PRIVATE_KEY="/" + one_line_less(sandbox).splitlines()[2])
        contracts.sync(contract)
    elif fault == "public key":
        change(settings, PUBLIC_KEY=one_line_less(sandbox), PUBLIC_KEY_ID="PUB_KEY_ID_1")
        contracts.sync(contract)
    elif fault == "APIv3 key":
        change(settings, APIV3_KEY=sandbox.wechat.merchant["apiv3_key"] + "\n")
        contracts.sync(contract)
    elif fault == "APIv3 key before":
        change(settings, APIV3_KEY_PREVIOUS=sandbox.wechat.merchant["apiv3_key"] + "\n")
        contracts.sync(contract)
    elif fault == "mode":
        change(settings, MODE="other")
        contracts.sync(contract)
    elif fault == "something missing":
        change(settings, SERIAL_NO="")
        contracts.sync(contract)
    elif fault == "unknown alias":
        contracts.sign(plan_id=1, user_display_name="x", openid="o", merchant="nobody")
    elif fault == "no dictionary":
        settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": one_line_less(sandbox)}}
        contracts.sync(contract)
    elif fault == "host":
        change(settings, HOST="https://")
        contracts.sync(contract)
    elif fault == "transport":
        change(settings, TRANSPORT="nowhere.Adapter")
        contracts.sync(contract)
    elif fault == "options of a wrong kind":
        change(settings, BACKUP_HOSTS=5)
        contracts.sync(contract)


FAULTS = (
    "nobody answers", "certificates", "notification", "private key", "private key that looks like a path", "public key",
    "APIv3 key", "APIv3 key before", "mode", "something missing", "unknown alias", "no dictionary", "host", "transport",
    "options of a wrong kind",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_no_frame_holds_a_bare_key_while_a_call_fails(wxpay_sandbox, settings, fault):
    with pytest.raises((WxPayError, ImproperlyConfigured, ImportError, TypeError)) as raised:
        call_while(wxpay_sandbox, settings, fault)

    hidden, frames = keys_of(wxpay_sandbox), list(frames_of(raised.value))
    assert len(frames) > 1
    found = {
        f"{frame.f_code.co_filename}:{frame.f_lineno} {name}"
        for frame in frames
        for name, value in frame.f_locals.items()
        if any(key in written_down(value) for key in hidden)
    }
    assert found == set()


@pytest.mark.parametrize("kind", ["html", "text"])
@pytest.mark.parametrize("fault", ["nobody answers", "private key", "APIv3 key", "something missing"])
def test_djangos_error_page_shows_no_key_though_it_shows_locals_and_settings(wxpay_sandbox, settings, fault, kind):
    settings.DEBUG = True
    with pytest.raises((WxPayError, ImproperlyConfigured)):
        try:
            call_while(wxpay_sandbox, settings, fault)
        except Exception:
            reporter = ExceptionReporter(RequestFactory().get("/"), *sys.exc_info())
            shown = reporter.get_traceback_html() if kind == "html" else reporter.get_traceback_text()
            raise

    assert "WXPAY" in shown and "SERIAL_NO" in shown
    for key in keys_of(wxpay_sandbox):
        assert key not in shown


def test_doctor_that_finds_a_broken_key_leaves_no_bare_one_in_a_frame(wxpay_sandbox, settings):
    change(settings, PRIVATE_KEY=one_line_less(wxpay_sandbox))

    findings = doctor.examine(["default"], workers=False)
    texts = [f"{finding.text} {finding.advice}" for _, finding in findings]

    assert any("cannot be used" in text for text in texts)
    assert not any(key in text for text in texts for key in keys_of(wxpay_sandbox))
