"""The kinds of command: how each is sent, understood and found out. A subject's module registers its own."""

from datetime import timedelta
from typing import Any

from ..models import SUBJECTS, Operation, Source
from . import remote
from .facts import Fact


class Command:
    """How one kind of operation is sent, understood and, when its outcome is unknown, found out."""

    action: Any
    resend = True  # whether the same request may be sent again once it is proved that it never arrived
    harmless = False  # whether it may be sent twice even while the first may be under way
    needs_caller = False  # whether only its caller can send it (it knows what is never stored)
    pause = timedelta(minutes=5)  # before a "not now" is asked again

    def wait_until(self, operation, row):
        """When it may be sent, None for now. Called in a transaction that may lock what decides it."""
        return None

    def lock(self, row):
        """The row, locked afresh, after whatever the order of locks puts before it."""
        return type(row).objects.select_for_update().get(pk=row.pk)

    def send(self, client, operation, row):
        """Send it, return the client's Answer; None when a query of `row` gave the verdict and nothing was sent."""
        raise NotImplementedError

    def answered(self, row, fact, operation):
        """Apply the answer of a 2xx through the subject's `apply_…`; returns its `Applied`."""
        raise NotImplementedError

    def refused(self, row, error, operation):
        """Record that WeChat Pay verifiably refused (or that our own field check did).

        Returns how the operation ends: REFUSED, DONE (it was so already), UNKNOWN (a query must tell), or PLANNED
        (not now: the same again after `pause`).
        """
        raise NotImplementedError

    def verdict(self, row, operation):
        """What the row's state says about this ask: DONE, REFUSED, or None while it says nothing."""
        raise NotImplementedError


def refusal(row, operation):
    """The fact that WeChat Pay refused what we asked."""
    return Fact(remote.merchant_of(row), {}, Source.ANSWER, user=operation.requested_by)


def row_of(operation):
    """The row that an operation is about."""
    return SUBJECTS[operation.subject].objects.get(pk=operation.object_id)


def open_of(row):
    """The open operation of a row, or None."""
    return Operation.objects.of(row).open().first()
