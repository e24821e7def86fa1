"""What else happens while a call is under way: a deed of the test's own, in the same thread and process.

So a race is told in the order in which it happens: a query has been answered, the answer is still travelling, and
meanwhile the deed delivers a notification; or a request is still travelling, and meanwhile another worker sends its
own. The call goes on when the deed returns; what the deed raises reaches the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .faults import matches

Deed = Callable[[], object]


@dataclass
class Interlude:
    deed: Deed
    path: str
    method: str
    before: bool
    skip: int


class Interludes:
    def __init__(self) -> None:
        self._waiting: list[Interlude] = []

    def add(self, deed: Deed, path: str = "", *, method: str = "", before: bool = False, skip: int = 0) -> None:
        """Do this once, during the next call that matches, after ``skip`` that do not have it.

        before: while the request is on its way, so nothing is done yet; otherwise while the answer is, so what the
        call saw and did is settled. Faults of that call happen as ordered.
        """
        self._waiting.append(Interlude(deed, path, method.upper(), before, skip))

    def take(self, path: str, method: str) -> tuple[list[Deed], list[Deed]]:
        """Return what is to be done before and after this call's turn, and forget it."""
        mine: list[Interlude] = []
        for one in [one for one in self._waiting if matches(one.path, one.method, path, method)]:
            if one.skip:
                one.skip -= 1
                continue
            self._waiting.remove(one)
            mine.append(one)
        return [one.deed for one in mine if one.before], [one.deed for one in mine if not one.before]
