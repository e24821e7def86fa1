"""What needs a person today: the rows that the app cannot bring to their end by itself, or not for some time."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from ..models import (
    Action,
    Bill,
    Discrepancy,
    MerchantState,
    Notification,
    Operation,
    PlatformCertificate,
    Refund,
    ServiceOrder,
    Transition,
)
from . import bills, refunds

IN_DOUBT_FOR = timedelta(minutes=10)  # younger doubts are usually gone by themselves
EXPIRING_WITHIN = timedelta(days=7)
UNPAID_FOR = timedelta(days=3)  # most people have put money in by then


def open_discrepancies() -> QuerySet[Discrepancy]:
    """What does not fit, and nobody has said yet what became of it."""
    return Discrepancy.objects.filter(state=Discrepancy.State.OPEN, open_key__isnull=False)  # by its index


def abnormal_refunds() -> QuerySet[Refund]:
    """Refunds whose money could not be delivered."""
    return Refund.objects.filter(state=Refund.State.ABNORMAL)


def refunds_without_money() -> QuerySet[Refund]:
    """Refunds that WeChat Pay has not taken, for want of the merchant's own money."""
    waiting = Operation.objects.open().filter(
        action=Action.REFUND, state=Operation.State.PLANNED, error_code__in=refunds.LATER
    )
    return Refund.objects.filter(state=Refund.State.CREATED, pk__in=waiting.values("object_id"))


def unpaid_service_orders() -> QuerySet[ServiceOrder]:
    """Services that were completed days ago and still are not paid: the user has no money, or no card any more."""
    late = timezone.now() - UNPAID_FOR
    being_collected = ServiceOrder.objects.filter(
        state=ServiceOrder.State.DOING, state_description=ServiceOrder.Description.MCH_COMPLETE
    )
    return being_collected.filter(created_at__lt=late, completed_at__lt=late)  # created_at: by its index


def operations_in_doubt() -> QuerySet[Operation]:
    """What we asked some time ago and still do not know the outcome of."""
    return Operation.objects.open().filter(
        state__in=(Operation.State.UNKNOWN, Operation.State.SENT), created_at__lt=timezone.now() - IN_DOUBT_FOR
    )


def operations_unsent() -> QuerySet[Operation]:
    """What was written down some time ago and still was not sent: is a worker running?

    Later refunds of one order wait for their turn, hence those whose time has come only.
    """
    late = timezone.now() - IN_DOUBT_FOR
    return Operation.objects.open().filter(state=Operation.State.PLANNED, next_try_at__lt=late)


def failed_notifications() -> QuerySet[Notification]:
    """Genuine messages that could not be processed."""
    return Notification.objects.filter(state=Notification.State.FAILED)


def waiting_notifications() -> QuerySet[Notification]:
    """Genuine messages about something we do not know (yet)."""
    return Notification.objects.filter(state=Notification.State.WAITING)


def unknown_notifications() -> QuerySet[Notification]:
    """Genuine messages about our products of a kind that this version does not know; an upgrade may."""
    return Notification.objects.filter(next_try_at__isnull=False, state=Notification.State.UNHANDLED)  # by its index


def parked_transitions() -> QuerySet[Transition]:
    """What the shop's receivers failed to take, so often that we stopped trying."""
    return Transition.objects.parked()


def expiring_certificates() -> QuerySet[PlatformCertificate]:
    """Merchants' newest certificates that end soon; older ones may end as they like."""
    soon = timezone.now() + EXPIRING_WITHIN
    safe = PlatformCertificate.objects.filter(expire_time__gt=soon).values("mchid")
    return PlatformCertificate.objects.filter(expire_time__lte=soon).exclude(mchid__in=safe)


def missing_bills() -> QuerySet[Bill]:
    """Statements that are tried again and again though they are a day late: an unknown layout, say, stays unknown.

    What was given up and matters is an open discrepancy instead.
    """
    late = bills.china_today() - timedelta(days=2)
    missing = Bill.objects.filter(state__in=(Bill.State.PENDING, Bill.State.FAILED), bill_date__lte=late)
    return missing.filter(next_try_at__isnull=False)  # by its index


def troubled_merchants() -> QuerySet[MerchantState]:
    """Merchants whose certificates could not be refreshed, or who were asked to slow down."""
    return MerchantState.objects.filter(Q(slow_until__gt=timezone.now()) | ~Q(refresh_error=""))
