import base64
import io
import json
import logging
import re
from datetime import datetime, timezone

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from django_wxpay.client import KeyRing
from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown, RequestNotSent

from .wire import MERCHANT_SERIAL, PUBLIC_KEY_ID, Reply, certificate, key, make_client, public_pem

PROBE = "WECHATPAY/SIGNTEST/" + "A" * 336
AUTHORIZATION = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="(?P<mchid>[0-9]+)",nonce_str="(?P<nonce>[0-9a-zA-Z]{1,32})",'
    r'timestamp="(?P<timestamp>[0-9]+)",serial_no="(?P<serial>[0-9A-F]+)",signature="(?P<signature>[^"]+)"'
)


def proved(request):
    """The parts of a request's Authorization, after checking its signature over what was really sent."""
    parts = AUTHORIZATION.fullmatch(request.headers["Authorization"]).groupdict()
    body = request.body or b""
    assert isinstance(body, bytes)
    message = f"{request.method}\n{request.path_url}\n{parts['timestamp']}\n{parts['nonce']}\n".encode()
    key("merchant").public_key().verify(
        base64.b64decode(parts["signature"]), message + body + b"\n", padding.PKCS1v15(), hashes.SHA256()
    )
    return parts


def post(client, body=None):
    return client.request("POST", "/v3/global/refunds", body={"a": 1} if body is None else body)


def get(client, **query):
    return client.request("GET", "/v3/global/refunds", query=query)


# -- what is sent


def test_a_request_carries_a_signature_over_what_is_sent():
    client = make_client(Reply(), clock=lambda: 1767225600.9)
    with pytest.raises(OutcomeUnknown):  # the answer is signed today: far from this client's clock
        post(client, {"reason": "退款"})
    parts = proved(client.wire.last)
    assert (parts["mchid"], parts["serial"], parts["timestamp"]) == ("1900000100", MERCHANT_SERIAL, "1767225600")


def test_a_query_is_signed_as_it_is_sent():
    client = make_client(Reply())
    get(client, name="中 a/b&c=d~e*|", empty="", count=0)
    proved(client.wire.last)
    assert "empty" not in client.wire.last.path_url and client.wire.last.path_url.endswith("&count=0")


@pytest.mark.parametrize("path", ["/v3/a%2Fb", "/v3/a%7Eb", "/v3/中", "/v3/a b", "/v3/a%20b|*@"])
def test_a_path_is_signed_as_it_is_sent(path):
    client = make_client(Reply())
    client.request("GET", path)
    proved(client.wire.last)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a/中"\\\N{GRINNING FACE}'), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.scenario("S32")
@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
def test_the_bytes_sent_are_the_bytes_signed(body):
    client = make_client(Reply())
    post(client, body)
    proved(client.wire.last)
    assert json.loads(client.wire.last.body) == body


@pytest.mark.scenario("S32")
def test_chinese_emoji_slashes_and_big_integers_are_sent_as_they_are():
    client = make_client(Reply())
    post(client, {"a": '退款 / \N{GRINNING FACE} "q"', "n": 2**63})
    assert client.wire.last.body.decode() == '{"a":"退款 / \N{GRINNING FACE} \\"q\\"","n":9223372036854775808}'


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": "\ud83d"}, {"a": object()}])
def test_a_body_that_is_no_json_is_refused_before_sending(body):
    client = make_client()
    with pytest.raises(InvalidField):
        post(client, body)
    assert not client.wire.requests


def test_every_request_has_the_headers_the_manual_asks_for_and_time_limits():
    client = make_client(Reply(), Reply())
    post(client)
    get(client)
    for request in client.wire.requests:
        assert request.headers["Accept"] == "application/json"
        assert request.headers["User-Agent"].startswith("django-wxpay/")
        assert request.headers["Accept-Language"] == "en"
        assert request.headers["Wechatpay-Serial"] == PUBLIC_KEY_ID
    assert client.wire.requests[0].headers["Content-Type"] == "application/json"
    assert client.wire.timeouts == [(3, 10), (3, 10)]


def test_the_newest_certificate_is_named_when_there_is_no_public_key():
    serial = "5157F09EFDC096DE15EBE81A47057A7200000001"
    client = make_client(
        Reply(name="platform-old", serial=serial),
        keys=KeyRing(load=lambda: {serial: certificate("platform-old", serial)}),
    )
    get(client)
    assert client.wire.last.headers["Wechatpay-Serial"] == serial


