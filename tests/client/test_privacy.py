"""What an error carries along: at no depth of it stands a key, a payment code, an openid or an Authorization header."""

import traceback
from functools import cached_property
from itertools import dropwhile

import pytest
import requests
from requests.adapters import HTTPAdapter

from django_wxpay.client import Client
from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown, WxPayError
from django_wxpay.client.notifications import Envelope
from django_wxpay.client.privacy import Unseen, masked, masked_detail, private_values, unseen

from .sockets import closed_port, serving
from .wire import APIV3_KEY, PUBLIC_KEY_ID, Reply, make_client, make_identity, private_pem, seal

pytestmark = pytest.mark.scenario("S52")
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
CODE = "134567890123456789"
NAME = "Li Xiaoming"
BODY = private_pem("merchant").splitlines()[3]
HIDDEN = [OPENID, CODE, NAME, APIV3_KEY, BODY, 'signature="', "nonce_str="]


def shown(error):
    """All that a debug page or an error tracker shows of an error, but for the variables of the test itself."""
    visible, todo, seen = [], [error], set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        visible.append(f"{one!r} {one}")
        frames = dropwhile(lambda step: "/tests/" in step[0].f_code.co_filename, traceback.walk_tb(one.__traceback__))
        visible += [f"{frame.f_code.co_filename}:{line} {frame.f_locals!r}" for frame, line in frames]
        todo += [one.__cause__, one.__context__]
    return "\n".join(visible)


def sign(client):
    client.contracts.pre_sign(
        channel="mini_program", plan_id=1, out_contract_code="c1", user_display_name=NAME,
        success_notify_url="https://shop.example/", openid=OPENID,
    )  # fmt: skip


def pay(client, **changed):
    asked = {"out_trade_no": "q1", "auth_code": CODE, "amount_total": 1, "currency": "HKD", "description": "d"}
    client.orders.pay_by_code(**asked | {"merchant_category_code": "5814"} | changed)


