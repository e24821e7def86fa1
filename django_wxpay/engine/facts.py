"""The one way in for facts: what every `apply_…` does alike.

A verified message becomes a `Fact`. Each subject's `apply_…` finds and locks its row, lists what the message must
agree with, and hands over to `move`, which is the only writer of states.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from datetime import timezone as offsets
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from ..client.texts import Hidden, clean, hide, is_storable
from ..models import Discrepancy, Outcome, Source
from . import discrepancies, polling, transitions

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

    from ..client.answers import Answer

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)
LARGEST = 10**15  # minor units; sums of a few of them still fit their columns
LONGEST_LIST = 16_384  # characters as JSON
YEARS = range(1970, 9999)


@dataclass(frozen=True)
class Fact:
    """One verified message: its content, its text, where it came from, and when we began to ask (queries).

    mchid: the number that signs for it, ours at WeChat Pay.

    Every text in it is `Hidden`: what is being applied stands in the variables of whatever breaks meanwhile.
    """

    mchid: str
    data: dict[str, Any] = field(repr=False)
    source: Source
    text: str = field(default="", repr=False)
    begun_at: datetime | None = None
    event_type: str = ""
    user: User | None = None
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", hide(self.data))
        object.__setattr__(self, "text", Hidden(self.text))

    @classmethod
    def from_answer(cls, row: Any, answer: Answer, *, source: Source = Source.ANSWER, **known: Any) -> Fact:
        return cls(row.mchid, answer.data or {}, source, text=answer.text, **known)

    def get(self, path: str) -> Any:
        """The value at a dotted path, None when absent."""
        value: Any = self.data
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def words(self, path: str, longest: int) -> str:
        """A text that is only shown, cleaned and cut to what its column holds; "" when it is absent or no text."""
        value = self.get(path)
        return clean(value, longest) if isinstance(value, str) else ""

    def number(self, path: str) -> str | None:
        """A number that WeChat Pay or a merchant gave out, to the byte; None when it is absent or no such text."""
        value = self.get(path)
        return value if isinstance(value, str) and value and is_storable(value) else None

    def whole(self, path: str) -> int | None:
        """An integer that a column can hold, None when absent or anything else."""
        value = self.get(path)
        return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST else None

    def several(self, *paths: str) -> list[Any] | None:
        """The list of objects at the first of these paths that has one, cleaned to be kept; None when there is none.

        One object counts as a list of it: the manual's pages and samples differ. Too long a list is not kept.
        """
        for path in paths:
            value = self.get(path)
            found = [value] if isinstance(value, dict) else value
            if isinstance(found, list) and found:
                kept = _cleaned(found)
                return kept if len(json.dumps(kept)) <= LONGEST_LIST else None
        return None

    def time(self, path: str) -> datetime | None:
        """An RFC 3339 time as an aware datetime in UTC, None when absent, unreadable or out of databases' reach."""
        value = self.get(path)
        try:
            moment = parse_datetime(value) if isinstance(value, str) else None
            if moment is None or timezone.is_naive(moment):
                return None
            moment = moment.astimezone(offsets.utc)
        except (ValueError, OverflowError):
            return None
        return moment if moment.year in YEARS else None


def _cleaned(value: Any) -> Any:
    """A value of JSON as every database can keep it."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


class Applied(NamedTuple):
    """What became of a fact."""

    outcome: Outcome
    row: Any = None
    why: str = ""


class Known(NamedTuple):
    """A value that a message must agree with. `always`: the message is refused when it lacks it.

    longest: for a number that we may not know yet and learn from the message: what its column holds.
    """

    path: str
    ours: Any
    always: bool = False
    longest: int = 0


def number_of(row: Any, name: str, *, path: str = "", always: bool = False) -> Known:
    """One of the row's numbers: the message must agree with it, or name one that its column can hold."""
    return Known(path or name, hide(getattr(row, name)), always, row._meta.get_field(name).max_length)