def test_the_key_sensitive_fields_were_encrypted_with_can_be_named():
    client = make_client(Reply())
    client.request("POST", "/v3/x", body={}, wechatpay_serial="ABCDEF0123")
    assert client.wire.last.headers["Wechatpay-Serial"] == "ABCDEF0123"


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "https://apihk.mch.weixin.qq.com/v3/x"),
        ({"host": "apius.mch.weixin.qq.com"}, "https://apius.mch.weixin.qq.com/v3/x"),
        ({"host": "http://127.0.0.1:8100"}, "http://127.0.0.1:8100/v3/x"),
        ({"host": "http://127.0.0.1:8100/"}, "http://127.0.0.1:8100/v3/x"),
    ],
)
def test_the_host_is_the_regions_or_the_one_given(options, address):
    client = make_client(Reply(), **options)
    client.request("GET", "/v3/x")
    assert client.wire.last.url == address


@pytest.mark.parametrize("host", ["ftp://x", "https://", "https://x/?y=1", "not a host"])
def test_a_host_that_is_none_is_refused_when_the_client_is_made(host):
    with pytest.raises(ValueError):
        make_client(host=host)


# -- what comes back


def test_a_proven_answer_is_returned_with_its_data_text_request_id_and_time():
    body = '{ "id" : "5030", "reason": "退" }'.encode()
    answer = post(make_client(Reply(200, body)))
    assert answer.data == {"id": "5030", "reason": "退"}
    assert (answer.status, answer.text, answer.request_id) == (200, body.decode(), "08F0A1-268512771")
    assert answer.server_time == datetime(2026, 3, 1, 4, tzinfo=timezone.utc)
    assert "5030" not in repr(answer)


def test_an_answer_without_a_date_has_no_time():
    for date in ("", "yesterday", "Sun, 99 Mar 2026 04:00:00 GMT"):
        assert get(make_client(Reply(headers={"Date": date}))).server_time is None


def test_an_adapter_whose_file_knows_only_read_will_do():
    class Plain(io.RawIOBase):
        def __init__(self, body):
            self.file = io.BytesIO(body)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.file.readinto(buffer)

    client = make_client(Reply(200, {"ok": 1}))
    build = client.wire.build_response

    def build_plain(request, raw):
        raw._fp = Plain(raw.read(decode_content=False))
        return build(request, raw)

    client.wire.build_response = build_plain
    assert get(client).data == {"ok": 1}


def test_a_204_is_proven_over_its_empty_body_and_has_no_data():
    answer = post(make_client(Reply(204)))
    assert (answer.status, answer.data, answer.text) == (204, None, "")


@pytest.mark.scenario("S28")
def test_an_unproven_204_is_unknown():
    with pytest.raises(OutcomeUnknown):
        post(make_client(Reply(204, sign=False)))


def test_a_number_longer_than_any_of_ours_leaves_a_proven_answer_readable():
    assert post(make_client(Reply(200, b'{"id":"1","n":' + b"9" * 5000 + b"}"))).data == {"id": "1", "n": "9" * 5000}


def test_a_202_is_an_answer():
    answer = post(make_client(Reply(202, {"code": "USERPAYING"})))
    assert (answer.status, answer.data) == (202, {"code": "USERPAYING"})


@pytest.mark.scenario("S28")
@pytest.mark.parametrize(
    "reply",
    [
        requests.ReadTimeout("too slow"),
        requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))),
        requests.exceptions.SSLError("cut"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.ConnectionError("of unknown kind"),
        OSError("cut"),
        Reply(200, {}, sign=False),
        Reply(200, {}, signature=PROBE),
        Reply(200, {}, name="stranger"),
        Reply(200, {}, at=1),
        Reply(200, b""),
        Reply(200, b"<html>"),
        Reply(200, b"[]"),
        Reply(200, b"\xff"),
        Reply(200, b"[" * 100_000),
        Reply(200, b'{"a":' * 100_000),
        Reply(200, b" " * (1024 * 1024 + 1)),
        Reply(301, b"", headers={"Location": "https://elsewhere.example/"}),
        Reply(302, b"", headers={"Location": "/"}, sign=False),
        Reply(500, {"code": "SYSTEM_ERROR", "message": "again"}),
        Reply(502, b"<html>bad gateway</html>", sign=False),
        Reply(503, b"", sign=False),
        Reply(504, b"", sign=False),
    ],
)
def test_what_proves_nothing_about_a_write_is_unknown_and_asked_only_once(reply):
    client = make_client(reply, backup_hosts=["backup.example"])
    with pytest.raises(OutcomeUnknown):
        post(client)
    assert len(client.wire.requests) == 1


