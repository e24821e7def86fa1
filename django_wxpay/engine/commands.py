"""The kinds of command: how each is sent, understood and found out. A subject's module registers its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..client import Client
from ..client.answers import Answer
from ..client.errors import RequestNotSent, WxPayError
from ..models import SUBJECTS, Operation, Source
from .facts import Applied, Fact
from .registry import COMMANDS

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


class Command:
    """How one kind of operation is sent, understood and, when its outcome is unknown, found out."""

    action: Any
    resend = True  # whether the same request may be sent again once it is proved that it never arrived
    harmless = False  # whether it may be sent twice even while the first may be under way
    needs_caller = False  # whether only its caller can send it (it knows what is never stored)
    pause = timedelta(minutes=5)  # before a "not now" is asked again for the first time; it doubles, up to an hour

    def wait_until(self, operation: Operation, row: Any) -> datetime | None:
        """When it may be sent, None for now. Called in a transaction that may lock what decides it."""
        return None

    def lock(self, row: Any) -> Any:
        """The row, locked afresh, after whatever the order of locks puts before it."""
        return type(row).objects.select_for_update().get(pk=row.pk)

    def send(self, client: Client, operation: Operation, row: Any) -> Answer | None:
        """Send it, return the client's Answer; None when a query of `row` gave the verdict and nothing was sent."""
        raise NotImplementedError

    def answered(self, row: Any, fact: Fact, operation: Operation) -> Applied:
        """Apply the answer of a 2xx through the subject's `apply_…`; returns its `Applied`."""
        raise NotImplementedError

    def refused(self, row: Any, error: WxPayError, operation: Operation) -> str:
        """Record that WeChat Pay verifiably refused, that our own field check did, or that it will never be sent.

        Returns how the operation ends: REFUSED, DONE (it was so already), UNKNOWN (a query must tell), or PLANNED
        (not now: the same again after `pause`).
        """
        raise NotImplementedError

    def missing(self, row: Any, operation: Operation) -> str | None:
        """How it ends when WeChat Pay verifiably knows no such row and no request is under way; None: not at all."""
        return None

    def verdict(self, row: Any, operation: Operation) -> str | None:
        """What the row's state says about this request: DONE, REFUSED, or None while it says nothing."""
        raise NotImplementedError


class EndedByHand(RequestNotSent):
    """A person ended it; what was never sent never will be."""

    def __init__(self, reason: str, by: User | None) -> None:
        super().__init__(reason)
        self.by = by


def refusal(row: Any, operation: Operation, error: WxPayError) -> Fact:
    """The fact that WeChat Pay refused what we asked, or that a person ended it before it was sent."""
    if isinstance(error, EndedByHand):
        return Fact(row.mchid, {}, Source.STAFF, user=error.by)
    return Fact(row.mchid, {}, Source.ANSWER, user=operation.requested_by)


def row_of(operation: Operation) -> Any:
    """The row that an operation is about."""
    return SUBJECTS[operation.subject].objects.get(pk=operation.object_id)


def row_if_there(operation: Operation) -> Any:
    """The row that an operation is about; None when it is gone, or this version knows no such subject or action."""
    model = SUBJECTS.get(operation.subject) if operation.action in COMMANDS else None
    return model.objects.filter(pk=operation.object_id).first() if model else None


def open_of(row: Any) -> Operation | None:
    """The open operation of a row, or None."""
    return Operation.objects.of(row).open().first()
