from celery import shared_task
from django.db import transaction
from django.utils import timezone

from django_wxpay.exceptions import ContractNotSigned

from .models import Membership
from .receivers import plan_month


@shared_task
def renew_memberships():
    """Ask for the next month of every membership whose paid one is over. Running twice asks once."""
    due = Membership.objects.filter(ended_at=None, contract__state="SIGNED", paid_until__lte=timezone.now())
    for pk in due.values_list("pk", flat=True):
        with transaction.atomic():
            membership = Membership.objects.select_for_update().select_related("contract").get(pk=pk)
            if membership.is_active:
                continue  # another worker was here
            try:
                plan_month(membership, timezone.localdate(membership.paid_until))
            except ContractNotSigned:
                pass  # terminated this very moment: the receiver ends the membership
