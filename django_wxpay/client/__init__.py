"""The protocol client of WeChat Pay APIv3: pure Python, no Django, usable from a plain script."""

from .answers import Answer
from .client import Client
from .identity import Identity
from .keyring import KeyRing

__all__ = ["Answer", "Client", "Identity", "KeyRing"]
