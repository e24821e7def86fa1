"""Orders: deduct from a contract, take a payment code, query, reverse, close.

Source: APIv3 manual, "Auto-debit" (papay/transactions) and "Quick pay" (micropay/transactions).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from . import fields, goods
from .answers import Answer
from .base import BaseClient
from .errors import APIError, OutcomeUnknown
from .privacy import Unseen
from .refusals import NO_ORDER

_DEDUCTIONS = "/v3/global/papay/transactions"
_PAYMENTS = "/v3/global/transactions"
_QUICK_PAYMENTS = "/v3/global/micropay/transactions"
# Those the manual names today; they may grow, so callers can pass others.
AUTH_CODE_PREFIXES = frozenset({"10", "11", "12", "13", "14", "15"})
LIMITS = ("no_credit",)
Limit: TypeAlias = Literal["", "no_credit"]


class Orders(Unseen):
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
        # Here NO_AUTH says that the contract ended, or never was.
        return self._client.request("POST", _DEDUCTIONS, body=body, business=("NO_AUTH",))

    def query_deduction(self, *, out_trade_no: str = "", transaction_id: str = "", sub_mchid: str = "") -> Answer:
        """Return a deduction by one of its two numbers; NotFound when it never arrived."""
        name, number = fields.one_of(out_trade_no=out_trade_no, transaction_id=transaction_id)
        if name == "out_trade_no":
            path = f"{_DEDUCTIONS}/out-trade-no/{_quoted(fields.out_trade_no(name, number))}"
        else:
            path = f"{_DEDUCTIONS}/{fields.identifier(name, number)}"  # no /id/ here, unlike other payments
        query = self._client.identity.sub_number(sub_mchid)
        return self._client.request("GET", path, query=query, absent=NO_ORDER)

    def reverse_deduction(self, *, out_trade_no: str, sub_mchid: str = "") -> Answer:
        """Give a deduction up for good, before another is tried; 204. Refund one that was paid instead."""
        number = _quoted(fields.out_trade_no("out_trade_no", out_trade_no))
        body = self._client.identity.sub_number(sub_mchid)
        path = f"{_DEDUCTIONS}/out-trade-no/{number}/reverse"
        return self._client.request("POST", path, body=body, absent=NO_ORDER)

    def pay_by_code(
        self,
        *,
        out_trade_no: str,
        auth_code: str,
        amount_total: int,
        currency: str,
        description: str,
        merchant_category_code: str,
        attach: str = "",
        goods_tag: str = "",
        limit_pay: str = "",
        device_id: str = "",
        device_ip: str = "",
        payer_client_ip: str = "",
        operator_id: str = "",
        store_id: str = "",
        store_name: str = "",
        store_address: str = "",
        detail: Mapping[str, Any] | None = None,
        sub_mchid: str = "",
        sub_appid: str = "",
        auth_code_prefixes: Collection[str] = AUTH_CODE_PREFIXES,
    ) -> Answer:
        """Charge the payer who shows this payment code. amount_total: minor units.

        The answer is the order: read ``trade_state``. While a password is asked for, that is ``USERPAYING``, or
        the data is an error object with the ``code`` ``USERPAYING`` instead of an order. Never send a second
        time after OutcomeUnknown: the code is gone; query, then reverse. A store has a name and an address, or is not
        named at all. detail: what was bought, as `goods.detail` takes it.

        The payment code appears in no log and no error.
        """
        identity = self._client.identity
        code = fields.auth_code("auth_code", auth_code, auth_code_prefixes)
        body: dict[str, Any] = {
            **identity.numbers(sub_mchid=sub_mchid),
            **identity.appids(sub_appid=sub_appid),
            "description": fields.text("description", description, 127),
            "out_trade_no": fields.out_trade_no("out_trade_no", out_trade_no),
            "trade_type": "MICROPAY",
            "merchant_category_code": fields.category_code("merchant_category_code", merchant_category_code),
            "payer": {"auth_code": code},
            "amount": _amount(amount_total, currency),
            **_said(
                attach=fields.text("attach", attach, 127, required=False),
                goods_tag=fields.text("goods_tag", goods_tag, 32, required=False),
                limit_pay=fields.choice("limit_pay", limit_pay, LIMITS, required=False),
                scene_info=_said(
                    device_id=fields.text("device_id", device_id, 32, required=False),
                    device_ip=fields.ip("device_ip", device_ip),
                    payer_client_ip=fields.ip("payer_client_ip", payer_client_ip),
                    operator_id=fields.text("operator_id", operator_id, 32, required=False),
                    store_info=_store(store_id, store_name, store_address),
                ),
                detail=goods.detail(detail),
            ),
        }
        try:
            return self._client.request("POST", f"{_QUICK_PAYMENTS}/pay", body=body, also=("USERPAYING",))
        except APIError as error:
            if error.means("USERPAYING"):  # not proven: a query decides
                raise OutcomeUnknown(
                    "The payer may be paying, says an unsigned answer. Query.",
                    code=error.code,
                    status=error.status,
                    request_id=error.request_id,
                ) from None
            raise

    def query_payment(self, *, out_trade_no: str = "", id: str = "", sub_mchid: str = "") -> Answer:
        """Return a payment (any but a deduction) by one of its two numbers; NotFound when it never arrived."""
        return self._client.request(
            "GET",
            f"{_PAYMENTS}/{_payment(out_trade_no, id)}",
            query=self._client.identity.numbers(sub_mchid=sub_mchid),
            absent=NO_ORDER,
        )

    def reverse_payment(self, *, out_trade_no: str = "", id: str = "", sub_mchid: str = "") -> Answer:
        """Undo a quick payment whose outcome is unclear; only 204 means done.

        Unpaid, it is closed; paid, the money goes back whole. Not before 15 seconds after paying.
        """
        return self._client.request(
            "POST",
            f"{_QUICK_PAYMENTS}/{_payment(out_trade_no, id)}/reverse",
            body=self._client.identity.numbers(sub_mchid=sub_mchid),
            absent=NO_ORDER,
        )

    def close_payment(self, *, out_trade_no: str = "", id: str = "", sub_mchid: str = "") -> Answer:
        """Close an order nobody paid; only 204 means done. Not for quick payments: reverse those."""
        return self._client.request(
            "POST",
            f"{_PAYMENTS}/{_payment(out_trade_no, id)}/close",
            body=self._client.identity.numbers(sub_mchid=sub_mchid),
            absent=NO_ORDER,
        )


def _payment(out_trade_no: str, id: str) -> str:
    name, number = fields.one_of(out_trade_no=out_trade_no, id=id)
    if name == "id":
        return f"id/{fields.identifier(name, number)}"
    return f"out-trade-no/{_quoted(fields.out_trade_no(name, number))}"


def _store(store_id: str, name: str, address: str) -> dict[str, str]:
    if not (store_id or name or address):
        return {}
    return {
        **_said(id=fields.text("store_id", store_id, 32, required=False)),
        "name": fields.text("store_name", name, 256),
        "address": fields.text("store_address", address, 512),
    }


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
