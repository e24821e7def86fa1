"""The shop's answers to "what may this customer sign?" and "what may this cashier charge?".

WXPAY["CHECKOUT"] names this class. Customers send a key and nothing else: plan, price and names come from here. A
cashier does send an amount; it is capped here.
"""

from django_wxpay.checkout import Checkout, ContractOffer, PayeeOffer, QuickPayOffer, SignPlanOffer

from . import course, market
from .plans import PLANS

TILL_LIMITS = {"HKD": 500_000, "CNY": 500_000}  # what the till takes: minor units


class ShopCheckout(Checkout):
    def contract_offer(self, request, key):
        """The contract of the plan of that key, signed in the shop's mini program unless a page says otherwise."""
        plan = PLANS.get(key)
        if plan is None:
            return None
        return ContractOffer(plan_id=plan.plan_id, user_display_name=request.user.first_name[:32] or "Member")

    def sign_plan_offer(self, request, key):
        """The course of that key. A real shop knows the customer's openid from the mini program's login."""
        plan = course.plan_of(key)
        return plan and SignPlanOffer(plan=plan, openid=f"o-{request.user.username}"[:128])

    def payee_offer(self, request):
        """Every customer may sell on the market."""
        return PayeeOffer(merchant=market.MERCHANT, openid=market.openid_of(request.user))

    def combine_offer(self, request, key):
        """A basket of the market: the key names it and what is in it, as "7:12,13"."""
        basket, _, chosen = key.partition(":")
        return market.offer(request.user, chosen.split(","), f"basket-{request.user.pk}-{basket}")

    def quick_pay_offer(self, request, amount, currency):
        """What is scanned at the counter, up to the till's limit."""
        if amount > TILL_LIMITS.get(currency, 0):
            return None
        cashier = str(request.user.pk)
        return QuickPayOffer(description="Kettle & Page, at the counter", device_id="TILL-1", operator_id=cashier)
