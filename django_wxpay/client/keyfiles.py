"""Keys given as their text or as the path of a file, as people keep them. Nothing here quotes what was given."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PATH = re.compile(r"(?:\.{0,2}/|[A-Za-z]:[\\/]|\\\\).*|.*\.[A-Za-z0-9]{1,8}")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{65,}")


class KeyFileUnreadable(ValueError):
    """The file that a setting or parameter names cannot be read; `reason` is the system's word for it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The file that {name} names cannot be read ({reason}).")
        self.reason = reason


def is_path(value: object) -> bool:
    """Say whether a key was given as the path of its file: by its form, never by trying.

    `open` repeats in its errors what it was given, so a key must not get there. A path begins like one ("/", "./",
    "C:\\") or ends with a suffix ("keys/apiclient_key.pem"); the text of a key, however it is written, does neither.
    """
    if not isinstance(value, str):
        return isinstance(value, os.PathLike)
    text = value.strip()
    return "-----" not in text and bool(_PATH.fullmatch(text)) and not _BASE64.fullmatch(text)


def text_of(name: str, value: str | bytes | os.PathLike[str]) -> str | bytes:
    """Return the text of a key: as it was given, or what stands in the file that was named.

    Raises KeyFileUnreadable, or ValueError for what is neither text nor a path; they say the name, not the value.
    """
    if isinstance(value, bytes) or (isinstance(value, str) and not is_path(value)):
        return value
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} must be text or a path, not {type(value).__name__}.")
    try:
        return Path(os.fspath(value).strip()).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
    raise KeyFileUnreadable(name, reason)  # out here: raised above, it would carry the first error along
