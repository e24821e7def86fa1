"""What the doctor says: one finding for each thing that was looked at."""

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOTE = "note"


class Finding(NamedTuple):
    """One thing that was looked at, and what to do about it. `stops`: without it, nothing else can be looked at."""

    verdict: Verdict
    text: str
    advice: str = ""
    stops: bool = False


def ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def note(text: str, advice: str) -> Finding:
    return Finding(Verdict.NOTE, text, advice)


def warning(text: str, advice: str) -> Finding:
    return Finding(Verdict.WARNING, text, advice)


def failed(text: str, advice: str, *, stops: bool = False) -> Finding:
    return Finding(Verdict.FAILED, text, advice, stops)
