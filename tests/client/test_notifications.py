import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_wxpay.client import KeyRing
from django_wxpay.client.errors import DecryptionFailed, MessageMalformed, SignatureInvalid

from .wire import (
    APIV3_KEY,
    PREVIOUS_APIV3_KEY,
    PUBLIC_KEY_ID,
    certificate,
    make_client,
    make_identity,
    public_pem,
    seal,
    signed,
)

SERIAL = "5157F09EFDC096DE15EBE81A47057A7200000001"


def notification(**changed):
    message = {
        "id": "5f6d1c9e-2a77-5b0e-9d51-0f6b0a4c7e10",
        "create_time": "2026-03-01T12:00:05+08:00",
        "event_type": "REFUND.SUCCESS",
        "resource_type": "encrypt-resource",
        "summary": "refund succeeded",
        "resource": seal({"refund_id": "5030"}, associated_data="refund", original_type="refund"),
    } | changed
    return json.dumps({name: value for name, value in message.items() if value is not None}).encode()


def refused(headers, body=b"{}", client=None):
    with pytest.raises(SignatureInvalid) as caught:
        (client or make_client()).notifications.verify(headers, body)
    return caught.value.reason


def without_keys():
    """A client whose key ring cries out when a key is looked up: the refusal must come before."""

    class Silent(KeyRing):
        def find(self, serial):
            raise AssertionError("a key was looked up")

    return make_client(keys=Silent())


def test_a_genuine_message_is_accepted():
    make_client().notifications.verify(signed(b"{}"), b"{}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{ "a" :\r\n1 }',
        '{"a":"\N{GRINNING FACE} 中"}'.encode(),
        b'{"a":"\\u4e2d\\/"}',
        b"\xff\xfe not text",
    ],
)
@pytest.mark.scenario("S09")
def test_genuine_bytes_are_accepted_however_odd(body):
    make_client().notifications.verify(signed(body), body)


@pytest.mark.parametrize(
    "arrived",
    [
        b'{"a": 1}',
        b'{"a":1} ',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}\r\n',
        b'{"a":1}\n',
        b'{"a":2}',
        b"",
        b'{"b":1}',
    ],
)
@pytest.mark.scenario("S09")
def test_bytes_that_changed_on_the_way_are_refused(arrived):
    assert refused(signed(b'{"a":1}'), arrived) == "The signature does not fit the message."


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(body, place, flip):
    if place < len(body):
        changed = bytearray(body)
        changed[place] ^= flip
        refused(signed(body), bytes(changed))


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("seconds", [-360, 360, -301.5, 302])
def test_a_right_signature_six_minutes_off_is_refused_before_any_key_or_rsa(seconds):
    reason = refused(signed(b"{}", at=time.time() + seconds), client=without_keys())
    skew = int(re.search(r"Signed (\d+) seconds (?:ago|ahead)", reason)[1])
    assert abs(skew - abs(seconds)) <= 2


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("seconds", [-298, 298])
def test_a_right_signature_just_inside_the_window_is_accepted(seconds):
    make_client().notifications.verify(signed(b"{}", at=time.time() + seconds), b"{}")


@pytest.mark.scenario("S06")
def test_with_a_clock_that_agrees_the_old_message_would_be_accepted():
    # The opposite of the above: it is the window, not something else, that refuses.
    then = time.time() - 360
    make_client(clock=lambda: then).notifications.verify(signed(b"{}", at=then), b"{}")


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1.5", " 1767225600", "１７６７２２５６００", "9" * 13, "1e9"])
def test_a_timestamp_that_is_no_number_is_refused_before_any_key(timestamp):
    assert "Timestamp" in refused(signed(b"{}", timestamp=timestamp), client=without_keys())


@pytest.mark.scenario("S11")
@pytest.mark.parametrize(
    "signature",
    [
        "WECHATPAY/SIGNTEST/" + "A" * 336,
        "WECHATPAY/SIGNTEST/" + "A" * 325 + "==",
        "",
        "====",
        "no base64",
        "中文",
        "QUJD",
        "QU JD",
        "A" * 1024 * 1024,
    ],
)
def test_a_probe_or_a_broken_signature_is_refused_like_any_forgery(signature):
    refused(signed(b"{}", signature=signature))


@pytest.mark.scenario("S11")
def test_a_huge_signature_is_refused_before_any_key():
    assert "too long" in refused(signed(b"{}", signature="A" * 4097), client=without_keys())


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("part", ["timestamp", "nonce", "serial", "signature"])
def test_a_missing_header_is_refused_and_named(part):
    reason = refused(signed(b"{}", **{part: None}), client=without_keys())
    assert f"Wechatpay-{part.title()} missing" in reason


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("part", ["timestamp", "nonce", "serial", "signature", "signature_type"])
def test_a_doubled_header_is_refused(part):
    name = f"Wechatpay-{part.replace('_', '-').title()}"
    once = signed(b"{}")
    for joined in (f"{once[name]},{once[name]}", f"{once[name]}, {once[name]}"):
        refused(once | {name: joined}, client=without_keys())


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_headers_are_read_in_any_case(spell):
    make_client().notifications.verify({spell(name): value for name, value in signed(b"{}").items()}, b"{}")


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("kind", ["WECHATPAY2-SM2-WITH-SM3", "wechatpay2-sha256-rsa2048", ""])
def test_another_signature_type_is_refused(kind):
    assert "type" in refused(signed(b"{}", signature_type=kind), client=without_keys())


@pytest.mark.scenario("S12")
def test_an_absent_signature_type_is_tolerated():
    make_client().notifications.verify(signed(b"{}", signature_type=None), b"{}")


