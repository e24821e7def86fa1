"""An emulator of WeChat Pay APIv3 for development and tests: ``python -m django_wxpay.sandbox``.

A program of its own, free of Django and of the rest of this package. In process::

    from django_wxpay.sandbox import create_app
    from django_wxpay.sandbox.transport import WSGIAdapter

    app = create_app(sender=deliver_to_my_shop)
    session.mount("http://", WSGIAdapter(app))      # a requests.Session
    app.sandbox.contracts.sign(session_id)          # the user agrees on the phone
    app.sandbox.deliver_due()                       # the notification goes out
"""

from .app import create_app
from .emulator import Sandbox
from .engine.answers import ConnectionClosed, LostAnswer, Refused, SandboxConnectionError
from .engine.keys import Keys, shared_keys

__all__ = [
    "ConnectionClosed",
    "Keys",
    "LostAnswer",
    "Refused",
    "Sandbox",
    "SandboxConnectionError",
    "create_app",
    "shared_keys",
]
