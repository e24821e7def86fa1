"""Real sockets: hosts that are down, connections that are closed, answers that break off, forks."""

import base64
import os
import re
import socket
import ssl
import threading

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from requests.exceptions import ProxyError, SSLError
from urllib3 import exceptions as wire

from django_wxpay.client import connections, transport
from django_wxpay.client.errors import OutcomeUnknown, RequestNotSent

from .sockets import closed_port, post, serving
from .wire import Reply, key, make_client

# -- hosts


@pytest.mark.scenario("S35")
def test_when_nothing_listens_at_the_main_host_the_backup_gets_the_same_body_once(server, client_of):
    client = client_of(f"http://127.0.0.1:{closed_port()}", backup_hosts=[server.url])
    assert post(client).data == {"ok": 1}
    assert server.received == [("POST", "/v3/x", b'{"a":1}')]


@pytest.mark.scenario("S35")
def test_when_no_host_can_be_connected_to_nothing_was_sent(client_of):
    client = client_of(f"http://127.0.0.1:{closed_port()}", backup_hosts=[f"http://127.0.0.1:{closed_port()}"])
    with pytest.raises(RequestNotSent, match="nothing was sent"):
        post(client)


@pytest.mark.scenario("S35")
def test_a_host_name_that_does_not_resolve_is_not_connected_to(client_of):
    with pytest.raises(RequestNotSent):
        post(client_of("https://no-such-host.invalid"))


@pytest.mark.scenario("S35")
def test_after_a_request_may_have_been_read_no_backup_is_tried(server, client_of):
    def hang_up(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    server.answer = hang_up
    with serving() as backup:
        with pytest.raises(OutcomeUnknown):
            post(client_of(server.url, backup_hosts=[backup.url]))
        assert len(server.received) == 1 and backup.received == []


@pytest.mark.scenario("S35")
def test_a_connect_timeout_goes_to_the_backup_and_a_read_timeout_does_not():
    client = make_client(requests.ConnectTimeout(), Reply(200, {}), host="https://a", backup_hosts=["https://b"])
    post(client)
    assert [request.url for request in client.wire.requests] == ["https://a/v3/x", "https://b/v3/x"]
    client = make_client(requests.ReadTimeout(), host="https://a", backup_hosts=["https://b"])
    with pytest.raises(OutcomeUnknown):
        post(client)
    assert len(client.wire.requests) == 1


def within(kind, reason):
    """An error as requests raises it, around what urllib3 found."""
    return kind(wire.MaxRetryError(None, "/", reason))


REFUSED = wire.NewConnectionError(None, "refused")
TUNNEL = OSError("Tunnel connection failed: 407")


@pytest.mark.parametrize(
    ("error", "never"),
    [
        (requests.ConnectTimeout(), True),
        (within(requests.ConnectionError, REFUSED), True),
        (requests.ConnectionError(ConnectionRefusedError(111, "refused")), True),
        (requests.ConnectionError(wire.ClosedPoolError(None, "closed")), True),
        (within(SSLError, wire.SSLError(ssl.SSLCertVerificationError())), True),
        (within(ProxyError, wire.ProxyError("", REFUSED)), True),
        (within(ProxyError, wire.ProxyError("", TUNNEL)), True),
        (within(ProxyError, wire.ProxyError("", OSError("reset"))), False),
        (within(SSLError, wire.SSLError(ssl.SSLError("eof"))), False),
        (requests.ConnectionError(wire.ProtocolError("aborted", ConnectionResetError())), False),
        (requests.ConnectionError(), False),
        (requests.ReadTimeout(), False),
    ],
)
def test_only_failures_of_connecting_prove_that_nothing_was_sent(error, never):
    assert transport.never_sent(error) is never


@pytest.mark.scenario("S32")
@pytest.mark.parametrize(
    "target", ["/v3/中?a=中 b", "/v3/a%2fb?c=%7e~", "/v3/a b|*@'\"", "/v3/x?a=/&b=?", "/v3/../v3/x"]
)
def test_the_target_that_arrives_is_the_one_that_was_signed(server, client_of, target):
    checked = []

    def check(handler):
        parts = dict(re.findall(r'(\w+)="([^"]*)"', handler.headers["Authorization"]))
        message = f"POST\n{handler.path}\n{parts['timestamp']}\n{parts['nonce_str']}\n".encode() + b'{"a":1}\n'
        signature = base64.b64decode(parts["signature"])
        key("merchant").public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        checked.append(handler.path)
        handler.reply(200, b"{}")

    server.answer = check
    client_of(server.url).request("POST", target, body={"a": 1})
    assert len(checked) == 1


# -- connections


def test_calls_share_one_connection(server, client_of):
    client = client_of(server.url)
    for _ in range(3):
        post(client)
    assert len(server.connections) == 1


def test_a_connection_the_server_closed_meanwhile_is_replaced_without_a_word(server, client_of):
    gone = threading.Event()

    def once_then_close(handler):
        handler.reply(200, b"{}")
        handler.close_connection = True  # without saying so in a header
        handler.connection.shutdown(socket.SHUT_RDWR)
        gone.set()

    server.answer = once_then_close
    client = client_of(server.url)
    for _ in range(2):
        gone.clear()
        assert post(client).status == 200
        assert gone.wait(2)
    assert len(server.connections) == 2


def test_a_connection_that_slept_long_is_not_trusted_with_a_write(server, client_of, monkeypatch):
    client = client_of(server.url)
    post(client)
    monkeypatch.setattr(transport, "IDLE_SECONDS", -1)
    post(client)
    assert len(server.connections) == 2


def test_a_closed_client_opens_its_connections_again(server, client_of):
    client = client_of(server.url)
    post(client)
    client.close()
    post(client)
    assert len(server.connections) == 2


def test_threads_may_share_a_client(server, client_of):
    client = client_of(server.url)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(client).data)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"ok": 1}] * 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_share_its_parents_connection(server, client_of):
    client = client_of(server.url)
    post(client)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if post(client).data == {"ok": 1} else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    post(client)
    assert len(server.connections) == 2
    assert len(server.received) == 3