def test_an_unknown_outcome_keeps_code_status_and_request_id():
    with pytest.raises(OutcomeUnknown) as caught:
        post(make_client(Reply(500, {"code": "SYSTEMERROR", "message": "again"})))
    assert caught.value.means("SYSTEM_ERROR")
    assert (caught.value.status, caught.value.request_id) == (500, "08F0A1-268512771")


def test_an_unproven_answer_names_the_reason():
    with pytest.raises(OutcomeUnknown, match="not proven: .*clock"):
        post(make_client(Reply(200, at=1)))


@pytest.mark.parametrize(
    "first",
    [
        Reply(200, {}, signature=PROBE),
        Reply(200, {}, sign=False),
        requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))),
    ],
)
def test_a_read_whose_answer_is_a_probe_or_lost_is_asked_once_again(first):
    client = make_client(first, Reply(200, {"ok": 1}))
    assert get(client, a=1).data == {"ok": 1}
    assert client.wire.requests[0].path_url == client.wire.requests[1].path_url
    one, two = (proved(request)["nonce"] for request in client.wire.requests)
    assert one != two


def test_a_read_that_is_never_proven_is_asked_twice_and_then_unknown():
    client = make_client(Reply(200, {}, signature=PROBE), Reply(200, {}, signature=PROBE))
    with pytest.raises(OutcomeUnknown):
        get(client)
    assert len(client.wire.requests) == 2


@pytest.mark.parametrize("reply", [requests.ReadTimeout(), Reply(500, {}), Reply(502, b"", sign=False)])
def test_a_read_that_was_slow_or_failed_there_is_not_repeated(reply):
    client = make_client(reply)
    with pytest.raises(OutcomeUnknown):
        get(client)
    assert len(client.wire.requests) == 1


# -- logs


@pytest.mark.scenario("S52")
def test_a_call_is_logged_in_one_line_without_keys_headers_bodies_queries_or_openids(caplog):
    with caplog.at_level(logging.DEBUG, "django_wxpay"):
        client = make_client(Reply(200, {"secret": "answer"}))
        client.request("GET", "/v3/x/openid/o-someone/y", query={"openid": "o-someone"})
    [record] = caplog.records
    line = record.getMessage()
    assert re.fullmatch(
        r"wechat pay called method=GET path=/v3/x/openid/…/y status=200 request_id=08F0A1-268512771 ms=\d+", line
    )
    assert record.levelname == "INFO"


@pytest.mark.scenario("S52")
@pytest.mark.parametrize(
    "reply", [requests.ReadTimeout("GET /?openid=o-someone"), Reply(500, {}), Reply(403, {"code": "NO_AUTH"})]
)
def test_a_call_that_went_wrong_is_logged_as_a_warning_in_one_line(caplog, reply):
    with pytest.raises((OutcomeUnknown, APIError)):
        client = make_client(reply)
        client.request("POST", "/v3/x", query={"openid": "o-someone"}, body={"secret": 1})
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "o-someone" not in record.getMessage() and "secret" not in record.getMessage()


def test_a_client_shows_no_secret():
    assert repr(make_client()) == "<Client 1900000100 at https://apihk.mch.weixin.qq.com>"


def test_an_address_that_cannot_be_built_is_refused_before_sending():
    client = make_client()
    with pytest.raises(RequestNotSent):
        client.request("GET", ":99999999/x")
    assert not client.wire.requests


def test_a_header_that_cannot_be_sent_is_refused_before_sending():
    client = make_client(user_agent="shop\r\nX-Evil: 1")
    with pytest.raises(RequestNotSent):
        get(client)
    assert not client.wire.requests


def test_a_sandbox_may_sign_with_another_key_of_the_ring():
    ring = KeyRing({PUBLIC_KEY_ID: public_pem("platform"), "PUB_KEY_ID_2": public_pem("second")})
    assert get(make_client(Reply(200, {}, name="second", serial="PUB_KEY_ID_2"), keys=ring)).data == {}
