from __future__ import annotations

from django.http import HttpRequest

from django_wxpay.checkout import Checkout, ContractOffer, QuickPayOffer

PLANS = {"leaf": 12345}


class ShopCheckout(Checkout):
    def contract_offer(self, request: HttpRequest, key: str) -> ContractOffer | None:
        if key not in PLANS:
            return None
        return ContractOffer(
            plan_id=PLANS[key], user_display_name="Li M.", channel="jsapi", return_url="https://a.example/"
        )

    def quick_pay_offer(self, request: HttpRequest, amount: int, currency: str) -> dict[str, str] | None:
        return {"description": "At the counter"} if amount < 500_000 else None


class Till(Checkout):
    def quick_pay_offer(self, request: HttpRequest, amount: int, currency: str) -> QuickPayOffer:
        return QuickPayOffer(description="At the counter", limit_pay="no_credit", detail={"receipt_id": "r-1"})
