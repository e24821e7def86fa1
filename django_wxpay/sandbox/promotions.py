"""Coupons and discounts: what the payer of a special amount or code need not pay.

Each is worth a tenth of the order, and WeChat Pay contributes all of it, so the merchant's money stays as it is.
"""

from __future__ import annotations

from typing import Any

COUPON, DISCOUNT = "COUPON", "DISCOUNT"
OF_ALL_GOODS, OF_SINGLE_GOODS = "GLOBAL", "SINGLE"
SHARE = 10
PROMOTION_IDS = {COUPON: "109500000001", DISCOUNT: "109500000002"}

Promotions = list[dict[str, Any]]


def of_payment(kind: str, total: int, currency: str, detail: Any) -> Promotions | None:
    """Return the ``promotion_detail`` of an order. detail: what the merchant said of its goods, if anything."""
    if not kind:
        return None
    worth = total // SHARE
    promotion = {
        "promotion_id": PROMOTION_IDS[kind],
        "name": "a tenth off",
        "scope": OF_ALL_GOODS if kind == COUPON else OF_SINGLE_GOODS,
        "type": kind,
        "amount": worth,
        "currency": currency,
        "activity_id": "931000001",
        "wxpay_contribute_amount": worth,
        "merchant_contribute_amount": 0,
        "other_contribute_amount": 0,
    }
    if kind == DISCOUNT:
        goods = _first_goods(detail) or {"goods_id": "goods-1", "quantity": 1, "price": total}
        promotion["goods_detail"] = [
            {
                "goods_id": goods["goods_id"],
                "goods_remark": goods.get("goods_name"),
                "discount_amount": worth,
                "quantity": goods["quantity"],
                "price": goods["price"],
            }
        ]
    return [promotion]


def of_refund(promotions: Promotions | None, total: int, *, before: int, refund: int) -> Promotions | None:
    """Return each promotion's share of a refund. before: what was refunded of the order already."""
    if not promotions:
        return None
    shown = ("promotion_id", "scope", "type", "amount", "currency")
    return [
        {
            **{name: promotion[name] for name in shown},
            "refund_amount": promotion["amount"] * (before + refund) // total - promotion["amount"] * before // total,
        }
        for promotion in promotions
    ]


def worth(promotions: Promotions | None, name: str = "amount") -> int:
    """Return the sum of all promotions, of an order or (``refund_amount``) of a refund."""
    return sum(int(promotion[name]) for promotion in promotions or [])


def _first_goods(detail: Any) -> dict[str, Any] | None:
    first = detail[0] if isinstance(detail, list) else detail
    goods: list[dict[str, Any]] = (first or {}).get("goods_detail", [])
    return goods[0] if goods else None
