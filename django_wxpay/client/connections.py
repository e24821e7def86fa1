"""Connections that keep their time: every wait has an end, and after the last moment to send not a byte is written.

The libraries below give each wait a limit of its own: per address, per piece read; a name's resolution has none. Here
one `Attempt` limits all that one request does, and knows whether it began to be sent.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextvars import ContextVar
from functools import cache
from typing import Any

import certifi
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as wire
from urllib3.connection import HTTPConnection
from urllib3.util.connection import allowed_gai_family

from .errors import RequestNotSent

POOL_SIZE = 16
# One TLS record: a longer write could wait once for each.
_PIECE_BYTES = 16 * 1024
# What each of several addresses has to answer in, at least, before the next one is tried.
_ADDRESS_SECONDS = 1.0

_attempt: ContextVar[Attempt] = ContextVar("attempt")


class Attempt:
    """The way of one request over one connection: how long each part may take, and whether it began.

    connect_seconds: from now until a connection stands: name, addresses, proxy and TLS together. answer_seconds: from
    the first byte written to the last byte read. idle_seconds: at most between two pieces of an answer.
    in_time: asked when the connection stands; when it says no, nothing is written.
    """

    def __init__(
        self, *, connect_seconds: float, answer_seconds: float, idle_seconds: float, in_time: Callable[[], bool]
    ) -> None:
        self.begun = False
        self._until = time.monotonic() + connect_seconds
        self._answer_seconds = answer_seconds
        self._idle_seconds = idle_seconds
        self._in_time = in_time

    def left(self) -> float:
        """Return how many seconds the next wait may take; TimeoutError when none is left."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("out of time")
        return min(left, self._idle_seconds) if self.begun else left

    def begin(self) -> None:
        """Begin to send; RequestNotSent when the last moment to do so has passed."""
        if not self._in_time():
            raise RequestNotSent("Its time had passed before a connection stood: nothing was sent.")
        self.begun = True
        self._until = time.monotonic() + self._answer_seconds

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Make this the attempt of the connections used meanwhile in this thread."""
        token = _attempt.set(self)
        try:
            yield
        finally:
            _attempt.reset(token)


def tls_context(ca_bundle: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return a context that trusts a file of CA certificates (PEM), by default those of certifi.

    ValueError, without the path, when the file cannot be read or holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca_bundle or certifi.where())
    except OSError as error:
        raise ValueError(f"The CA bundle is no readable file of PEM certificates ({type(error).__name__}).") from None


class PooledAdapter(HTTPAdapter):
    """Keep-alive connections that share one TLS context, keep their time, and never retry by themselves.

    requests would load the CA roots again for every new connection, which costs more than the handshake.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context or tls_context()
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=0)

    def renewed(self) -> PooledAdapter:
        """Return an adapter without connections, over the same TLS context."""
        return PooledAdapter(self._context)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool over our TLS context."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        _time(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pool behind a proxy over the same TLS context."""
        return _time(super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs))

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave certificates to the context, which demands valid ones for the right host name."""


def _time(manager: Any) -> Any:
    """Let a pool manager make timed connections, of whatever kind it makes."""
    manager.pool_classes_by_scheme = {
        scheme: _timed_pool(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }
    return manager


@cache
def _timed_pool(pool: Any) -> Any:
    kind = pool.ConnectionCls
    if issubclass(kind, _Timed):
        return pool
    return type(f"Timed{pool.__name__}", (pool,), {"ConnectionCls": type(f"Timed{kind.__name__}", (_Timed, kind), {})})


class _Timed(HTTPConnection):
    """What keeps a connection to its `Attempt`; mixed into plain, TLS and proxied ones."""

    _running: Attempt

    def connect(self) -> None:
        self._running = _attempt.get()
        super().connect()

    def _new_conn(self) -> socket.socket:
        if hasattr(self, "_socks_options"):
            return super()._new_conn()  # resolves and connects in its own way; only `begin` binds it
        try:
            return _connected(self)
        except TimeoutError as error:
            raise wire.ConnectTimeoutError(self, f"No connection to {self.host} in time.") from error
        except OSError as error:
            raise wire.NewConnectionError(self, f"No connection to {self.host}: {error}") from error

    def _tunnel(self) -> None:
        super()._tunnel()
        self.sock.settimeout(self._running.left())  # for the handshake to come

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        self._running = _attempt.get()
        # Closed before an answer came, what the other side has not taken yet is thrown away, not delivered later.
        _discard_at_close(self.sock, True)
        self._running.begin()
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self.sock.settimeout(self._running.left())
            super().send(data[start : start + _PIECE_BYTES])

    def getresponse(self) -> Any:
        sock = self.sock
        response = super().getresponse()
        _discard_at_close(sock, False)
        return response

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        response.fp = io.BufferedReader(_TimedFile(response.fp.detach(), sock, self._running))
        return response


class _TimedFile(io.RawIOBase):
    """The reading end of a socket; each read waits as long as its attempt has left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, attempt: Attempt) -> None:
        self._raw, self._sock, self._running = raw, sock, attempt

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._running.left())
        return self._raw.readinto(buffer)

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


def _discard_at_close(sock: Any, discard: bool) -> None:
    """Say whether closing a socket throws away what was written and not yet delivered; usually it is delivered."""
    tcp = getattr(sock, "socket", sock)  # TLS within TLS wraps one
    with contextlib.suppress(OSError):  # closed already
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", discard, 0))


def _connected(connection: _Timed) -> socket.socket:
    """Return a socket connected to the first address of a host that answers, within what the attempt has left."""
    attempt = connection._running
    found = addresses(connection._dns_host.strip("[]"), connection.port, attempt.left())
    failure: OSError | None = None
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        left = attempt.left()
        sock = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(min(left, max(left / (len(found) - tried), _ADDRESS_SECONDS)))
            sock.connect(address)
            sock.settimeout(attempt.left())  # for the handshake to come
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure or OSError("the name has no address")


_asked: dict[tuple[int, str, int], futures.Future[list[Any]]] = {}


def addresses(host: str, port: int, seconds: float) -> list[Any]:
    """Return what `socket.getaddrinfo` finds for a host; TimeoutError when that takes longer.

    The resolver cannot be stopped: it is asked in a thread, by one caller for all that wait for the same name.
    """
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    place = (os.getpid(), host, port)  # a thread does not live on in a forked process
    mine: futures.Future[list[Any]] = futures.Future()
    answer = _asked.setdefault(place, mine)
    if answer is mine:
        try:
            threading.Thread(target=_resolve_in_thread, args=(place, mine), name=f"resolve {host}", daemon=True).start()
        except RuntimeError as error:
            del _asked[place]
            mine.set_exception(OSError(f"no thread to resolve in: {error}"))
    try:
        return answer.result(timeout=seconds)
    except futures.TimeoutError:
        raise TimeoutError(f"{host} was not resolved in time") from None


def _resolve_in_thread(place: tuple[int, str, int], answer: futures.Future[list[Any]]) -> None:
    _, host, port = place
    try:
        answer.set_result(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        answer.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
    finally:
        del _asked[place]
