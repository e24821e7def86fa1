"""Rows made directly, in any state, without WeChat Pay. For rows that went all the way see `WxpaySandbox`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from .. import conf
from ..engine.numbers import new_number
from ..models import Contract, Order, Refund


def _merchant(alias: str) -> dict[str, Any]:
    merchant = conf.merchant(alias)
    return {
        "merchant": merchant.alias,
        "mchid": merchant.mchid,
        "appid": merchant.appid,
        "sub_mchid": merchant.sub_mchid,
        "sub_appid": merchant.sub_appid,
    }


def make_contract(*, merchant: str = "default", state: str = "SIGNED", **values: Any) -> Contract:
    """A contract; SIGNED unless told otherwise."""
    known: dict[str, Any] = {
        "out_contract_code": new_number(),
        "plan_id": 12345,
        "openid": "o-synthetic-0001",
        "user_display_name": "Li M.",
        "expired_time": timezone.now() + timedelta(hours=1),
    }
    if state in ("SIGNED", "TERMINATED"):
        known |= {"contract_id": new_number(), "signed_time": timezone.now()}
    else:
        known["session_id"] = new_number()
    return Contract.objects.create(**_merchant(merchant) | known | {"state": state} | values)


def make_order(*, merchant: str = "default", state: str = "SUCCESS", **values: Any) -> Order:
    """An order; a paid deduction of 38.00 HKD unless told otherwise."""
    known: dict[str, Any] = {
        "product": Order.Product.PAPAY,
        "reference": new_number(),
        "out_trade_no": new_number(),
        "description": "March plan",
        "amount_total": 3800,
        "currency": "HKD",
    }
    if state in Order.PAID:
        known |= {"transaction_id": new_number(), "success_time": timezone.now()}
    if "contract" not in values:
        known["contract"] = make_contract(merchant=merchant)
    return Order.objects.create(**_merchant(merchant) | known | {"state": state} | values)


def make_refund(*, order: Order | None = None, state: str = "PROCESSING", amount: int = 1000, **values: Any) -> Refund:
    """A refund of an order, reserved on it as a real one would be."""
    order = order or make_order()
    own = {name: getattr(order, name) for name in ("merchant", "mchid", "sub_mchid", "appid", "sub_appid")}
    known = {"reference": new_number(), "out_refund_no": new_number(), "currency": order.currency}
    refund = Refund.objects.create(**own | known | {"order": order, "amount": amount, "state": state} | values)
    if state not in Refund.GIVES_BACK:
        order.change_reserved(amount)
    return refund
