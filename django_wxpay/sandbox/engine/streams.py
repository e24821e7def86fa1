"""Large answers, sent in pieces and never held in memory."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO

CHUNK = 256 * 1024


class Stream:
    """What the server iterates over, and closes when the client has had enough."""

    def __init__(self, chunks: Iterator[bytes], file: IO[bytes]) -> None:
        self._chunks, self._file = chunks, file

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._file.close()


def chunks_of(file: IO[bytes], *, length: int, alter: bool) -> Iterator[bytes]:
    """Yield that much of the file; ``alter`` changes its last digit."""
    while length > 0 and (chunk := file.read(min(CHUNK, length))):
        length -= len(chunk)
        if alter and length <= 0:
            chunk = re.sub(rb"[0-9](?=[^0-9]*$)", lambda digit: b"1" if digit[0] != b"1" else b"2", chunk)
        yield chunk


def zeros(count: int) -> Iterator[bytes]:
    block = bytes(1024**2)
    for _ in range(count // len(block)):
        yield block


def gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    press = zlib.compressobj(wbits=31)
    for chunk in chunks:
        if pressed := press.compress(chunk):
            yield pressed
    yield press.flush()


def takes_gzip(headers: dict[str, str]) -> bool:
    return any(
        part.partition(";")[0].strip().lower() == "gzip" for part in headers.get("accept-encoding", "").split(",")
    )