def test_proxies_and_passwords_of_the_environment_are_not_used(server, client_of, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    assert post(client_of(server.url)).status == 200


def test_a_proxy_of_the_settings_is_used(server, client_of):
    client = client_of("http://wechat.invalid", proxies={"http": server.url})
    assert post(client).status == 200
    assert server.received[0][1] == "http://wechat.invalid/v3/x"


def test_a_proxy_that_is_down_means_nothing_was_sent(client_of):
    with pytest.raises(RequestNotSent):
        post(client_of("https://wechat.invalid", proxies={"https": f"http://127.0.0.1:{closed_port()}"}))


def test_cookies_are_neither_kept_nor_sent(server, client_of):
    seen = []

    def answer(handler):
        seen.append(handler.headers.get("Cookie"))
        handler.reply(200, b"{}", **{"Set-Cookie": "a=b; Path=/"})

    server.answer = answer
    client = client_of(server.url)
    post(client)
    post(client)
    assert seen == [None, None]


# -- answers that go wrong


@pytest.mark.scenario("S28")
def test_an_answer_that_never_comes_is_unknown(server, client_of):
    release = threading.Event()
    server.answer = lambda handler: release.wait(5)
    with pytest.raises(OutcomeUnknown):
        post(client_of(server.url, read_timeout=0.2))
    release.set()


@pytest.mark.scenario("S28")
def test_an_answer_that_breaks_off_is_unknown(server, client_of):
    def cut(handler):
        handler.reply(200, b'{"ok"', **{"Content-Length": "100"})
        handler.close_connection = True

    server.answer = cut
    with pytest.raises(OutcomeUnknown, match="broke off"):
        post(client_of(server.url))


@pytest.mark.scenario("S28")
def test_an_answer_that_drips_is_cut_off_in_time(server, client_of):
    stop = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                break

    server.answer = drip
    with pytest.raises(OutcomeUnknown, match="too long"):
        post(client_of(server.url, read_timeout=0.4))
    stop.set()


@pytest.mark.scenario("S28")
def test_an_endless_answer_is_cut_off_by_its_size(server, client_of):
    def pour(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(b" " * 65536)
        except OSError:
            pass
        handler.close_connection = True

    server.answer = pour
    with pytest.raises(OutcomeUnknown, match="more than"):
        post(client_of(server.url))


@pytest.mark.scenario("S28")
def test_a_redirect_is_not_followed(server, client_of):
    with serving() as elsewhere:
        server.answer = lambda handler: handler.reply(307, b"", Location=elsewhere.url)
        with pytest.raises(OutcomeUnknown):
            post(client_of(server.url))
        assert elsewhere.received == []


# -- TLS


def trusting(tls_files):
    return connections.PooledAdapter(ssl.create_default_context(cafile=tls_files / "cert.pem"))


def test_https_works_over_one_connection_with_the_servers_certificate_checked(tls_server, tls_files, client_of):
    client = client_of(f"https://localhost:{tls_server.server_port}", transport=trusting(tls_files))
    post(client)
    post(client)
    assert len(tls_server.received) == 2


def test_a_bundle_of_the_shops_own_is_trusted_instead_of_the_usual_authorities(tls_server, tls_files, client_of):
    url = f"https://localhost:{tls_server.server_port}"
    assert post(client_of(url, ca_bundle=str(tls_files / "cert.pem"))).status == 200
    with pytest.raises(RequestNotSent):
        post(client_of(url))


@pytest.mark.parametrize("name", ["nowhere.pem", "key.pem"])
def test_a_bundle_that_cannot_be_used_is_told_when_the_client_is_made(tls_files, client_of, name):
    with pytest.raises(ValueError, match="CA bundle") as caught:
        client_of("https://localhost", ca_bundle=tls_files / name)
    assert str(tls_files) not in str(caught.value)


def test_a_server_certificate_nobody_vouches_for_is_refused_before_sending(tls_server, client_of):
    with pytest.raises(RequestNotSent):
        post(client_of(f"https://localhost:{tls_server.server_port}"))
    assert tls_server.received == []


def test_a_server_certificate_for_another_name_is_refused_before_sending(tls_server, tls_files, client_of):
    with pytest.raises(RequestNotSent):
        post(client_of(f"https://127.0.0.1:{tls_server.server_port}", transport=trusting(tls_files)))
    assert tls_server.received == []
