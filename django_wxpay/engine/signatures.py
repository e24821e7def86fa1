"""A service that takes what another takes, said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def takes_what(plan: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """For type checkers and editors: what is decorated takes what `plan` takes, and keeps what it returns itself."""

    def same(service: Callable[..., R]) -> Callable[P, Any]:
        return service

    return same
