"""Bytes out, bytes in: connections, hosts, time limits, and whether a failed request may have arrived."""

from __future__ import annotations

import math
import os
import socket
import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3 import exceptions as wire

from .connections import Attempt, PooledAdapter, tls_context
from .errors import OutcomeUnknown, RequestNotSent

CHUNK_BYTES = 64 * 1024
# A connection that slept longer may have been forgotten on the way (NAT, load balancer) without a word; a
# write into it would end as "unknown" for nothing.
IDLE_SECONDS = 45


def base_url(host: str) -> str:
    """Return a base URL from one, or from a bare host name, which means https; else ValueError."""
    url = (host if "://" in host else f"https://{host}").rstrip("/")
    parts = urlsplit(url)
    proper = parts.scheme in ("https", "http") and parts.hostname and not parts.query and not parts.fragment
    if not proper or " " in url:
        raise ValueError("A host is neither a host name nor a base URL such as https://apihk.mch.weixin.qq.com.")
    return url


def never_sent(error: BaseException) -> bool:
    """Say whether a failure in an adapter that is not ours proves that not one byte of the request was sent.

    Only failures of connecting do: names not resolved, refused, timed out before a connection stood, a server
    certificate that was not accepted. A reset connection proves nothing: the request may have been read.
    """
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return True
    cause: object = error.args[0] if error.args else None
    if isinstance(cause, wire.MaxRetryError):
        cause = cause.reason
    if isinstance(cause, wire.ProxyError):
        cause = cause.original_error
        if isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed"):
            return True
    if isinstance(cause, wire.SSLError):
        cause = cause.args[0] if cause.args else None
    return isinstance(
        cause,
        (
            wire.NewConnectionError,
            wire.ConnectTimeoutError,
            wire.ClosedPoolError,
            ConnectionRefusedError,
            socket.gaierror,
            ssl.SSLCertVerificationError,
        ),
    )


class Transport:
    """The way to WeChat Pay of one client: its hosts, and in each process its own connections.

    hosts: base URLs, tried in turn, each once, and only while no connection came about. connect_timeout: seconds until
    a connection to one host stands, from resolving its name to TLS. read_timeout: seconds from the first byte sent to
    the last byte of the answer. adapter: a requests adapter to use instead of the network, which keeps time in its own
    way. proxies: as requests takes them. ca_bundle: path of the CA certificates to trust instead of certifi's, or
    ValueError.

    Adapters are used without a `requests.Session`: no environment variable, netrc, cookie or redirect can change
    what is sent, and a call costs about a quarter less.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        connect_timeout: float,
        read_timeout: float,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self.hosts = tuple(base_url(host) for host in hosts)
        self._timeout = (connect_timeout, read_timeout)
        self._proxies = dict(proxies or {})
        self._context = tls_context(ca_bundle) if ca_bundle else None
        self._given = adapter
        # By process: a connection shared across fork would mix up the answers of two processes.
        self._adapters: dict[int, PooledAdapter] = {}
        self._used_at = time.monotonic()

    def _adapter(self) -> BaseAdapter:
        if self._given is not None:
            return self._given
        process, now = os.getpid(), time.monotonic()
        adapter = self._adapters.get(process)
        slept, self._used_at = now - self._used_at, now
        if adapter is None:
            adapter = self._adapters.setdefault(process, PooledAdapter(self._context))
        elif slept > IDLE_SECONDS:
            # Replaced, not closed: another thread may be about to take a connection from it.
            adapter = self._adapters[process] = adapter.renewed()
        return adapter

    def send(
        self,
        prepare: Callable[[str], requests.PreparedRequest],
        *,
        seconds: float | None = None,
        seconds_to_send: Callable[[], float] = lambda: math.inf,
    ) -> requests.Response:
        """Send what ``prepare`` makes for a base URL and return the answer, its body still unread.

        seconds: from the first byte sent to the last byte read (by default the read timeout). seconds_to_send: how
        long a request may still begin to be sent; asked before each host, and when a connection stands.

        Raises RequestNotSent when no host could be connected to in time, OutcomeUnknown when it may have arrived.
        """
        adapter = self._adapter()
        connect, read = self._timeout
        failure: BaseException | None = None
        for host in self.hosts:
            if (left := seconds_to_send()) <= 0:
                raise RequestNotSent("Its time had passed before it could be sent: nothing was sent.") from failure
            request = prepare(host)
            attempt = Attempt(
                connect_seconds=min(connect, left),
                answer_seconds=read if seconds is None else seconds,
                idle_seconds=read,
                in_time=lambda: seconds_to_send() > 0,
            )
            try:
                with attempt.running():
                    return adapter.send(
                        request, stream=True, timeout=self._timeout, verify=True, cert=None, proxies=self._proxies
                    )
            except (requests.RequestException, wire.HTTPError, OSError) as error:
                if attempt.begun if isinstance(adapter, PooledAdapter) else not never_sent(error):
                    # The text of the cause would repeat the URL, whose query may hold an openid.
                    raise OutcomeUnknown(
                        f"{host} gave no answer ({type(error).__name__}): it may have been done. Query first."
                    ) from error
                failure = error
        tried = ", ".join(self.hosts)
        raise RequestNotSent(f"No connection to {tried} ({type(failure).__name__}): nothing was sent.") from failure

    def chunks(
        self, response: requests.Response, *, limit: int, seconds: float | None = None
    ) -> Generator[bytes, None, None]:
        """Yield an answer's body, decompressed, piece by piece.

        Raises OutcomeUnknown when it breaks off, has more than ``limit`` bytes, or takes longer than
        ``seconds`` (by default the read timeout): a server that drips must not hold a worker.
        """
        until = time.monotonic() + (self._timeout[1] if seconds is None else seconds)
        raw = response.raw
        # read1 returns what has come, read waits for all it was asked for. Another adapter's file may lack read1.
        own = isinstance(getattr(response, "connection", None), PooledAdapter)
        read = raw.read1 if own and hasattr(raw, "read1") else raw.read
        size = 0
        complete = False
        try:
            while chunk := read(CHUNK_BYTES, decode_content=True):
                size += len(chunk)
                if size > limit:
                    raise _unknown(response, f"The answer has more than {limit} bytes.")
                if time.monotonic() > until:
                    raise _unknown(response, "The answer took too long.")
                yield chunk
            complete = True
        except (wire.ReadTimeoutError, TimeoutError) as error:
            raise _unknown(response, "The answer took too long.") from error
        except (requests.RequestException, wire.HTTPError, OSError) as error:
            raise _unknown(response, f"The answer broke off ({type(error).__name__}).") from error
        finally:
            if not complete:
                response.close()

    def read(self, response: requests.Response, *, limit: int) -> bytes:
        """Return an answer's whole body; raises as `chunks` does."""
        return b"".join(self.chunks(response, limit=limit))

    def close(self) -> None:
        """Close the connections of this process."""
        if adapter := self._adapters.pop(os.getpid(), None):
            adapter.close()


def _unknown(response: requests.Response, problem: str) -> OutcomeUnknown:
    return OutcomeUnknown(problem, status=response.status_code, request_id=response.headers.get("Request-ID", ""))
