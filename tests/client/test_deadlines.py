"""Every wait has an end, and what was not sent in time is not sent at all: listeners that are slow at each step."""

import contextlib
import socket
import ssl
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
import requests
from requests.adapters import HTTPAdapter

from django_wxpay.client import connections
from django_wxpay.client.errors import OutcomeUnknown, RequestNotSent

from .sockets import post, serving
from .wire import Reply, make_client

NOW = 1_800_000_000


class Clock:
    """Wall clock of a client, moved by hand."""

    def __init__(self):
        self.now = float(NOW)

    def __call__(self):
        return self.now


def moment(seconds):
    return datetime.fromtimestamp(NOW + seconds, timezone.utc)


@contextlib.contextmanager
def listening(handle=None, *, backlog=16, address="127.0.0.1", port=0):
    """A bare listener; ``handle(connection)`` runs in a thread for each connection. Yields the listener."""
    listener = socket.create_server((address, port), backlog=backlog)
    held = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection):
        with contextlib.suppress(OSError):
            handle(connection)

    if handle:
        threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener
    finally:
        listener.close()
        for connection in held:
            connection.close()


def url(listener, scheme="http"):
    return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def silent():
    """A listener that nobody answers at: its queue is full, the next connection waits."""
    with contextlib.ExitStack() as waiting, listening(backlog=0) as listener:
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener


@contextlib.contextmanager
def took(at_most):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < at_most


def drip(connection, piece=b"x", every=0.02):
    while True:
        connection.sendall(piece)
        time.sleep(every)


