"""The address WeChat Pay sends to: what it answers, and what it does not do."""

import json
import logging
import threading
import time
from io import BytesIO

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import RequestFactory
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.throttling import BaseThrottle
from rest_framework.versioning import AcceptHeaderVersioning

from django_wxpay import signals
from django_wxpay.api import notifications as view
from django_wxpay.engine import queue
from django_wxpay.models import Contract, Discrepancy, Notification
from django_wxpay.testing import make_contract

from .conftest import signed

OK = {"code": "SUCCESS", "message": "OK"}


@pytest.fixture
def pending(wechat, db):
    return make_contract(state="PENDING")


def state_of(row):
    row.refresh_from_db()
    return row.state


def assert_refused(answer, status, says=""):
    payload = answer.json()
    assert answer.status_code == status, payload
    assert payload["code"] == "FAIL"
    assert says in payload["message"]
    assert not Notification.objects.exists()


# What is believed


def test_genuine_message_is_acknowledged_and_applied(wechat, pending):
    answer = wechat.tell(signed(pending))

    assert (answer.status_code, answer.json()) == (200, OK)
    assert answer["Content-Type"] == "application/json"
    assert state_of(pending) == "SIGNED"
    assert Notification.objects.get().state == "PROCESSED"


def test_address_without_its_last_slash_is_no_redirect(wechat, pending):
    body = wechat.body(signed(pending))

    assert wechat.post(body, path="/wxpay/notify/default").status_code == 200


@pytest.mark.parametrize("accept", ["", "text/html", "application/xml; q=1, */*; q=0", "nonsense"])
def test_any_accept_header_gets_json(wechat, pending, accept):
    body = wechat.body(signed(pending))

    assert wechat.post(body, wechat.headers(body) | {"Accept": accept}).json() == OK


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_content_type_does_not_matter(wechat, pending, content_type):
    assert wechat.post(wechat.body(signed(pending)), content_type=content_type).json() == OK


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "head"])
def test_other_methods_are_not_allowed(wechat, db, method):
    answer = getattr(wechat.browserless, method)(wechat.path)

    assert answer.status_code == 405
    assert answer["Allow"] == "POST"


def test_unknown_merchant_is_not_found(wechat, db):
    assert_refused(wechat.post(b"{}", path="/wxpay/notify/nobody/"), 404, "no such merchant")


@pytest.mark.scenario("S22")
@pytest.mark.parametrize(("event_type", "state"), [("COUPON.USE", "UNHANDLED"), ("PAPAY.SIGN", "PROCESSED")])
def test_unknown_kinds_and_extra_fields_are_kept_and_acknowledged(wechat, pending, event_type, state):
    payload = signed(pending, new_field={"deep": [1, None]})

    answer = wechat.tell(payload, event_type=event_type, another="field")

    assert answer.json() == OK
    assert Notification.objects.get().state == state


@pytest.mark.scenario("S22")
def test_unknown_detail_of_our_own_products_is_kept_and_acknowledged_and_its_object_queried(wechat, pending):
    answer = wechat.tell(signed(pending), event_type="PAPAY.PAUSE")

    assert answer.json() == OK
    assert Notification.objects.get().state == "UNHANDLED"
    assert (state_of(pending), pending.next_poll_at is not None) == ("PENDING", True)


# What is not believed


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("seconds", [-360, 360])
def test_stale_message_is_refused_and_the_refusal_names_the_skew(wechat, pending, seconds):
    body = wechat.body(signed(pending))

    answer = wechat.post(body, wechat.headers(body, at=time.time() + seconds))

    assert_refused(answer, 401, "Signed 3")
    assert state_of(pending) == "PENDING"


@pytest.mark.scenario("S06")
def test_message_four_minutes_old_is_believed(wechat, pending):
    body = wechat.body(signed(pending))

    assert wechat.post(body, wechat.headers(body, at=time.time() - 240)).json() == OK


