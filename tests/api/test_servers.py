"""The same view behind real servers: they differ in what they make of lengths and chunks."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.db import connection

from django_wxpay.testing import make_contract

from .conftest import signed

WSGI = """
import json, os
from django.conf import settings
settings.WXPAY = json.loads(os.environ["SHOP_WXPAY"])
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
COMMANDS = {
    "gunicorn": "-m gunicorn shop_wsgi:application --bind 127.0.0.1:{port} --log-level error",
    "waitress": "-m waitress --listen 127.0.0.1:{port} shop_wsgi:application",
    "wsgiref": "-c from\tshop_wsgi\timport\tapplication;from\tdjango.core.servers.basehttp\timport\trun;"
    "run('127.0.0.1',{port},application)",
}
pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=sorted(COMMANDS))
def server(request, wechat, settings, tmp_path, process_environment):
    """A real server in a process of its own: (its name, its port)."""
    (tmp_path / "shop_wsgi.py").write_text(WSGI)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(tmp_path), process_environment["PYTHONPATH"]])
    environment = {**process_environment, "PYTHONPATH": path, "SHOP_WXPAY": json.dumps(settings.WXPAY)}
    arguments = [word.replace("\t", " ") for word in COMMANDS[request.param].format(port=port).split(" ")]
    with subprocess.Popen([sys.executable, *arguments], env=environment, cwd=tmp_path) as process:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, f"{request.param} did not start"
                time.sleep(0.1)
        yield request.param, port
        process.terminate()


def send(port, headers, body, **options):
    web = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"} | headers
        # A server may answer and close before it has read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            web.request("POST", "/wxpay/notify/default/", body, headers, **options)
        answer = web.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        web.close()


def pieces(body, size=1000):
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.scenario("S21")
def test_lengths_and_chunks(server, wechat):
    name, port = server
    pending = make_contract(state="PENDING")
    body = wechat.body(signed(pending))

    plain = send(port, wechat.headers(body), body)
    chunked = send(port, wechat.headers(body), pieces(body), encode_chunked=True)
    nothing = send(port, {}, b"")
    exact = send(port, {}, b"x" * 65536)

    assert plain == (200, {"code": "SUCCESS", "message": "OK"})
    assert chunked[0] == (411 if name == "wsgiref" else 200)
    assert nothing[0] == exact[0] == 401
    pending.refresh_from_db()
    assert pending.state == "SIGNED"


@pytest.mark.scenario("S21")
def test_too_much_is_refused(server):
    name, port = server

    assert send(port, {}, b"x" * 65537)[0] == 413
    if name != "waitress":  # it takes in up to a gigabyte before it asks us
        started = time.monotonic()
        assert send(port, {"Content-Length": "50000000"}, b"x")[0] == 413
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("lengthless", [False, True])
def test_asgi(wechat, lengthless, monkeypatch):
    """Over ASGI the body has been received before we are asked, and HTTP/2 tells no length."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)  # each request has a thread of its own
    pending = make_contract(state="PENDING")
    body = wechat.body(signed(pending))
    assert post_asgi(wechat.headers(body), body, lengthless) == 200
    assert post_asgi({}, b"x" * 70_000, lengthless) == 413


@async_to_sync
async def post_asgi(headers, body, lengthless):
    payload = headers if lengthless else headers | {"Content-Length": str(len(body))}
    scope = {
        "type": "http", "http_version": "2", "method": "POST", "path": "/wxpay/notify/default/", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in payload.items()],
    }  # fmt: skip
    application = ApplicationCommunicator(get_asgi_application(), scope)
    await application.send_input({"type": "http.request", "body": body})
    started, _ = await application.receive_output(10), await application.receive_output(10)
    await application.wait()
    return started["status"]
