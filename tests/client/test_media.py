"""Pictures: the whole body is sent, the description alone is signed."""

import base64
import hashlib
import json
import re
from email import message_from_bytes

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown

from .test_payscore import mainland
from .wire import Reply, key, make_client

PICTURE = b"\x89PNG\r\n\x1a\n--\r\n" + bytes(range(256))


def parts_of(request):
    """The parts of a multipart body, as any reader of mail finds them."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    return message_from_bytes(head + request.body).get_payload()


def signs(request, content):
    """Whether the Authorization header signs these bytes."""
    given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers["Authorization"]))
    message = f"POST\n{request.path_url}\n{given['timestamp']}\n{given['nonce_str']}\n".encode() + content + b"\n"
    try:
        key("merchant").public_key().verify(
            base64.b64decode(given["signature"]), message, padding.PKCS1v15(), hashes.SHA256()
        )
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("make", [make_client, mainland])
def test_a_picture_is_sent_whole_and_its_description_is_signed(make):
    client = make(Reply(200, {"media_id": "6uqyGjvHzOhsLleGFQVRF"}))
    assert client.media.upload_image(filename="证件.png", content=PICTURE).data["media_id"].startswith("6uqy")
    request = client.wire.last
    assert request.url == f"{client.transport.hosts[0]}/v3/merchant/media/upload"
    meta, file = parts_of(request)
    assert [part.get_param("name", header="Content-Disposition") for part in (meta, file)] == ["meta", "file"]
    assert (meta.get_content_type(), file.get_content_type()) == ("application/json", "image/png")
    told = meta.get_payload(decode=True)
    assert json.loads(told) == {"filename": "证件.png", "sha256": hashlib.sha256(PICTURE).hexdigest()}
    assert PICTURE in request.body
    assert signs(request, told) and not signs(request, request.body)
    assert request.headers["Content-Length"] == str(len(request.body))


def test_a_refusal_and_a_lost_answer_reach_the_caller():
    client = mainland(
        Reply(400, {"code": "PARAM_ERROR", "message": "too large"}), Reply(200, {"media_id": "x"}, sign=False)
    )
    with pytest.raises(APIError, match="PARAM_ERROR"):
        client.media.upload_image(filename="a.jpg", content=b"x")
    with pytest.raises(OutcomeUnknown):
        client.media.upload_image(filename="a.jpg", content=b"x")


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("filename", {"filename": ""}),
        ("filename", {"filename": "a.gif"}),
        ("filename", {"filename": "no-ending"}),
        ("filename", {"filename": '../"a".png'}),
        ("filename", {"filename": "a\r\nb.png"}),
        ("filename", {"filename": "x" * 125 + ".png"}),
        ("content", {"content": b""}),
        ("content", {"content": "text"}),
        ("content", {"content": bytes(2 * 1024 * 1024 + 1)}),
    ],
)
def test_a_file_that_cannot_be_is_refused_and_nothing_is_sent(field, changed):
    client = mainland()
    with pytest.raises(InvalidField) as caught:
        client.media.upload_image(**({"filename": "a.png", "content": PICTURE} | changed))
    assert caught.value.field == field
    assert not client.wire.requests
