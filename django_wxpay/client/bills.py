"""Statements: the file of a China day with every payment and refund of it, fetched and proven.

Source: APIv3 manual, "Download reconciliation file", /v3/global/statements. How it is read: `statements`.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import date as Date
from typing import Any, Protocol

import requests

from . import fields, signatures
from .answers import RawAnswer
from .base import MAX_ANSWER_BYTES, BaseClient, target_of
from .errors import (
    APIError,
    BillCorrupt,
    BillNotReady,
    NoStatement,
    NotFound,
    OutcomeUnknown,
    SignatureInvalid,
    WxPayError,
)
from .privacy import Unseen
from .refusals import NO_STATEMENT
from .statements import MAX_STATEMENT_BYTES, Statement, StatementRow, parse_statement

__all__ = ["Bills", "DownloadedStatement", "Sink", "Statement", "StatementRow", "parse_statement"]

_PATH = "/v3/global/statements"
_SHA1 = re.compile(r"[0-9a-fA-F]{40}")
# Statements shrink ten- to thirtyfold. What shrinks more than this is made to fill a disk.
_LARGEST_RATIO = 200
_RATIO_MATTERS_FROM = 16 * 1024**2
DOWNLOAD_SECONDS = 1800


class Sink(Protocol):
    """Where the bytes go: an open binary file, a `gzip.GzipFile`, a temporary file …"""

    def write(self, data: bytes, /) -> Any:
        """Take the next bytes."""


@dataclass(frozen=True)
class DownloadedStatement:
    """A proven file: its hash, as WeChat Pay signed it, and its size, both uncompressed."""

    sha1: str
    size: int
    request_id: str


class Bills(Unseen):
    """The call for statements; `client.bills`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def download_statement(
        self,
        *,
        date: Date | str,
        sink: Sink,
        sub_mchid: str = "",
        max_bytes: int = MAX_STATEMENT_BYTES,
    ) -> DownloadedStatement:
        """Fetch the statement of a China day into ``sink``, uncompressed, piece by piece.

        Believe what is in the sink only when this returned: after any error throw it away. sub_mchid (institution):
        only this sub-merchant's rows; by default all.

        Raises NoStatement (nothing was paid that day, or it is too early), BillNotReady (later), BillCorrupt (not
        proven, cut, altered, too large; fetch again), RequestNotSent, OutcomeUnknown, APIError.
        """
        identity = self._client.identity
        query: dict[str, str | int] = {"date": fields.china_day("date", date)}
        if identity.is_direct or sub_mchid:
            query.update(identity.numbers(sub_mchid=sub_mchid))
        else:
            query["sp_mchid"] = identity.mchid
        target = target_of(_PATH, query)
        started, outcome, request_id = time.monotonic(), "failed", ""
        try:
            response, sha1 = self._open(target)
            request_id = response.headers.get("Request-ID", "")
            size = self._pour(response, sink, sha1, max_bytes)
            outcome = "200"
            return DownloadedStatement(sha1, size, request_id)
        except WxPayError as error:
            outcome, request_id = type(error).__name__, getattr(error, "request_id", "") or request_id
            raise
        finally:
            self._client.log("GET", target, outcome, request_id, time.monotonic() - started)

    def _open(self, target: str) -> tuple[requests.Response, str]:
        """Return the answer, its body unread, and the hash it must have, proven by the answer's signature."""
        for last in (False, True):
            response = self._client.open("GET", target, accept="*/*", encoding="gzip", seconds=DOWNLOAD_SECONDS)
            if response.status_code != 200:
                body = self._client.transport.read(response, limit=MAX_ANSWER_BYTES)
                raise self._refusal(RawAnswer(response.status_code, response.headers, body))
            sha1 = response.headers.get("Wechatpay-Statement-Sha1", "")
            signed = f'{{"sha1":"{sha1}"}}'.encode()
            try:
                signatures.check(response.headers, signed, self._client.keys.find, self._client.clock())
                if not _SHA1.fullmatch(sha1):
                    raise SignatureInvalid("Wechatpay-Statement-Sha1 is no SHA-1.")
            except SignatureInvalid as error:
                response.close()
                if last:
                    raise BillCorrupt(f"The statement is not proven: {error.reason}") from error
                continue  # a probe, perhaps: ask once again
            return response, sha1.lower()
        raise AssertionError("unreachable")

    def _pour(self, response: requests.Response, sink: Sink, sha1: str, max_bytes: int) -> int:
        digest, size = hashlib.sha1(usedforsecurity=False), 0
        chunks = self._client.transport.chunks(response, limit=max_bytes, seconds=DOWNLOAD_SECONDS)
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > _RATIO_MATTERS_FROM and size > _LARGEST_RATIO * response.raw.tell():
                    raise BillCorrupt("The statement is compressed so much that it must be a trap.")
                digest.update(chunk)
                sink.write(chunk)
        except OutcomeUnknown as error:
            raise BillCorrupt(f"The statement is incomplete after {size} bytes: {error}") from error
        finally:
            chunks.close()
        if digest.hexdigest() != sha1:
            raise BillCorrupt(f"The statement's SHA-1 is not the one WeChat Pay signed ({size} bytes).")
        return size

    def _refusal(self, raw: RawAnswer) -> Exception:
        error = self._client.refusal(raw, absent=NO_STATEMENT)
        if isinstance(error, NotFound):
            return NoStatement(
                error.message,
                code=error.code,
                status=error.status,
                request_id=error.request_id,
                verified=error.verified,
                detail=error.detail,
                server_time=error.server_time,
            )
        if isinstance(error, APIError) and error.means("STATEMENT_CREATING"):
            return BillNotReady("WeChat Pay is still making the statement.", request_id=error.request_id)
        return error
