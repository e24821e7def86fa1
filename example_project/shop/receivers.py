"""What the shop does when something became true.

Each receiver runs in the transaction that marks its transition as delivered: what it writes happens exactly once.
Money is asked for with the `plan_…` services, which join that transaction.
"""

from django.utils import timezone

from django_wxpay import signals
from django_wxpay.services import orders

from .models import Membership


def connect():
    signals.contract_signed.connect(begin_membership, dispatch_uid="shop")
    signals.contract_terminated.connect(end_membership, dispatch_uid="shop")
    signals.order_paid.connect(extend_membership, dispatch_uid="shop")


def begin_membership(sender, row, transition, **kwargs):
    """Signed: ask for the first month."""
    membership = _membership_of(row)
    if membership is None:
        return
    membership.contract = row
    membership.save(update_fields=["contract"])
    plan_month(membership, timezone.localdate())


def end_membership(sender, row, transition, **kwargs):
    Membership.objects.filter(contract=row, ended_at=None).update(ended_at=timezone.now())


def extend_membership(sender, row, transition, **kwargs):
    """Paid: another month."""
    membership = row.contract and _membership_of(row.contract)
    if membership is not None:
        membership.extend()


def plan_month(membership, day):
    """Plan the deduction of the month that begins on `day`; planning it twice plans it once."""
    return orders.plan_deduction(
        membership.contract,
        amount=membership.plan.amount,
        currency=membership.plan.currency,
        description=f"Kettle & Page: {membership.plan.name}, one month from {day:%Y-%m-%d}",
        reference=f"{membership.reference}-{day:%Y-%m-%d}",
    )


def _membership_of(contract):
    prefix, _, pk = (contract.reference or "").partition("-")
    if prefix != "membership" or not pk.isdigit():
        return None  # a contract of somebody else's making
    return Membership.objects.select_for_update().filter(pk=pk).first()