def resolving(monkeypatch, answer):
    """Let ``answer(host, port, real)`` stand in for the resolver, for names only."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        if flags & socket.AI_NUMERICHOST and not host[:1].isdigit():
            raise socket.gaierror("no address literal")
        if host[:1].isdigit():
            return real(host, port, family, type, proto, flags)
        return answer(host, port, real)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


# -- not sent after the bound


@pytest.fixture
def late(server, client_of, monkeypatch):
    """A client with a clock, and a resolver that takes a minute of it: the connection stands too late."""
    clock = Clock()

    def minute(host, port, real):
        clock.now += 60
        return real("127.0.0.1", port, type=socket.SOCK_STREAM)

    resolving(monkeypatch, minute)
    return client_of(f"http://wechat.test:{server.server_port}", clock=clock)


@pytest.mark.scenario("S53")
def test_when_the_connection_stands_only_after_the_last_moment_not_a_byte_is_written(server, late):
    with pytest.raises(RequestNotSent, match="nothing was sent"):
        post(late.before(moment(30)))
    deadline = time.monotonic() + 2
    while not server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.connections) == 1 and server.received == []


@pytest.mark.scenario("S53")
def test_opposite_without_a_last_moment_the_late_request_would_be_sent(server, late):
    with pytest.raises(OutcomeUnknown, match="clock"):  # the answer is signed by today's clock
        post(late)
    assert len(server.received) == 1


@pytest.mark.scenario("S53")
def test_a_standing_connection_is_not_used_after_the_last_moment(server, client_of):
    clock = Clock()
    client = client_of(server.url, clock=clock)
    for _ in range(2):
        with contextlib.suppress(OutcomeUnknown, RequestNotSent):
            post(client.before(moment(1)))
        clock.now += 1
    assert len(server.received) == 1


@pytest.mark.scenario("S53")
@pytest.mark.parametrize("seconds", [0, -1])
def test_after_the_last_moment_no_adapter_is_asked_at_all(seconds):
    client = make_client(Reply(), clock=Clock())
    with pytest.raises(RequestNotSent):
        post(client.before(moment(seconds)))
    assert client.wire.requests == []


@pytest.mark.scenario("S53")
def test_no_backup_is_tried_after_the_last_moment():
    clock = Clock()
    client = make_client(requests.ConnectTimeout(), Reply(), host="https://a", backup_hosts=["https://b"], clock=clock)
    send = client.wire.send

    def slow(request, **options):
        clock.now += 5
        return send(request, **options)

    client.wire.send = slow
    with pytest.raises(RequestNotSent):
        post(client.before(moment(3)))
    assert [request.url for request in client.wire.requests] == ["https://a/v3/x"]


def test_a_last_moment_binds_every_subject_and_leaves_the_client_itself_alone():
    client = make_client(Reply(404), clock=Clock())
    assert client.orders  # a subject that was used before
    with pytest.raises(RequestNotSent):
        client.before(moment(-1)).orders.query_payment(out_trade_no="q")
    with pytest.raises(Exception, match="HTTP 404"):
        client.orders.query_payment(out_trade_no="q")


# -- connecting


@pytest.mark.scenario("S53")
def test_a_resolver_that_hangs_is_left_after_the_connect_timeout_and_asked_once_for_all(client_of, monkeypatch):
    asked, release = [], threading.Event()

    def hang(host, port, real):
        asked.append(host)
        release.wait(10)
        raise socket.gaierror("nothing")

    resolving(monkeypatch, hang)
    client = client_of("https://wechat.test", connect_timeout=0.3)
    with took(1.5):
        errors = []

        def one():
            try:
                post(client)
            except RequestNotSent as error:
                errors.append(error)

        callers = [threading.Thread(target=one) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    release.set()
    assert len(errors) == 8 and asked == ["wechat.test"]


def test_a_name_is_resolved_again_for_the_next_connection(client_of, monkeypatch):
    asked = []

    def fail(host, port, real):
        asked.append(host)
        raise socket.gaierror("nothing")

    resolving(monkeypatch, fail)
    for _ in range(2):
        with pytest.raises(RequestNotSent):
            post(client_of("https://wechat.test"))
        while connections._asked:
            time.sleep(0.01)
    assert len(asked) == 2


@pytest.mark.scenario("S53")
def test_the_connect_timeout_counts_for_all_addresses_of_a_host_together(client_of, monkeypatch):
    resolving(monkeypatch, lambda host, port, real: real("127.0.0.1", port, type=socket.SOCK_STREAM) * 5)
    with silent() as nobody:
        client = client_of(url(nobody).replace("127.0.0.1", "wechat.test"), connect_timeout=0.5)
        with took(1.5), pytest.raises(RequestNotSent):
            post(client)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(client_of, monkeypatch):
    with silent() as nobody, serving("127.0.0.2", nobody.getsockname()[1]) as server:
        resolving(
            monkeypatch,
            lambda host, port, real: [
                one for at in ("127.0.0.1", "127.0.0.2") for one in real(at, port, type=socket.SOCK_STREAM)
            ],
        )
        client = client_of(url(nobody).replace("127.0.0.1", "wechat.test"), connect_timeout=1.5)
        with took(3):
            assert post(client).status == 200
        assert len(server.received) == 1


@pytest.mark.scenario("S53")
@pytest.mark.parametrize("handle", [lambda connection: time.sleep(5), drip], ids=["silent", "dripping"])
def test_a_tls_handshake_that_does_not_end_means_nothing_was_sent(client_of, handle):
    with listening(handle) as slow, took(1.5), pytest.raises(RequestNotSent):
        post(client_of(url(slow, "https"), connect_timeout=0.4))


@pytest.mark.scenario("S53")
@pytest.mark.parametrize(
    "handle",
    [
        lambda connection: time.sleep(5),
        drip,
        lambda connection: (connection.sendall(b"HTTP/1.1 200 OK\r\n"), drip(connection, b"X: y\r\n")),
        lambda connection: (connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), time.sleep(5)),
        lambda connection: connection.sendall(b"HTTP/1.1 407 Authenticate\r\n\r\n"),
        lambda connection: connection.close(),
    ],
    ids=["silent", "dripping", "headers without end", "no handshake", "refusing", "closing"],
)
def test_a_proxy_that_makes_no_tunnel_means_nothing_was_sent(client_of, handle):
    with listening(handle) as proxy, took(1.5), pytest.raises(RequestNotSent):
        post(client_of("https://wechat.test", proxies={"https": url(proxy)}, connect_timeout=0.4))


def test_a_request_goes_through_a_tunnel(client_of, tls_server, tls_files):
    def tunnel(connection):
        asked = connection.recv(4096)
        with socket.create_connection(("127.0.0.1", tls_server.server_port)) as far:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            seen.append(asked.split(b" HTTP")[0])
            back = threading.Thread(target=pour, args=(far, connection), daemon=True)
            back.start()
            pour(connection, far)
            back.join(2)

    def pour(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    seen = []
    adapter = connections.PooledAdapter(ssl.create_default_context(cafile=tls_files / "cert.pem"))
    with listening(tunnel) as proxy:
        client = client_of(
            f"https://localhost:{tls_server.server_port}", proxies={"https": url(proxy)}, transport=adapter
        )
        assert post(client).status == post(client).status == 200
        adapter.close()
    assert seen == [f"CONNECT localhost:{tls_server.server_port}".encode()]


# -- answers


@pytest.mark.scenario("S53")
@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["status", "headers", "body", "chunk size"],
)  # fmt: skip
def test_an_answer_that_drips_is_left_after_the_read_timeout_wherever_it_drips(client_of, start):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(start)
        drip(connection, b"1")

    with listening(answer) as slow, took(1.5), pytest.raises(OutcomeUnknown):
        post(client_of(url(slow), read_timeout=0.4))


@pytest.mark.scenario("S53")
def test_a_listener_that_takes_nothing_is_left_after_the_read_timeout(client_of):
    with listening(lambda connection: time.sleep(5)) as deaf, took(1.5), pytest.raises(OutcomeUnknown):
        client_of(url(deaf), read_timeout=0.4).request("POST", "/v3/x", body={"a": "x" * 16_000_000})


def arrives(client_of, **options):
    """Whether a whole request reaches a listener that begins to read only after the client gave up."""
    gave_up, got = threading.Event(), []

    def read_late(listener):
        connection, _ = listener.accept()
        gave_up.wait(5)
        time.sleep(0.1)
        with connection, contextlib.suppress(OSError):
            connection.settimeout(1)
            while piece := connection.recv(65536):
                got.append(piece)

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # most waits in the sender's own buffer
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        reader = threading.Thread(target=read_late, args=(listener,), daemon=True)
        reader.start()
        with pytest.raises(OutcomeUnknown):
            client_of(url(listener), read_timeout=0.3, **options).request("POST", "/v3/x", body={"a": "x" * 100_000})
        gave_up.set()
        reader.join(5)
    return b"".join(got).endswith(b'"}')


@pytest.mark.scenario("S53")
def test_what_was_not_delivered_when_the_caller_gave_up_is_not_delivered_later(client_of):
    assert not arrives(client_of)


@pytest.mark.scenario("S53")
def test_opposite_over_an_ordinary_adapter_it_would_be_delivered_later(client_of):
    assert arrives(client_of, transport=HTTPAdapter())


def test_all_together_a_call_takes_no_longer_than_connecting_to_each_host_and_one_answer(client_of):
    with silent() as first, silent() as second, took(2), pytest.raises(RequestNotSent):
        post(client_of(url(first), backup_hosts=[url(second)], connect_timeout=0.4, read_timeout=9))


def test_a_moment_without_its_offset_would_be_taken_for_local_time_so_aware_ones_are_given():
    client = make_client(Reply(), clock=Clock())
    elsewhere = moment(-1).astimezone(timezone(timedelta(hours=8)))
    with pytest.raises(RequestNotSent):
        post(client.before(elsewhere))
