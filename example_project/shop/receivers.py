"""What the shop does when something became true.

Each receiver runs in the transaction that marks its transition as delivered: what it writes happens exactly once.
Money is asked for with the `plan_…` services, which join that transaction.
"""

from django.conf import settings
from django.utils import timezone, translation

from django_wxpay import signals
from django_wxpay.services import orders

from .models import Membership
from .plans import plan_of


def connect():
    signals.contract_signed.connect(begin_membership, dispatch_uid="shop")
    signals.contract_terminated.connect(end_membership, dispatch_uid="shop")
    signals.order_paid.connect(extend_membership, dispatch_uid="shop")


def begin_membership(sender, row, transition, **kwargs):
    """Signed: a member, who is asked for the first month."""
    plan = plan_of(row.plan_id)
    if plan is None or row.user is None:
        return  # a contract that this shop did not offer
    membership = Membership.objects.create(user=row.user, plan_key=plan.key, contract=row)
    plan_month(membership, membership.began_at)


def end_membership(sender, row, transition, **kwargs):
    Membership.objects.filter(contract=row, ended_at=None).update(ended_at=timezone.now())


def extend_membership(sender, row, transition, **kwargs):
    """Paid: another month."""
    membership = Membership.objects.select_for_update().filter(contract=row.contract).first()
    if membership is not None:
        membership.extend()


def plan_month(membership, moment):
    """Plan the deduction of the month that begins at `moment`; planning it twice plans it once."""
    day = timezone.localdate(moment)
    with translation.override(settings.LANGUAGE_CODE):  # whoever plans it: a reference names the same words
        description = f"Kettle & Page: {membership.plan.name}, one month from {day}"
    return orders.plan_deduction(
        membership.contract,
        amount=membership.plan.amount,
        currency=membership.plan.currency,
        description=description,
        reference=f"membership-{membership.pk}-{day}",
    )
