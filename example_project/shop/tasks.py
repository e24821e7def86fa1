from celery import shared_task
from django.db import transaction
from django.utils import timezone

from django_wxpay.exceptions import ContractNotSigned, OperationPending

from .models import Membership
from .receivers import plan_month


@shared_task
def renew_memberships():
    """Ask for the next month of every membership whose paid one is over. Running twice asks once."""
    due = Membership.objects.filter(ended_at=None, contract__state="SIGNED", paid_until__lte=timezone.now())
    for pk in due.values_list("pk", flat=True):
        with transaction.atomic():
            membership = Membership.objects.select_for_update().get(pk=pk)
            if membership.is_active:
                continue  # paid meanwhile
            try:
                plan_month(membership, membership.paid_until)
            except (ContractNotSigned, OperationPending):
                continue  # it is ending: the receiver will be told
