"""Refunds of any global payment. Source: APIv3 manual, "Apply for a refund", /v3/global/refunds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refusals import NO_REFUND

_ROOT = "/v3/global/refunds"
SOURCES = ("REFUND_SOURCE_UNSETTLED_FUNDS", "REFUND_SOURCE_RECHARGE_FUNDS")
PAGE_SIZE = 20
# 50 refunds of an order are the most there can be; a listing that goes on has lost its way.
_MOST_PAGES = 50


class Refunds(Unseen):
    """The calls about refunds; `client.refunds`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        out_refund_no: str,
        amount: int,
        amount_total: int,
        currency: str,
        notify_url: str,
        transaction_id: str = "",
        out_trade_no: str = "",
        reason: str = "",
        source: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Ask for a refund of part or all of an order.

        amount: of this refund, amount_total: of the whole order, both in minor units. Exactly one of
        ``transaction_id`` and ``out_trade_no``. The answer says that it was accepted, not that it was paid
        out. The same ``out_refund_no`` with the same fields never refunds twice.
        """
        identity = self._client.identity
        refund, total = fields.amount("amount", amount), fields.amount("amount_total", amount_total)
        if refund > total:
            raise InvalidField("amount is more than amount_total, the whole order.", field="amount")
        body: dict[str, Any] = {
            **identity.numbers(sub_mchid=sub_mchid),
            **identity.appids(sub_appid=sub_appid),
            **paid_order(out_trade_no, transaction_id),
            "out_refund_no": fields.out_refund_no("out_refund_no", out_refund_no),
            "amount": {"refund": refund, "total": total, "currency": fields.currency("currency", currency)},
            "notify_url": fields.url("notify_url", notify_url),
        }
        if fields.text("reason", reason, 80, required=False):
            body["reason"] = reason
        if fields.choice("source", source, SOURCES, required=False):
            body["source"] = source
        return self._client.request("POST", _ROOT, body=body)

    def query(self, *, out_refund_no: str = "", refund_id: str = "", sub_mchid: str = "") -> Answer:
        """Return one refund by one of its two numbers; NotFound when there is none."""
        name, number = fields.one_of(out_refund_no=out_refund_no, refund_id=refund_id)
        if name == "out_refund_no":
            path = f"{_ROOT}/out-refund-no/{quote(fields.out_refund_no(name, number), safe='')}"
        else:
            path = f"{_ROOT}/id/{fields.identifier(name, number)}"
        query = self._client.identity.numbers(sub_mchid=sub_mchid)
        return self._client.request("GET", path, query=query, absent=NO_REFUND)

    def query_all(
        self,
        *,
        out_trade_no: str = "",
        transaction_id: str = "",
        offset: int = 0,
        count: int = PAGE_SIZE,
        sub_mchid: str = "",
    ) -> Answer:
        """Return one page of an order's refunds: ``data``, ``total_num``, ``current_total_num``.

        NotFound when there is none; that there is no such order is an APIError.
        """
        query: dict[str, str | int] = {
            **paid_order(out_trade_no, transaction_id),
            "offset": fields.whole("offset", offset, 0),
            "count": fields.whole("count", count, 1, PAGE_SIZE),
            **self._client.identity.numbers(sub_mchid=sub_mchid),
        }
        return self._client.request("GET", _ROOT, query=query, absent=NO_REFUND)

    def iter_all(
        self, *, out_trade_no: str = "", transaction_id: str = "", sub_mchid: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Yield every refund of an order as WeChat Pay lists it, page by page."""
        offset = 0
        for _ in range(_MOST_PAGES):
            page = self.query_all(
                out_trade_no=out_trade_no, transaction_id=transaction_id, offset=offset, sub_mchid=sub_mchid
            )
            data = page.data or {}
            refunds = [refund for refund in data.get("data") or () if isinstance(refund, dict)]
            yield from refunds
            offset += len(refunds)
            total = data.get("total_num")
            if not refunds or (isinstance(total, int) and offset >= total):
                return


def paid_order(out_trade_no: str, transaction_id: str) -> dict[str, str]:
    """Return the one number that names the order. InvalidField unless it is exactly one."""
    name, number = fields.one_of(out_trade_no=out_trade_no, transaction_id=transaction_id)
    check = fields.out_trade_no if name == "out_trade_no" else fields.identifier
    return {name: check(name, number)}
