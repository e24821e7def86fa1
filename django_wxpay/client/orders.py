"""Orders: deduct from a contract, query, reverse. Source: APIv3 manual, "Auto-debit", papay/transactions."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from . import fields
from .base import Answer, BaseClient

_DEDUCTIONS = "/v3/global/papay/transactions"


class Orders:
    """The calls about orders; `client.orders`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def deduct(
        self,
        *,
        out_trade_no: str,
        contract_id: str,
        amount_total: int,
        currency: str,
        description: str,
        notify_url: str,
        merchant_category_code: str,
        attach: str = "",
        goods_tag: str = "",
        device_id: str = "",
        device_ip: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Charge a signed contract. amount_total: minor units.

        The answer is the order: read ``trade_state``, 200 alone does not mean paid. The same ``out_trade_no``
        with the same fields never charges twice.
        """
        identity = self._client.identity
        body: dict[str, Any] = {
            **identity.appids(sub_appid=sub_appid),
            **identity.sub_number(sub_mchid),
            "description": fields.text("description", description, 128),
            "notify_url": fields.url("notify_url", notify_url),
            "out_trade_no": fields.out_trade_no("out_trade_no", out_trade_no),
            "merchant_category_code": fields.category_code("merchant_category_code", merchant_category_code),
            "contract_id": fields.identifier("contract_id", contract_id, 64),
            "amount": _amount(amount_total, currency),
            **_said(
                attach=fields.text("attach", attach, 127, required=False),
                goods_tag=fields.text("goods_tag", goods_tag, 32, required=False),
                scene_info=_said(
                    device_id=fields.text("device_id", device_id, 32, required=False),
                    device_ip=fields.ip("device_ip", device_ip),
                ),
            ),
        }
        return self._client.request("POST", _DEDUCTIONS, body=body)

    def query_deduction(self, *, out_trade_no: str = "", transaction_id: str = "", sub_mchid: str = "") -> Answer:
        """Return a deduction by one of its two numbers; NotFound when it never arrived."""
        name, number = fields.one_of(out_trade_no=out_trade_no, transaction_id=transaction_id)
        if name == "out_trade_no":
            path = f"{_DEDUCTIONS}/out-trade-no/{_quoted(fields.out_trade_no(name, number))}"
        else:
            path = f"{_DEDUCTIONS}/{fields.identifier(name, number)}"  # no /id/ here, unlike other payments
        return self._client.request("GET", path, query=self._client.identity.sub_number(sub_mchid))

    def reverse_deduction(self, *, out_trade_no: str, sub_mchid: str = "") -> Answer:
        """Give a deduction up for good, before another is tried; 204. Refund one that was paid instead."""
        number = _quoted(fields.out_trade_no("out_trade_no", out_trade_no))
        body = self._client.identity.sub_number(sub_mchid)
        return self._client.request("POST", f"{_DEDUCTIONS}/out-trade-no/{number}/reverse", body=body)


def _amount(total: int, currency: str) -> dict[str, Any]:
    return {
        "total": fields.amount("amount_total", total),
        "currency": fields.currency("currency", currency),
    }


def _said(**values: Any) -> dict[str, Any]:
    """Return the values that are not empty: WeChat Pay wants no nulls, and no empty text either."""
    return {name: value for name, value in values.items() if value}


def _quoted(number: str) -> str:
    return quote(number, safe="")
