"""Images that other calls refer to, both regions.

Source: APIv3 manual, "Uploading Image", POST /v3/merchant/media/upload.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from .answers import Answer
from .base import JSON_TYPE, BaseClient, serialise
from .errors import InvalidField
from .privacy import Unseen

LARGEST_IMAGE = 2 * 1024 * 1024  # bytes
KINDS = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp"}
_FILENAME = re.compile(r"[^\x00-\x1f\x7f/\\\"]+\.([A-Za-z]+)")


class Media(Unseen):
    """The calls about files; `client.media`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def upload_image(self, *, filename: str, content: bytes) -> Answer:
        """Upload a picture; the answer's ``media_id`` names it in other calls.

        filename: at most 128 characters, ending in .jpg, .jpeg, .png or .bmp. content: at most 2 MiB. What is signed is
        the description of the file, with its SHA-256. OutcomeUnknown: upload it again, a picture more does no harm.
        """
        kind = _kind_of(filename)
        if not isinstance(content, bytes) or not 0 < len(content) <= LARGEST_IMAGE:
            raise InvalidField(f"content must be bytes, {LARGEST_IMAGE} at most.", field="content")
        meta = serialise({"filename": filename, "sha256": hashlib.sha256(content).hexdigest()})
        parts = [
            _part("meta", meta, JSON_TYPE),
            _part("file", content, kind, filename),
        ]
        body, content_type = encode_multipart_formdata(parts, boundary=secrets.token_hex(16))
        return self._client.upload("/v3/merchant/media/upload", meta=meta, content=body, content_type=content_type)


def _kind_of(filename: str) -> str:
    found = _FILENAME.fullmatch(filename) if isinstance(filename, str) and len(filename) <= 128 else None
    if found is None or found[1].lower() not in KINDS:
        raise InvalidField(
            f"filename must be a plain name of 128 characters at most, ending in {', '.join(KINDS)}.", field="filename"
        )
    return KINDS[found[1].lower()]


def _part(name: str, data: bytes, content_type: str, filename: str | None = None) -> RequestField:
    part = RequestField(name, data, filename=filename)
    part.make_multipart(content_type=content_type)
    return part