@pytest.mark.scenario("S11")
@pytest.mark.parametrize(
    "signature",
    ["WECHATPAY/SIGNTEST/" + "A" * 336, "WECHATPAY/SIGNTEST/" + "not base64 é", "%%%", "", "A" * 1024 * 1024, "QUJD"],
    ids=["probe", "odd probe", "bad base64", "empty", "huge", "short"],
)
def test_probe_and_broken_signatures_are_refused_without_a_trace(wechat, pending, signature, caplog):
    body = wechat.body(signed(pending))

    answer = wechat.post(body, wechat.headers(body) | {"Wechatpay-Signature": signature})

    assert_refused(answer, 401)
    assert "Traceback" not in caplog.text
    assert len(answer.content) < 300
    assert state_of(pending) == "PENDING"


@pytest.mark.scenario("S11")
def test_empty_body_is_refused(wechat, db):
    assert_refused(wechat.post(b"", headers={}), 401, "Not signed")


@pytest.mark.scenario("S12")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Wechatpay-Signature": None}, "Wechatpay-Signature missing"),
        ({"Wechatpay-Timestamp": None, "Wechatpay-Nonce": None}, "Wechatpay-Timestamp, Wechatpay-Nonce missing"),
        ({"Wechatpay-Serial": "A,B"}, "sent twice"),
        ({"Wechatpay-Signature-Type": "WECHATPAY2-SM2-WITH-SM3"}, "Signature type"),
        ({"Wechatpay-Timestamp": "soon"}, "no number"),
        ({"Wechatpay-Serial": "PUB_KEY_ID_0000000000000000000000000000000000"}, "No key"),
    ],
)
def test_odd_headers_are_refused_with_the_reason(wechat, pending, changes, says):
    body = wechat.body(signed(pending))
    headers = {name: value for name, value in (wechat.headers(body) | changes).items() if value is not None}

    assert_refused(wechat.post(body, headers), 401, says)


def test_forged_message_is_refused(wechat, keys, pending):
    body = wechat.body(signed(pending))

    assert_refused(wechat.post(body, wechat.headers(body, key=keys[0])), 401, "does not fit")
    assert state_of(pending) == "PENDING"


@pytest.mark.scenario("S09")
@pytest.mark.parametrize(
    "change",
    [
        lambda body: body + b" ",
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body + b"\r\n",
        lambda body: json.dumps(json.loads(body), indent=1).encode(),
    ],
    ids=["space", "BOM", "CRLF", "re-encoded"],
)
def test_changed_bytes_are_refused(wechat, pending, change):
    body = wechat.body(signed(pending))

    assert_refused(wechat.post(change(body), wechat.headers(body)), 401)


@pytest.mark.scenario("S09")
def test_compressed_body_is_refused(wechat, pending):
    body = wechat.body(signed(pending))

    assert_refused(wechat.post(body, wechat.headers(body) | {"Content-Encoding": "gzip"}), 415, "not be compressed")


@pytest.mark.scenario("S09")
def test_odd_but_genuine_bytes_are_believed(wechat, pending):
    body = b" \r\n" + wechat.body(signed(pending), summary="签约成功 🎉 \\/ \u2028") + b"\n\n"

    assert wechat.post(body).json() == OK


@pytest.mark.scenario("S17")
def test_message_of_another_merchant_is_refused_at_this_address(wechat, pending):
    other = make_contract(merchant="other", state="PENDING")

    assert_refused(wechat.tell(signed(other)), 401, "mchid")
    assert (state_of(pending), state_of(other)) == ("PENDING", "PENDING")
    assert not Discrepancy.objects.exists()


def test_genuine_message_that_is_not_as_the_manual_says_is_malformed(wechat, db):
    assert_refused(wechat.post(b'{"id": "1"}'), 400)
    assert_refused(wechat.post(b"[]"), 400)
    assert_refused(wechat.post(b"\xff\xfe"), 400)


def test_message_sealed_with_an_unknown_key_is_repeated_later(wechat, pending, caplog):
    answer = wechat.tell(signed(pending), apiv3_key="x" * 32)

    assert_refused(answer, 500, "cannot be decrypted")
    assert "APIv3 key" in caplog.text


