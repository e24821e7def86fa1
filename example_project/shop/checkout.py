"""The shop's answer to "what may this customer sign?"; WXPAY["CHECKOUT"] names this class.

Customers send a key and nothing else: plan, price and names come from here.
"""

from django_wxpay.checkout import Checkout, ContractOffer

from .plans import PLANS


class ShopCheckout(Checkout):
    def contract_offer(self, request, key):
        """The contract of the plan of that key, signed in the shop's mini program unless a page says otherwise."""
        plan = PLANS.get(key)
        if plan is None:
            return None
        return ContractOffer(plan_id=plan.plan_id, user_display_name=request.user.first_name[:32] or "Member")
