"""Errors as they may be kept and logged: a database's message quotes the row in its further lines.

Such a row holds openids and decrypted texts, which belong neither in a log nor on a page.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from django.db import DatabaseError

from ..client.texts import clean

LONGEST = 512


def headline(error: BaseException) -> str:
    """An error in one line: its class and the first line of what it says."""
    return clean(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", LONGEST)


def log(logger: logging.Logger, error: BaseException, message: str, *values: Any) -> None:
    """Log an ERROR with its traceback; where a database is behind it, without what the errors say."""
    if not _quotes_rows(error):
        logger.error(message, *values, exc_info=error)
        return
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error(f"{message} error=%s\n%s", *values, headline(error), places)


def _quotes_rows(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, DatabaseError):
            return True
        error = error.__cause__ or error.__context__
    return False
