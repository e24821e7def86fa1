"""Real listeners for the tests of the wire: a small WeChat Pay, ports where nobody answers."""

import http.server
import socket
import threading
from contextlib import contextmanager

from .wire import signed


class Server(http.server.ThreadingHTTPServer):
    """A small WeChat Pay on a real port; ``answer(handler)`` may be replaced."""

    daemon_threads = True

    def __init__(self, address="127.0.0.1", port=0):
        self.connections = []
        self.received = []
        self.stop = threading.Event()
        super().__init__((address, port), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, handler):
        handler.reply(200, b'{"ok":1}')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections.append(self.client_address)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.received.append((self.command, self.path, body))
        self.server.answer(self)

    do_GET = do_POST = handle_any

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in (signed(body) | {"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(address="127.0.0.1", port=0):
    server = Server(address, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(client):
    return client.request("POST", "/v3/x", body={"a": 1})
