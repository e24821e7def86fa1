"""Foreign text: hidden where programs show their variables, and made such that every database keeps it."""

from __future__ import annotations

import re
from typing import Any

DEEPEST = 32  # messages of the manual have four levels
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL's text takes no NUL, UTF-8 no half of a character


class Hidden(str):
    """Text of a message: it is what it says, but its ``repr`` does not show it.

    Error trackers and error pages write down every variable on the way to an error, by its ``repr``. A database
    takes it as any text, so what is on its way there is hidden, too.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def hide(value: Any, deepest: int = DEEPEST) -> Any:
    """Return a value of JSON with every text in it `Hidden`; what is nested deeper than that becomes None."""
    if isinstance(value, str):
        return Hidden(value)
    if isinstance(value, dict):
        return {name: hide(inner, deepest - 1) for name, inner in value.items()} if deepest else None
    if isinstance(value, list):
        return [hide(inner, deepest - 1) for inner in value] if deepest else None
    return value


def is_storable(text: str) -> bool:
    """Say whether every database can keep a text as it is."""
    return _UNSTORABLE.search(text) is None


def clean(text: str, longest: int | None = None) -> str:
    """Return a text as every database can keep it, cut to so many characters; a `Hidden` one stays hidden.

    For what is only shown. What is compared must be `is_storable`: another text would be another number.
    """
    kept = _UNSTORABLE.sub(REPLACEMENT, text[:longest])
    return Hidden(kept) if isinstance(text, Hidden) else kept