@pytest.mark.scenario("S16")
def test_message_sealed_with_the_previous_key_is_believed_while_it_is_declared(wechat, pending, settings, merchants):
    new = merchants["default"] | {"APIV3_KEY": "n" * 32}
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": new}}
    assert wechat.tell(signed(pending)).status_code == 500

    both = new | {"APIV3_KEY_PREVIOUS": merchants["default"]["APIV3_KEY"]}
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {"default": both}}
    assert wechat.tell(signed(pending)).json() == OK


# Size, and who read the body before


class Untouchable(BytesIO):
    def read(self, *args):
        raise AssertionError("a byte of an oversized body was read")

    readline = readlines = read


@pytest.mark.scenario("S21")
@pytest.mark.parametrize("length", [64 * 1024 + 1, 50_000_000, 10**30])
def test_oversized_body_is_refused_before_a_byte_is_read(wechat, db, length):
    extra = {"CONTENT_LENGTH": str(length), "wsgi.input": Untouchable()}

    assert_refused(wechat.post(b"x", headers={}, **extra), 413, "more than 65536 bytes")


@pytest.mark.scenario("S21")
def test_body_of_64_kib_is_looked_at(wechat, pending):
    body = wechat.body(signed(pending))

    assert wechat.post(body + b" " * (64 * 1024 - len(body))).json() == OK


@pytest.mark.scenario("S21")
@pytest.mark.parametrize("deep", [b"[" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000])
def test_deep_json_is_refused_even_when_it_is_signed(wechat, db, deep):
    assert_refused(wechat.post(deep[: 64 * 1024]), 400)


@pytest.mark.scenario("S21")
def test_slow_or_broken_body_ends_as_a_refusal(wechat, db):
    class Broken(BytesIO):
        def read(self, *args):
            raise OSError("connection lost")

    assert_refused(wechat.post(b"x" * 10, headers={}, **{"wsgi.input": Broken()}), 400, "broke off")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "10, 10"])
def test_content_length_that_is_no_number_is_refused(wechat, db, length):
    assert_refused(wechat.post(b"x", headers={}, CONTENT_LENGTH=length), 411)


def chunked(body, **extra):
    return {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "", "wsgi.input": BytesIO(body), **extra}


def test_chunks_that_the_server_does_not_decode_are_refused_by_name(wechat, pending):
    body = wechat.body(signed(pending))

    assert_refused(wechat.post(body, wechat.headers(body), **chunked(body)), 411, "Content-Length")


def test_chunks_that_the_server_decodes_are_believed(wechat, pending):
    body = wechat.body(signed(pending))
    extra = chunked(body, **{"wsgi.input_terminated": True})

    assert wechat.post(body, wechat.headers(body), **extra).json() == OK


@pytest.mark.scenario("S21")
def test_endless_chunks_are_cut_off(wechat, db):
    extra = chunked(b"x" * 200_000, **{"wsgi.input_terminated": True})

    answer = wechat.post(b"", headers={}, **extra)

    assert_refused(answer, 413)
    assert extra["wsgi.input"].tell() == 64 * 1024 + 1


def test_chunks_over_asgi_are_bounded(wechat, db):
    request = RequestFactory().post("/", b"x" * 70_000, content_type="application/json")
    request.META["HTTP_TRANSFER_ENCODING"] = "chunked"
    del request.META["wsgi.input"]
    request.META["CONTENT_LENGTH"] = ""

    with pytest.raises(view.Refusal, match="more than 65536 bytes"):
        view.read_body(request)


def reads_body(get_response):
    def middleware(request):
        assert request.body
        return get_response(request)

    return middleware


def reads_form(get_response):
    def middleware(request):
        assert not request.POST.get("anything")
        return get_response(request)

    return middleware


def reads_stream(get_response):
    def middleware(request):
        request.read(10)
        return get_response(request)

    return middleware


def with_middleware(settings, name):
    settings.MIDDLEWARE = [f"{__name__}.{name}", *settings.MIDDLEWARE]