def named(rows: QuerySet[M], **number: Any) -> M | None:
    """The row of that number, byte for byte; None when the message has no number. One statement, or none."""
    [(name, value)] = number.items()
    if not isinstance(value, str) or not value or not is_storable(value):
        return None
    return next((row for row in rows.filter(**number) if getattr(row, name) == value), None)


def identity(row: Any, *, appid: bool = True) -> list[Known]:
    """Who the message must speak of: every merchant number, and the appids where it has them."""
    if row.sub_mchid:
        known = [Known("sp_mchid", row.mchid, True), Known("sub_mchid", row.sub_mchid, True)]
        ids = [Known("sp_appid", row.appid), Known("sub_appid", row.sub_appid)]
    else:
        known = [Known("mchid", row.mchid, True)]
        ids = [Known("appid", row.appid)]
    return known + ids if appid else known


def plain_identity(row: Any) -> list[Known]:
    """Who a message of PayScore must speak of: who signs is its `mchid` there, and the sub-merchant stands beside."""
    known = [Known("mchid", row.mchid, True), Known("appid", row.appid)]
    if row.sub_mchid:
        known += [Known("sub_mchid", row.sub_mchid, True), Known("sub_appid", row.sub_appid)]
    return known


def openid_appid(row: Any, fact: Fact) -> str:
    """The appid that the message's `openid` is under. One user has another openid under each.

    WeChat Pay's samples of institutions name `sp_appid` alone, though the openid that was asked for was under
    `sub_appid`.
    """
    return (fact.words("sub_appid", 32) if row.sub_mchid else "") or row.appid


def differences(fact: Fact, known: Iterable[Known]) -> list[tuple[str, Any, Any]]:
    """The values that differ, byte for byte: [(path, ours, theirs)].

    What we do not know yet cannot differ; but a number that no column of ours can hold is none that we may learn.
    """
    found = []
    for path, ours, always, longest in known:
        theirs = fact.get(path)
        if ours in (None, ""):
            if longest and theirs not in (None, "") and not _is_number(theirs, longest):
                found.append((path, f"a text of {longest} characters at most", theirs))
        elif theirs is None:
            if always:
                found.append((path, hide(ours), None))
        elif _kind(theirs) is not _kind(ours) or theirs != ours:
            found.append((path, hide(ours), theirs))
    return found


