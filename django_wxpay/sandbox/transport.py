"""A requests adapter that hands requests to a WSGI program in the same process, byte for byte.

    session = requests.Session()
    session.mount("http://", WSGIAdapter(create_app()))

The request target reaches the program exactly as it would go over the wire (signatures cover it), and breaks of
the connection that the sandbox stages come back as what ``requests`` raises for them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout
from urllib3 import HTTPHeaderDict, HTTPResponse

from .engine.answers import ConnectionClosed, LostAnswer
from .engine.gateway import READ_TIMEOUT

DEFAULT_PORTS = {"http": 80, "https": 443}


class WSGIAdapter(HTTPAdapter):
    """Answer a session's requests from ``app``, whatever host they name."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self.app = app

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        head: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            head.update(status=status, headers=headers)

        try:
            chunks = self.app(_environ(request, timeout), start_response)
        except LostAnswer as lost:
            raise ReadTimeout(str(lost), request=request) from lost
        except ConnectionClosed as closed:
            raise RequestsConnectionError(str(closed), request=request) from closed
        body: io.RawIOBase | io.BytesIO = _Body(chunks)
        if not stream:
            with body:
                body = io.BytesIO(body.read())
        code, _, reason = head["status"].partition(" ")
        raw = HTTPResponse(
            body=body,
            headers=HTTPHeaderDict(head["headers"]),
            status=int(code),
            reason=reason,
            preload_content=False,
        )
        return self.build_response(request, raw)


class _Body(io.RawIOBase):
    """What a WSGI program answers, as a stream that is read only as fast as asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._iterator, self._rest = chunks, iter(chunks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._iterator, None)
            if chunk is None:
                return 0
            self._rest = chunk
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        if not self.closed:
            getattr(self._chunks, "close", lambda: None)()
        super().close()


def _environ(request: PreparedRequest, timeout: Any) -> dict[str, Any]:
    url, target = urlsplit(str(request.url)), request.path_url
    path, _, query = target.partition("?")
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    if not isinstance(body, bytes):  # a file or a generator: the sandbox reads it whole anyway
        body = body.read() if hasattr(body, "read") else b"".join(body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_NAME": url.hostname or "localhost",
        "SERVER_PORT": str(url.port or DEFAULT_PORTS.get(url.scheme, 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": url.netloc.rpartition("@")[2],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        READ_TIMEOUT: timeout[1] if isinstance(timeout, tuple) else timeout,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if key == "CONTENT_TYPE":
            environ[key] = text
        elif key not in ("CONTENT_LENGTH", "HOST"):
            environ[f"HTTP_{key}"] = text
    return environ