@pytest.mark.scenario("S10")
@pytest.mark.parametrize("name", ["reads_body", "reads_form"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_middleware_that_read_the_body_first_is_no_trouble(wechat, pending, settings, name, content_type):
    with_middleware(settings, name)

    assert wechat.post(wechat.body(signed(pending)), content_type=content_type).json() == OK


@pytest.mark.scenario("S10")
def test_middleware_that_read_the_stream_first_is_named_as_the_cause(wechat, pending, settings, caplog):
    with_middleware(settings, "reads_stream")

    assert_refused(wechat.tell(signed(pending)), 500, "read the request's body as a stream")
    assert "middleware" in caplog.text


# The shop's surroundings


class Refuse(IsAuthenticated, BaseThrottle):
    """Says no to everything; as a negotiator and a renderer it breaks."""

    def has_permission(self, request, view):
        return False

    def allow_request(self, request, view):
        return False


class Broken(BaseContentNegotiation):
    def __init__(self, *args, **kwargs):
        raise AssertionError("the shop's REST_FRAMEWORK was looked at")

    select_parser = select_renderer = parse = render = authenticate = determine_version = __init__


def explode(exc, context):
    raise AssertionError("the shop's exception handler was asked")


HOSTILE = {
    "DEFAULT_AUTHENTICATION_CLASSES": [f"{__name__}.Broken"],
    "DEFAULT_PERMISSION_CLASSES": [f"{__name__}.Refuse"],
    "DEFAULT_THROTTLE_CLASSES": [f"{__name__}.Refuse"],
    "DEFAULT_PARSER_CLASSES": [f"{__name__}.Broken"],
    "DEFAULT_RENDERER_CLASSES": [f"{__name__}.Broken"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": f"{__name__}.Broken",
    "DEFAULT_VERSIONING_CLASS": f"{__name__}.Broken",
    "DEFAULT_METADATA_CLASS": f"{__name__}.Broken",
    "EXCEPTION_HANDLER": f"{__name__}.explode",
    "UNAUTHENTICATED_USER": f"{__name__}.Broken",
    "UNAUTHENTICATED_TOKEN": f"{__name__}.Broken",
    "FORMAT_SUFFIX_KWARG": "merchant",
    "URL_FORMAT_OVERRIDE": "format",
    "COMPACT_JSON": False,
}


@pytest.fixture
def hostile(settings, monkeypatch):
    """REST framework reads most of its settings when its views are first imported: set those on the class too."""
    from rest_framework.views import APIView

    settings.REST_FRAMEWORK = HOSTILE
    for name in (
        "authentication_classes", "permission_classes", "throttle_classes", "parser_classes", "renderer_classes"
    ):  # fmt: skip
        default = [Refuse] if name in ("permission_classes", "throttle_classes") else [Broken]
        monkeypatch.setattr(APIView, name, default)
    monkeypatch.setattr(APIView, "content_negotiation_class", Broken)
    monkeypatch.setattr(APIView, "versioning_class", AcceptHeaderVersioning)
    monkeypatch.setattr(APIView, "metadata_class", Broken)


def test_hostile_rest_framework_settings_do_not_matter(wechat, pending, hostile):
    assert wechat.tell(signed(pending)).json() == OK
    assert wechat.post(b"{}", headers={}).status_code == 401
    assert wechat.browserless.get(wechat.path).status_code == 405
    assert wechat.post(b"{}", path="/wxpay/notify/default/?format=xml", headers={}).status_code == 401
    assert state_of(pending) == "SIGNED"


@pytest.mark.django_db(transaction=True)
def test_atomic_requests_do_not_matter(wechat):
    pending = make_contract(state="PENDING")
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        refused = wechat.post(b"{}", headers={})
        accepted = wechat.tell(signed(pending))
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False

    assert (refused.status_code, accepted.status_code) == (401, 200)
    assert state_of(pending) == "SIGNED"


def test_csrf_protection_does_not_matter(wechat, pending):
    wechat.browserless = type(wechat.browserless)(enforce_csrf_checks=True)

    assert wechat.tell(signed(pending)).json() == OK


# Trouble on our side


@pytest.mark.scenario("S23")
@pytest.mark.parametrize("error", [OperationalError("no connection"), InterfaceError("connection is closed")])
def test_database_out_of_reach_is_told_to_wechat_pay_at_once(wechat, db, error):
    def refuse(execute, *args):
        raise error

    started = time.monotonic()
    with connection.execute_wrapper(refuse):
        answer = wechat.tell({"mchid": "1900000001"})

    assert answer.status_code == 503
    assert answer.json() == {"code": "FAIL", "message": "The message could not be kept. Send it again later."}
    assert time.monotonic() - started < 5


@pytest.mark.scenario("S23")
@pytest.mark.django_db(transaction=True)
def test_database_that_cannot_be_connected_to_is_told_to_wechat_pay_at_once(wechat, monkeypatch):
    pending = make_contract(state="PENDING")
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/nothing")
    started = time.monotonic()
    answer = wechat.tell(signed(pending))
    monkeypatch.undo()
    connection.close()

    assert (answer.status_code, answer.json()["code"]) == (503, "FAIL")
    assert time.monotonic() - started < 5
    assert not Notification.objects.exists()


@pytest.mark.scenario("S26")
def test_bug_while_applying_keeps_the_message_and_asks_for_a_repeat(wechat, pending):
    def breaks(execute, sql, *args):
        if sql.startswith("UPDATE") and Contract._meta.db_table in sql:
            raise ZeroDivisionError("a bug, secret 12345")
        return execute(sql, *args)

    body = wechat.body(signed(pending))
    with connection.execute_wrapper(breaks):
        answer = wechat.post(body)

    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.content.decode() and "12345" not in answer.content.decode()
    assert Notification.objects.get().state == "FAILED"
    assert wechat.post(body).json() == OK
    assert state_of(pending) == "SIGNED"


@pytest.mark.scenario("S24")
@pytest.mark.django_db(transaction=True)
def test_broker_out_of_reach_delays_no_acknowledgement(wechat, monkeypatch, caplog):
    from celery import Celery

    nowhere = Celery("nowhere", broker="redis://127.0.0.1:9/0", set_as_current=False)
    monkeypatch.setattr(queue, "_app", lambda: nowhere)
    monkeypatch.setattr(queue, "_quiet_until", 0.0)
    pending = make_contract(state="PENDING")
    signals.contract_signed.connect(heard := (lambda **payload: None))
    started = time.monotonic()
    try:
        answer = wechat.tell(signed(pending))
    finally:
        signals.contract_signed.disconnect(heard)

    assert answer.json() == OK
    assert time.monotonic() - started < 1
    assert queue.wait(20)
    assert "could not queue" in caplog.text


# The log


def test_refusals_are_logged_once_in_a_while_however_many_come(wechat, db, caplog):
    with caplog.at_level(logging.WARNING, "django_wxpay.api.refusals"):
        for number in range(30):
            wechat.post(b"{}", headers={}, path=f"/wxpay/notify/nobody-{number}/")
            wechat.post(b"{}", headers={})

    lines = [record.getMessage() for record in caplog.records if record.name == "django_wxpay.api.refusals"]
    assert len(lines) == 2
    assert any("merchant=default status=401" in line for line in lines)
    assert len(view.refusals._seen) == 2


def test_next_line_says_how_many_were_left_out(caplog):
    now = [0.0]
    log = view.RefusalLog(clock=lambda: now[0])
    for _ in range(5):
        log.note("default", 401, "forged")
    now[0] = 11.0
    log.note("default", 401, "forged")

    lines = [record.getMessage() for record in caplog.records if record.name == "django_wxpay.api.refusals"]
    assert [line[-10:] for line in lines] == ["left_out=0", "left_out=4"]


def test_refusal_log_may_be_used_by_many_threads(caplog):
    log = view.RefusalLog()
    threads = [threading.Thread(target=lambda: [log.note("default", 401, "x") for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert log._seen["default"][1] == 799


@pytest.mark.scenario("S52")
def test_log_and_answer_of_a_message_show_no_secret(wechat, pending, caplog):
    caplog.set_level(logging.DEBUG)
    body = wechat.body(signed(pending, openid="o-another-person"))

    answers = [wechat.post(body), wechat.post(body + b" ", wechat.headers(body))]

    shown = caplog.text + "".join(answer.content.decode() for answer in answers)
    for secret in ("0123456789abcdef0123456789abcdef", "o-another-person", "PRIVATE KEY", pending.openid):
        assert secret not in shown