def _is_number(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and is_storable(value)


def _kind(value: Any) -> type:
    return str if isinstance(value, str) else type(value)


def refuse(row: Any, fact: Fact, differing: list[tuple[str, Any, Any]]) -> Applied:
    """The message does not fit our row: nothing moves, a person is told once."""
    ours = "\n".join(_shown(path, value) for path, value, _ in differing)
    theirs = "\n".join(_shown(path, value) for path, _, value in differing)
    discrepancies.record(Discrepancy.Kind.MISMATCH, row, ours=ours, theirs=theirs)
    names = ", ".join(path for path, _, _ in differing)
    logger.error("message does not fit %s=%s: %s", row.subject, row.number, names)
    _note_query(row, fact, bears_out=False)
    return Applied(Outcome.REFUSED, row, f"differs in {names}")


def _shown(path: str, value: Any) -> str:
    """A value as a person compares it; of an openid only its ends, of a list or an object only that it is one."""
    if isinstance(value, (dict, list)):
        return f"{path}: ({'a list' if isinstance(value, list) else 'an object'})"
    if path.endswith("openid") and isinstance(value, str):
        value = f"{value[:3]}…{value[-3:]}" if len(value) > 9 else f"{value[:1]}…"
    return f"{path}: {str(value)!r}" if isinstance(value, str) else f"{path}: {value!r}"


def move(row: Any, state: str, fact: Fact, changes: dict[str, Any], note: str = "") -> Applied:
    """Take a locked row to `state`, if its story allows it, and learn `changes`; says what happened.

    A message that contradicts a final state is not believed by itself: the row becomes due, and only a query begun
    after that message may overrule it or bear it out; when it overrules, a discrepancy is written too.
    """
    if state not in row.State.values or (fact.data and state in row.OURS):
        discrepancies.record(Discrepancy.Kind.UNKNOWN_STATE, row, ours=row.state, theirs=state)
        _note_query(row, fact, bears_out=False)
        return Applied(Outcome.REFUSED, row, f"unknown state {state[:64]!r}")
    if state == row.state:
        _learn(row, fact, changes)
        return Applied(Outcome.SAME, row)
    if state in row.MOVES[row.state]:
        _write(row, state, fact, changes, note)
        return Applied(Outcome.APPLIED, row)
    if not row.is_final or state in row.EARLIER.get(row.state, ()):
        _learn(row, fact, changes, bears_out=_bears_out(row, state))
        return Applied(Outcome.STALE, row, f"we know {row.state} already")
    begun_at = fact.begun_at if fact.source == Source.QUERY else None
    if begun_at is not None and begun_at > row.state_at and polling.settles(row, begun_at):
        discrepancies.record(Discrepancy.Kind.OVERRULED, row, ours=row.state, theirs=state)
        logger.error("final state overruled %s=%s from=%s to=%s", row.subject, row.number, row.state, state)
        _write(row, state, fact, changes, note)
        return Applied(Outcome.APPLIED, row, "overruled")
    polling.recheck(row, contradicted=bool(fact.data))
    return Applied(Outcome.STALE, row, f"contradicts {row.state}: WeChat Pay will be asked")


def _bears_out(row: Any, state: str) -> bool:
    """Whether an earlier part of a row's story can be the last word on its end: of a refusal it is the usual one."""
    return not row.is_final or state in row.FINAL or (row.state in row.OURS and row.contradicted_at is None)


def _write(row: Any, state: str, fact: Fact, changes: dict[str, Any], note: str) -> None:
    old, now = row.state, timezone.now()
    values = {name: value for name, value in changes.items() if value not in (None, "")}
    values |= {"state": state, "state_at": now} | polling.schedule(row, state, fact.source, fact.begun_at)
    if fact.source == Source.QUERY:
        values["synced_at"] = _synced_at(row, fact)
    if state in row.FINAL:
        values |= row.AT_END
    elif old in row.FINAL:
        values |= dict.fromkeys(row.AT_END, now)  # open again: what ends it must see it again
    moved = type(row).objects.filter(pk=row.pk, state=old).update(**values)
    if not moved:  # SQLite has no row locks: whoever came first has told the truth already, this message comes again
        raise LostRace(f"{row.subject} {row.number} left {old} meanwhile")
    for name, value in values.items():
        setattr(row, name, value)
    transitions.record(row, old, source=fact.source, evidence=fact.text, note=note or fact.note, user=fact.user)
    logger.info("%s moved number=%s from=%s to=%s source=%s", row.subject, row.number, old, state, fact.source)


def _learn(row: Any, fact: Fact, changes: dict[str, Any], bears_out: bool = True) -> None:
    """Fill what we did not know, and note that we asked; no statement when there is nothing to write.

    bears_out: whether an answer like this can be the last word on an end that is in doubt.
    """
    values = {
        name: value for name, value in changes.items()
        if value not in (None, "") and getattr(row, name) in (None, "")
    }  # fmt: skip
    if fact.source == Source.QUERY:
        values["synced_at"] = _synced_at(row, fact)
    _note_query(row, fact, bears_out, **values)


def _synced_at(row: Any, fact: Fact) -> datetime | None:
    """What a query confirms, it confirms as of when it was begun."""
    return max(filter(None, (row.synced_at, fact.begun_at)), default=None)


def _note_query(row: Any, fact: Fact, bears_out: bool, **values: Any) -> None:
    """Whatever a query said, the next one has its usual distance; what ends no doubt is asked again soon."""
    asked = fact.source == Source.QUERY
    still_in_doubt = asked and not bears_out and row.recheck_after is not None and fact.begun_at > row.recheck_after
    if asked and not still_in_doubt:
        values |= polling.schedule(row, row.state, fact.source, fact.begun_at)
    if values:
        type(row).objects.filter(pk=row.pk).update(**values)
        for name, value in values.items():
            setattr(row, name, value)
    if still_in_doubt:
        polling.put_off(row)


class LostRace(RuntimeError):
    """The row moved between its lock and its update."""
