"""The sandbox as a process: its HTTP server and the thread that sends notifications."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from .emulator import Sandbox

ANSWER_SECONDS = 5
SHORTEST_NAP_SECONDS, LONGEST_NAP_SECONDS = 0.005, 1.0
FIRST_NOTIFICATION_SECONDS = 0.3
SENDERS = 8


class RequestHandler(WSGIRequestHandler):
    """Werkzeug's handler, quiet, and really closing connections that the sandbox breaks."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True

    def send_response(self, code: int, message: str | None = None) -> None:
        # Not the server's own Date: the sandbox may be told to have a wrong clock.
        self.send_response_only(code, message)


class Messenger(threading.Thread):
    """Settle what is due and send what is due, until stopped. A slow shop does not hold up the others."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(name="sandbox-messenger", daemon=True)
        self._sandbox = sandbox
        self._changed = threading.Event()
        self._stopping = False
        sandbox.notifications.sender = post
        sandbox.notifications.first_delay = FIRST_NOTIFICATION_SECONDS
        sandbox.after_change = self._changed.set

    def run(self) -> None:
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="sandbox-sender") as pool:
            while not self._stopping:
                try:
                    nap = self._round(pool)
                except Exception as error:  # a messenger that stops would look like a shop that never hears
                    print(f"sandbox: {error!r}", file=sys.stderr)
                    nap = LONGEST_NAP_SECONDS
                self._changed.wait(min(max(nap, SHORTEST_NAP_SECONDS), LONGEST_NAP_SECONDS))
                self._changed.clear()

    def stop(self) -> None:
        self._stopping = True
        self._changed.set()
        self.join(ANSWER_SECONDS + 1)

    def _round(self, pool: ThreadPoolExecutor) -> float:
        """Do what is due; return after how many seconds there is something to do again."""
        self._sandbox.settle()
        for row in self._sandbox.notifications.claim_due(self._sandbox.clock.now()):
            pool.submit(self._send, row)
        moment = self._sandbox.next_due()
        return LONGEST_NAP_SECONDS if moment is None else moment - self._sandbox.clock.now()

    def _send(self, row: dict[str, Any]) -> None:
        try:
            self._sandbox.notifications.send(row)
        except Exception as error:  # the thread pool would swallow it
            print(f"sandbox: notification {row['notification_id']} failed: {error!r}", file=sys.stderr)


def post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Send one notification over HTTP: no proxies, no redirects, five seconds."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url, data=body, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False)
        return answer.status_code, answer.content


def open_server(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """Bind and listen; port 0 takes a free one."""
    return make_server(host, port, app, threaded=True, request_handler=RequestHandler)
