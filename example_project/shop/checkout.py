"""The shop's answers to "what may this customer have, and for how much?"; WXPAY["CHECKOUT"] names this class.

Customers send a key and nothing else: plan, price and names come from here.
"""

from django.http import Http404

from .models import Membership
from .plans import PLANS


class Checkout:
    def contract_offer(self, request, key):
        """What `contracts.sign` takes, for the plan of that key."""
        if key not in PLANS:
            raise Http404(f"There is no plan {key!r}.")
        membership = self._membership(request.user, PLANS[key])
        return {
            "plan_id": membership.plan.plan_id,
            "user_display_name": (request.user.first_name or request.user.get_username())[:32],
            "reference": membership.reference,
        }

    def _membership(self, user, plan):
        """The membership to sign: one that still can be, so that choosing twice is choosing once, or a new one."""
        newest = user.memberships.filter(plan_key=plan.key).first()
        if newest and (newest.contract is None or newest.contract.can_launch):
            return newest
        return Membership.objects.create(user=user, plan_key=plan.key)
