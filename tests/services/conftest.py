from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.models import Operation
from django_wxpay.services import operations


@pytest.fixture
def later():
    """Let the time pass in which a request may be under way, for what is open; then do what a worker does."""

    def pass_time(seconds=3600):
        past = timedelta(seconds=seconds)
        now = timezone.now()
        for operation in Operation.objects.open():
            Operation.objects.filter(pk=operation.pk).update(
                next_try_at=now,
                leased_until=None,
                sent_at=operation.sent_at and operation.sent_at - past,
                created_at=operation.created_at - past,
            )
        return operations.send_due()

    return pass_time
