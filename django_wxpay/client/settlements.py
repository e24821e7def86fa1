"""Settlements: what was, or will be, paid out. Source: APIv3 manual, "Query settlements", settle/settlements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField, NotFound
from .privacy import Unseen
from .refusals import NO_SETTLEMENT

_PATH = "/v3/global/settle/settlements"
SETTLED = "SETTLED"
UNSETTLE = "UNSETTLE"  # so spelled
PAGE_SIZE = 10
_LARGEST_PAGE = 30
# A listing that goes on for longer has lost its way.
_MOST_PAGES = 10_000


class Settlements(Unseen):
    """The call about settlements; `client.settlements`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def query(
        self,
        *,
        state: str,
        start: date | str | None = None,
        end: date | str | None = None,
        limit: int = PAGE_SIZE,
        offset: int = 0,
        sub_mchid: str = "",
    ) -> Answer:
        """Return one page of settlements: ``data``, ``total_count``, ``limit`` (how many came), ``offset``.

        state: ``SETTLED``, with the China days ``start`` to ``end``, or ``UNSETTLE``, without. ``total_count`` is
        only sure on the first page. sub_mchid: empty asks for the caller itself.
        """
        query: dict[str, str | int] = {"settle_state": fields.choice("state", state, (SETTLED, UNSETTLE))}
        if state == SETTLED:
            first, last = fields.china_day("start", start), fields.china_day("end", end)
            if last < first:
                raise InvalidField("end must not be before start.", field="end")
            query.update(settle_start_date=first, settle_end_date=last)
        elif start or end:
            raise InvalidField("start and end have no meaning for UNSETTLE.", field="start" if start else "end")
        query["limit"] = fields.whole("limit", limit, 1, _LARGEST_PAGE)
        query["offset"] = fields.whole("offset", offset, 0)
        if sub_mchid:
            query.update(self._client.identity.sub_number(sub_mchid))
        return self._client.request("GET", _PATH, query=query, absent=NO_SETTLEMENT)

    def iter_all(
        self,
        *,
        state: str,
        start: date | str | None = None,
        end: date | str | None = None,
        limit: int = PAGE_SIZE,
        sub_mchid: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Yield every settlement as WeChat Pay lists it, page by page; none when it says there is no record."""
        offset, total = 0, None
        for _ in range(_MOST_PAGES):
            try:
                page = self.query(state=state, start=start, end=end, limit=limit, offset=offset, sub_mchid=sub_mchid)
            except NotFound:
                if offset:
                    raise
                return
            data = page.data or {}
            found = [one for one in data.get("data") or () if isinstance(one, dict)]
            yield from found
            if total is None and isinstance(data.get("total_count"), int):
                total = data["total_count"]
            offset += len(found)
            if not found or (total is not None and offset >= total):
                return
