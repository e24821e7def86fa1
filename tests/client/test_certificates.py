import json

import pytest

from django_wxpay.client import KeyRing
from django_wxpay.client.certificates import open_item
from django_wxpay.client.errors import APIError, DecryptionFailed, MessageMalformed, OutcomeUnknown

from .wire import (
    PREVIOUS_APIV3_KEY,
    Reply,
    listed,
    make_client,
    make_identity,
    seal,
)

OLD = "5157F09EFDC096DE15EBE81A47057A7200000001"
NEW = "5157F09EFDC096DE15EBE81A47057A7200000002"


def listing(*items, **signing):
    return Reply(200, {"data": list(items)}, **signing)


@pytest.mark.parametrize(("region", "path"), [("global", "/v3/global/certificates"), ("mainland", "/v3/certificates")])
def test_certificates_are_downloaded_by_a_client_that_knows_no_key_yet(region, path):
    reply = listing(listed("old", OLD), listed("new", NEW), name="old", serial=OLD)
    client = make_client(reply, identity=make_identity(region=region), keys=KeyRing())
    found = client.certificates.download()
    assert client.wire.last.path_url == path
    assert [one.serial_no for one in found] == [OLD, NEW]
    assert found[0].certificate.public_key() and found[0].expire_time.tzinfo
    assert found[0].item == json.loads(reply.body)["data"][0]
    assert "ciphertext" not in repr(found[0])


def test_the_answer_may_be_signed_with_a_key_known_before():
    assert make_client(listing(listed("new", NEW))).certificates.download()[0].serial_no == NEW


def test_a_merchant_with_a_public_key_only_has_no_certificates():
    assert make_client(listing()).certificates.download() == []
    assert make_client(Reply(200, {})).certificates.download() == []


def test_the_key_ring_is_not_asked_to_refresh_itself_while_it_does():
    def refresh():
        raise AssertionError("asked")

    client = make_client(
        listing(listed("new", NEW), name="new", serial="AB" * 20),
        listing(listed("new", NEW), name="new", serial="AB" * 20),
        keys=KeyRing(refresh=refresh),
    )
    with pytest.raises(OutcomeUnknown):
        client.certificates.download()


def test_a_probe_is_answered_by_asking_again():
    client = make_client(listing(listed("new", NEW), signature="WECHATPAY/SIGNTEST/xx"), listing(listed("new", NEW)))
    assert len(client.certificates.download()) == 1


@pytest.mark.scenario("S14")
def test_an_answer_that_is_not_signed_brings_nothing_even_if_its_items_open():
    replies = [listing(listed("new", NEW), sign=False) for _ in range(2)]
    with pytest.raises(OutcomeUnknown):
        make_client(*replies).certificates.download()


@pytest.mark.scenario("S14")
def test_an_item_sealed_with_another_key_brings_nothing():
    wrong = listed("new", NEW, apiv3_key=PREVIOUS_APIV3_KEY)
    with pytest.raises(DecryptionFailed):
        make_client(listing(listed("old", OLD), wrong)).certificates.download()


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("body", [b"", b"garbage", b"[]", b'{"data":7}', b'{"data":["x"]}', b"\xff"])
def test_garbage_brings_nothing(body):
    with pytest.raises(OutcomeUnknown):
        make_client(Reply(200, body), Reply(200, body)).certificates.download()


@pytest.mark.scenario("S14")
@pytest.mark.parametrize(("status", "kind"), [(404, APIError), (403, APIError), (500, OutcomeUnknown)])
def test_an_error_brings_nothing(status, kind):
    with pytest.raises(kind):
        make_client(Reply(status, {"code": "X", "message": ""})).certificates.download()


@pytest.mark.parametrize(
    "changed",
    [
        {"serial_no": NEW},
        {"serial_no": None},
        {"effective_time": "yesterday"},
        {"expire_time": "2026-03-01T00:00:00"},
        {"encrypt_certificate": None},
        {"encrypt_certificate": {"ciphertext": 1, "nonce": "x"}},
        {"encrypt_certificate": seal(b"no pem", associated_data="certificate")},
    ],
)
def test_an_item_that_is_not_what_it_says_is_malformed(changed):
    with pytest.raises(MessageMalformed):
        open_item(make_identity(), listed("old", OLD) | changed)


def test_a_stored_item_opens_again_with_either_apiv3_key():
    stored = json.loads(json.dumps(listed("old", OLD, apiv3_key=PREVIOUS_APIV3_KEY)))
    opened = open_item(make_identity(apiv3_key_previous=PREVIOUS_APIV3_KEY), stored)
    assert opened.serial_no == OLD
    assert KeyRing({OLD: opened.certificate}).find(OLD)
