"""Refunds of the mainland's payments. Source: APIv3 manual, "Apply for a refund", /v3/refund/domestic/refunds."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refunds import paid_order
from .refusals import NO_REFUND

_ROOT = "/v3/refund/domestic/refunds"
FUNDS_ACCOUNTS = ("AVAILABLE",)


class DomesticRefunds(Unseen):
    """The calls about the mainland's refunds; `client.domestic_refunds`. What individual payees got has its own."""

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
        funds_account: str = "",
        sub_mchid: str = "",
    ) -> Answer:
        """Ask for a refund of part or all of a payment.

        amount: of this refund, amount_total: of the whole payment, both in fen. Exactly one of ``transaction_id`` and
        ``out_trade_no``: of a PayScore order the former, for the latter is a number that WeChat Pay made up. The answer
        says that it was accepted, not that it was paid out. The same ``out_refund_no`` with the same fields never
        refunds twice.
        """
        refund, total = fields.amount("amount", amount), fields.amount("amount_total", amount_total)
        if refund > total:
            raise InvalidField("amount is more than amount_total, the whole payment.", field="amount")
        body: dict[str, Any] = {
            **self._client.identity.sub_number(sub_mchid),
            **paid_order(out_trade_no, transaction_id),
            "out_refund_no": fields.out_refund_no("out_refund_no", out_refund_no),
            "amount": {"refund": refund, "total": total, "currency": fields.choice("currency", currency, ("CNY",))},
            "notify_url": fields.url("notify_url", notify_url),
        }
        if fields.text("reason", reason, 80, required=False):
            body["reason"] = reason
        if fields.choice("funds_account", funds_account, FUNDS_ACCOUNTS, required=False):
            body["funds_account"] = funds_account
        return self._client.request("POST", _ROOT, body=body)

    def query(self, *, out_refund_no: str, sub_mchid: str = "") -> Answer:
        """Return one refund; NotFound when WeChat Pay never took it."""
        number = quote(fields.out_refund_no("out_refund_no", out_refund_no), safe="")
        query = self._client.identity.sub_number(sub_mchid)
        return self._client.request("GET", f"{_ROOT}/{number}", query=query, absent=NO_REFUND)
