"""What must not be seen by accident: in logs, error pages, error trackers, stored error texts.

What a call works with (keys, bodies, headers, payment codes) is forgotten by the frames of an error that leaves it,
`unseen`; what WeChat Pay repeats of it in an error's text is `masked`. Texts of messages are `texts.Hidden`.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

HIDDEN = "…"
# Openids have 28 characters, in WeChat Pay's samples and in practice; their first is an o.
_OPENID = re.compile(r"(?<![0-9A-Za-z_-])o[0-9A-Za-z_-]{27}(?![0-9A-Za-z_-])")
# Fields of a request that no error text may repeat; every ``…openid`` is one, too.
_PRIVATE = frozenset(("auth_code", "user_display_name"))
# What an error's detail may hold: the name of the field and what is wrong with it; what was signed, without the body.
_DETAIL = frozenset(
    "field issue location detail sign_information method url sign_message_length truncated_sign_message".split()
)
# A shorter value would be found by chance inside of other words.
_SHORTEST = 4


def unseen(function: Callable[P, R]) -> Callable[P, R]:
    """Let no error that leaves this function carry along what its frames, and those below, held in their variables.

    Files and lines stay. Whoever calls it still sees its own variables.
    """
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def walk(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                yield from function(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                forget(error)
                raise

        return walk

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            forget(error)
            raise

    return call


class Unseen:
    """A base whose subclasses' public methods are all `unseen`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, member in list(vars(cls).items()):
            if not name.startswith("_") and inspect.isfunction(member):
                setattr(cls, name, unseen(member))


def forget(error: BaseException) -> None:
    """Clear the variables of all frames that an error and those behind it went through, and openids in their texts."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        one.args = tuple(_masked_argument(arg) for arg in one.args)
        todo += [one.__cause__, one.__context__, *(arg for arg in one.args if isinstance(arg, BaseException))]


def _masked_argument(arg: object) -> object:
    if isinstance(arg, bytes):  # a UnicodeDecodeError repeats all that could not be decoded
        return HIDDEN
    return masked(arg) if isinstance(arg, str) else arg


def masked(text: str, private: Iterable[str] = ()) -> str:
    """Return a text without what looks like an openid, and without these values."""
    for value in sorted(private, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _OPENID.sub(HIDDEN, text)


def private_values(sent: object) -> set[str]:
    """Return the texts in what is sent that name or identify the payer: openids, payment codes, names."""
    if isinstance(sent, Mapping):
        found = set()
        for name, value in sent.items():
            if isinstance(value, str):
                if len(value) >= _SHORTEST and (name in _PRIVATE or name.endswith("openid")):
                    found.add(value)
            else:
                found |= private_values(value)
        return found
    if isinstance(sent, (list, tuple)):
        return set().union(*map(private_values, sent))
    return set()


def masked_detail(detail: Any, private: Iterable[str] = ()) -> Any:
    """Return of an error's ``detail`` what says where the mistake is, without what repeats the request."""
    if isinstance(detail, dict):
        kept = {name: masked_detail(value, private) for name, value in detail.items() if name in _DETAIL}
        if isinstance(signed := kept.get("truncated_sign_message"), str):
            kept["truncated_sign_message"] = "\n".join(signed.split("\n")[:4])  # the fifth line is the body
        return kept
    return masked(detail, private) if isinstance(detail, str) else detail
