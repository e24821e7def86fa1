"""System checks: every mistake in the settings has an id, a reason and a way to mend it.

Registered when the app is ready. `messages.TABLE` holds all ids; `docs/reference/checks.md` explains each.
"""

from . import addresses, databases, merchants, network, surroundings  # noqa: F401  (importing registers them)
from .messages import TABLE

__all__ = ["TABLE"]