class Raising(HTTPAdapter):
    """An adapter that fails deep below, with all that it was given in its variables."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def send(self, request, **options):
        headers, body, text = dict(request.headers), request.body, repr(request.body)
        self.deeper(headers, body, text)

    def deeper(self, headers, body, text):
        copied = {**headers, "body": body}
        try:
            raise KeyError("first")
        except KeyError:
            raise self.error from OSError(f"of {len(copied)}")


@pytest.mark.parametrize("call", [sign, pay])
@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("slow"),
        requests.ConnectTimeout(f"GET /?openid={OPENID}"),
        requests.ConnectionError(requests.ConnectionError(f"with url: /v3/openid/{OPENID}?x=1")),
        OSError("cut"),
        RuntimeError("a bug"),
        MemoryError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_an_error_raised_below_shows_no_secret_at_any_depth(call, error):
    with pytest.raises(BaseException) as caught:
        call(Client(make_identity(), keys=make_client().keys, transport=Raising(error)))
    text = shown(caught.value)
    assert "test_privacy.py" in text and "transport.py" in text
    assert [secret for secret in HIDDEN if secret in text] == []


def test_opposite_without_forgetting_the_frames_would_show_them():
    raw = Raising(OSError("cut"))
    prepared = requests.Request("POST", "https://x/", headers={"Authorization": 'signature="'}, data=CODE).prepare()
    with pytest.raises(OSError) as caught:
        raw.send(prepared)
    frames = "".join(repr(frame.f_locals) for frame, _ in traceback.walk_tb(caught.value.__traceback__))
    assert CODE in frames and 'signature="' in frames


@pytest.mark.parametrize("call", [sign, pay])
@pytest.mark.parametrize("kind", ["refused", "hung up", "silent", "drips"])
def test_an_error_of_the_network_shows_no_secret_at_any_depth(client_of, call, kind):
    with serving() as server:
        if kind == "hung up":
            server.answer = lambda handler: setattr(handler, "close_connection", True)
        if kind == "silent":
            server.answer = lambda handler: handler.server.stop.wait(3)
        if kind == "drips":
            server.answer = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        host = f"http://127.0.0.1:{closed_port()}" if kind == "refused" else server.url
        with pytest.raises(WxPayError) as caught:
            call(client_of(host, read_timeout=0.3))
        server.stop.set()
    text = shown(caught.value)
    assert "urllib3" in text
    assert [secret for secret in HIDDEN if secret in text] == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: pay(make_client(), auth_code=CODE + "0"),
        lambda: pay(make_client(), auth_code=CODE, amount_total=0),
        lambda: pay(make_client(), auth_code=CODE, currency="?"),
        lambda: make_client().contracts.pre_sign(
            channel="web", plan_id=1, out_contract_code="c", user_display_name=NAME,
            success_notify_url="https://shop.example/", openid=OPENID,
        ),
        lambda: make_client().contracts.pre_sign(
            channel="jsapi", plan_id=1, out_contract_code="c", user_display_name=NAME,
            success_notify_url="https://shop.example/", openid=OPENID + " ",
        ),
        lambda: make_client().request("POST", "/v3/x", body={"openid": OPENID, "a": float("nan")}),
    ],
)  # fmt: skip
def test_a_value_that_is_refused_before_sending_is_not_shown(wrong):
    with pytest.raises(InvalidField) as caught:
        wrong()
    text = shown(caught.value)
    assert [secret for secret in HIDDEN if secret in text] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"apiv3_key": APIV3_KEY + "x"},
        {"apiv3_key_previous": APIV3_KEY + "x"},
        {"private_key": private_pem("merchant").replace("END", "EMD")},
        {"region": "moon", "private_key": private_pem("merchant")},
    ],
)
def test_keys_that_are_refused_are_not_shown(changed):
    with pytest.raises(ValueError) as caught:
        make_identity(**changed)
    text = shown(caught.value)
    assert [secret for secret in HIDDEN if secret in text] == []


def test_an_identity_keeps_no_key_as_text():
    identity = make_identity(private_key=private_pem("merchant"), apiv3_key_previous=APIV3_KEY)
    texts = {value for value in vars(identity).values() if isinstance(value, str)}
    assert len(identity.sealing_keys) == 2 and not texts & {APIV3_KEY, private_pem("merchant")}


@pytest.mark.parametrize(
    "content", [b'{"openid": "%s"' % OPENID.encode(), b'["%s"]' % OPENID.encode(), OPENID.encode() + b"\xff"]
)
def test_a_message_that_cannot_be_read_is_not_shown(content):
    client = make_client()
    sealed = seal(content, original_type="papay")
    envelope = Envelope("id", "", "PAPAY.SIGN", "encrypt-resource", "", "papay", sealed)
    with pytest.raises(WxPayError) as caught:
        client.notifications.decrypt(envelope)
    text = shown(caught.value)
    assert [secret for secret in HIDDEN if secret in text] == []


# -- what WeChat Pay repeats


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (sign, f"openid {OPENID} is not of appid"),
        (sign, f"no such user:{NAME}"),
        (pay, f"{CODE} invalid"),
        (pay, f"({OPENID})"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_an_error_text_repeats_neither_openid_nor_payment_code_nor_name(call, message, status):
    body = {
        "code": "PARAM_ERROR",
        "message": message,
        "detail": {"field": "/openid", "value": OPENID, "issue": message},
    }
    with pytest.raises((APIError, OutcomeUnknown)) as caught:
        call(make_client(Reply(status, body)))
    visible = f"{caught.value!r} {caught.value} {vars(caught.value)}"
    assert [secret for secret in HIDDEN if secret in visible] == [] and "…" in visible


@pytest.mark.parametrize("key", ["openid", "sp_openid", "sub_openid"])
def test_an_openid_of_any_form_that_we_sent_is_not_repeated(key):
    reply = Reply(400, {"code": "PARAM_ERROR", "message": "payer test-openid-1 unknown"})
    with pytest.raises(APIError) as caught:
        make_client(reply).request("POST", "/v3/x", body={"payer": [{key: "test-openid-1"}]})
    assert caught.value.message == "payer … unknown"


def test_an_openid_of_the_path_is_not_repeated():
    reply = Reply(400, {"code": "PARAM_ERROR", "message": "test-openid-1 unknown"})
    with pytest.raises(APIError) as caught:
        make_client(reply).request("GET", "/v3/permissions/openid/test-openid-1/x")
    assert caught.value.message == "… unknown"


def test_numbers_amounts_and_words_stay_in_error_texts():
    text = "order 4200000000202603010000000001 of c20260301000001abcdefghijkl1 not paid, oops_only_27_characters_xxx"
    assert masked(text) == text


def test_of_a_details_parts_only_those_that_say_where_the_mistake_is_are_kept():
    visible = {
        "field": "signature", "value": "x", "location": "authorization", "other": {"body": "x"},
        "detail": {"issue": "sign not match"},
        "sign_information": {
            "method": "POST", "url": "/v3/x", "sign_message_length": 9,
            "truncated_sign_message": 'POST\n/v3/x\n1\nn\n{"payer":{"auth_code":"1345',
        },
    }  # fmt: skip
    assert masked_detail(visible) == {
        "field": "signature", "location": "authorization", "detail": {"issue": "sign not match"},
        "sign_information": {
            "method": "POST", "url": "/v3/x", "sign_message_length": 9, "truncated_sign_message": "POST\n/v3/x\n1\nn",
        },
    }  # fmt: skip


def test_what_is_private_in_a_request_is_found_at_any_depth():
    sent = {"a": [{"payer": {"sub_openid": "one1", "auth_code": "two2"}}], "user_display_name": "Wu", "n": 1, "m": None}
    assert private_values(sent) == {"one1", "two2"}  # a name of two letters would be found in every word


# -- the guard


def test_every_public_call_of_a_client_forgets_its_frames():
    client = make_client()
    subjects = [getattr(client, name) for name, member in vars(Client).items() if isinstance(member, cached_property)]
    assert subjects
    for subject in subjects:
        assert isinstance(subject, Unseen), subject
        for name, member in vars(type(subject)).items():
            if callable(member) and not name.startswith("_"):
                assert member.__wrapped__, f"{type(subject).__name__}.{name}"
    assert type(client).request.__wrapped__ and PUBLIC_KEY_ID in repr(client.keys)


def test_a_generator_forgets_its_frames_too():
    @unseen
    def walk(openid):
        yield 1
        raise ValueError("later")

    steps = walk(OPENID)
    assert next(steps) == 1
    with pytest.raises(ValueError) as caught:
        next(steps)
    assert all(
        OPENID not in repr(frame.f_locals) for frame, _ in list(traceback.walk_tb(caught.value.__traceback__))[1:]
    )