def test_djangos_headers_are_read_too():
    from django.http.request import HttpHeaders

    message = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed(b"{}").items()}
    make_client().notifications.verify(HttpHeaders(message), b"{}")


def test_a_message_of_an_unknown_key_is_refused():
    assert "No key" in refused(signed(b"{}", serial="AB" * 20))


def test_a_known_serial_does_not_help_a_stranger():
    refused(signed(b"{}", name="stranger"))


@pytest.mark.scenario("S15")
def test_mixed_serials_are_accepted_at_once():
    ring = KeyRing(
        {PUBLIC_KEY_ID: public_pem("platform")},
        load=lambda: {SERIAL: certificate("platform-old", SERIAL)},
    )
    client = make_client(keys=ring)
    client.notifications.verify(signed(b"{}"), b"{}")
    client.notifications.verify(signed(b"{}", name="platform-old", serial=SERIAL.lower()), b"{}")


def test_an_envelope_is_decoded():
    envelope = make_client().notifications.decode(notification())
    assert envelope.id == "5f6d1c9e-2a77-5b0e-9d51-0f6b0a4c7e10"
    assert (envelope.event_type, envelope.original_type) == ("REFUND.SUCCESS", "refund")
    assert "ciphertext" not in repr(envelope)


def test_an_envelope_without_summary_and_original_type_and_with_an_odd_time_is_decoded():
    body = notification(
        create_time="20180225112233", summary=None, resource_type=None, resource=seal({}), surprise={"new": 1}
    )
    envelope = make_client().notifications.decode(body)
    assert (envelope.create_time, envelope.summary, envelope.original_type) == ("20180225112233", "", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + notification(),
        notification().decode().encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"id":' + b"9" * 5000 + b"}",
        notification(resource=None),
        notification(resource="sealed"),
        notification(resource={"algorithm": "AEAD_AES_256_GCM"}),
        notification(resource=seal({}) | {"algorithm": "ROT13"}),
        notification(resource=seal({}) | {"nonce": 12}),
        notification(resource=seal({}) | {"associated_data": {"x": 1}}),
    ],
)
def test_a_message_not_as_the_manual_describes_is_malformed(body):
    with pytest.raises(MessageMalformed):
        make_client().notifications.decode(body)


@pytest.mark.parametrize("name", ["", 7, ["x"], "x" * 65, "nul\x00", "half\ud83d", "with space", "名"])
@pytest.mark.scenario("S58")
def test_an_id_that_is_no_name_is_told_by_its_digest_the_same_for_repeats(name):
    decode = make_client().notifications.decode
    message = notification(id=name)
    known = decode(message).id
    assert re.fullmatch("[0-9a-f]{64}", known) and decode(message).id == known
    again = notification(id=name, create_time="later")
    assert (decode(again).id == known) is (isinstance(name, str) and name != "")
    assert decode(notification(id="another" * 20)).id != known


@pytest.mark.parametrize("name", ["create_time", "event_type", "summary", "resource_type"])
@pytest.mark.parametrize("odd", [None, 7, ["x"], {"x": 1}, True])
@pytest.mark.scenario("S58")
def test_odd_outer_parts_hinder_no_message(name, odd):
    envelope = make_client().notifications.decode(notification(**{name: odd}))
    assert getattr(envelope, name) == ""


@pytest.mark.scenario("S58")
def test_an_integer_too_long_for_python_makes_nothing_else_unreadable():
    data, _ = opened(seal(b'{"total": 100, "odd": ' + b"9" * 5000 + b"}"))
    assert (data["total"], data["odd"]) == (100, "9" * 5000)


@pytest.mark.scenario("S52")
def test_what_was_sealed_shows_in_no_repr():
    data, text = opened(seal({"payer": {"openid": "o-secret"}}))
    assert data["payer"]["openid"] == "o-secret" and "o-secret" in f"{text}"
    assert "o-secret" not in repr((data, text))


def opened(resource, **identity):
    notifications = make_client(identity=make_identity(**identity)).notifications
    return notifications.decrypt(notifications.decode(notification(resource=resource)))


def test_content_is_decrypted_to_an_object_and_its_text():
    assert opened(seal(b'{ "a":1 }', associated_data="papay")) == ({"a": 1}, '{ "a":1 }')


@pytest.mark.parametrize("missing", ["", None])
def test_content_without_associated_data_is_decrypted(missing):
    assert opened(seal({"a": 1}) | {"associated_data": missing})[0] == {"a": 1}


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("sealed_with", [APIV3_KEY, PREVIOUS_APIV3_KEY])
def test_while_the_apiv3_key_is_changed_both_open_messages(sealed_with):
    assert opened(seal({"a": 1}, apiv3_key=sealed_with), apiv3_key_previous=PREVIOUS_APIV3_KEY)[0] == {"a": 1}


@pytest.mark.scenario("S16")
def test_without_the_previous_key_its_messages_do_not_open():
    with pytest.raises(DecryptionFailed, match="was the key changed"):
        opened(seal({"a": 1}, apiv3_key=PREVIOUS_APIV3_KEY))


@pytest.mark.parametrize("plain", [b"", b"[]", b"\xff", b"7", b'{"a":' * 100_000])
def test_content_that_is_no_object_is_malformed(plain):
    with pytest.raises(MessageMalformed):
        opened(seal(plain))


@pytest.mark.parametrize(
    "change",
    [{"ciphertext": "!"}, {"ciphertext": ""}, {"nonce": ""}, {"nonce": "\ud800"}, {"associated_data": "x"}],
)
def test_content_that_was_changed_does_not_open(change):
    with pytest.raises(DecryptionFailed):
        opened(seal({"a": 1}) | change)
