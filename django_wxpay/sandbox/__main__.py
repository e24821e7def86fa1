"""``python -m django_wxpay.sandbox --host 127.0.0.1 --port 8100 --state DIR``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

from .app import create_app
from .runner import Messenger, open_server


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Prints one line, the base URL, when requests are taken."""
    parser = argparse.ArgumentParser(
        prog="python -m django_wxpay.sandbox", description="An emulator of WeChat Pay APIv3 for one shop."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8100, help="port to listen on; 0 takes a free one")
    parser.add_argument("--state", required=True, metavar="DIR", help="folder that keeps keys and data")
    parser.add_argument("--base-url", help="address shops and browsers know it by (default: host and port)")
    parser.add_argument(
        "--speed", type=_positive, metavar="N", help="divide all delays by N (default 1): 60 makes a minute a second"
    )
    options = parser.parse_args(arguments)

    app = create_app(options.state, speed=options.speed)
    sandbox = app.sandbox  # type: ignore[attr-defined]
    server = open_server(app, options.host, options.port)
    known_host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    sandbox.base_url = (options.base_url or f"http://{known_host}:{server.server_port}").rstrip("/")
    sandbox.write_merchant_file()
    messenger = Messenger(sandbox)
    messenger.start()

    def stop(number: int, frame: Any) -> None:
        # shutdown() waits for the serving loop, which this handler has interrupted.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(sandbox.base_url, flush=True)
    try:
        server.serve_forever()
    finally:
        sandbox.faults.release()
        server.server_close()
        messenger.stop()
        sandbox.close()
    return 0


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
