"""Refunds of what individual payees got. Source: APIv3 manual, "Payments to individuals", /v3/ecommerce/refunds."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refusals import NO_REFUND

_ROOT = "/v3/ecommerce/refunds"
FUNDS_ACCOUNTS = ("AVAILABLE", "UNSETTLED", "PREPAID")


class EcommerceRefunds(Unseen):
    """The calls about refunds of combined orders; `client.ecommerce_refunds`. Each is of one sub-order."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        out_refund_no: str,
        individual_auth_id: str,
        combine_transaction_id: str,
        transaction_id: str,
        amount: int,
        amount_total: int,
        currency: str,
        notify_url: str,
        out_trade_no: str = "",
        reason: str = "",
        funds_account: str = "AVAILABLE",
    ) -> Answer:
        """Ask for a refund of part or all of a sub-order.

        individual_auth_id: of the sub-order, as it was sent. combine_transaction_id, transaction_id: WeChat Pay's
        numbers of the whole payment and of the sub-order. amount: of this refund, amount_total: of the sub-order, both
        in fen. funds_account: where the money is taken from: AVAILABLE, UNSETTLED or PREPAID. The answer has no status:
        it was accepted. The same ``out_refund_no`` with the same fields never refunds twice.
        """
        refund, total = fields.amount("amount", amount), fields.amount("amount_total", amount_total)
        if refund > total:
            raise InvalidField("amount is more than amount_total, the whole sub-order.", field="amount")
        body: dict[str, Any] = {
            "individual_auth_id": fields.identifier("individual_auth_id", individual_auth_id),
            "sp_appid": fields.appid("appid", self._client.identity.appid),
            "combine_transaction_id": fields.identifier("combine_transaction_id", combine_transaction_id),
            "transaction_id": fields.identifier("transaction_id", transaction_id),
            "out_refund_no": fields.out_refund_no("out_refund_no", out_refund_no),
            "amount": {"refund": refund, "total": total, "currency": fields.choice("currency", currency, ("CNY",))},
            "notify_url": fields.url("notify_url", notify_url),
            "funds_account": fields.choice("funds_account", funds_account, FUNDS_ACCOUNTS),
        }
        if fields.out_trade_no("out_trade_no", out_trade_no, required=False):
            body["out_trade_no"] = out_trade_no
        if fields.text("reason", reason, 80, required=False):
            body["reason"] = reason
        return self._client.request("POST", f"{_ROOT}/apply", body=body)

    def query(self, *, individual_auth_id: str, out_refund_no: str = "", refund_id: str = "") -> Answer:
        """Return one refund by our number or by WeChat Pay's; NotFound when it was never taken."""
        name, number = fields.one_of(out_refund_no=out_refund_no, refund_id=refund_id)
        if name == "out_refund_no":
            below = f"out-refund-no/{quote(fields.out_refund_no(name, number), safe='')}"
        else:
            below = f"id/{quote(fields.identifier(name, number), safe='')}"
        query = {"individual_auth_id": fields.identifier("individual_auth_id", individual_auth_id)}
        return self._client.request("GET", f"{_ROOT}/{below}", query=query, absent=NO_REFUND)
