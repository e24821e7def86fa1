"""What a row is, in a few terms, for whoever is asked to confirm something about it."""

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ..models import SUBJECTS, Order
from . import amounts
from .base import badge, subject_label

AMOUNTS = ("amount_total", "amount", "total_amount")  # of an object, by whichever name


def of_order(row):
    return [
        (pgettext_lazy("payment", "Order"), row.number),
        (_("Description"), row.description),
        (_("User"), row.user),
        (_("Amount"), amounts.in_words(row.amount_total, row.currency)),
        (_("State"), badge(row.state, state_label(row))),
    ]


def of_refund(row):
    return [
        (_("Refund"), str(row)),
        (pgettext_lazy("payment", "Order"), row.order),
        (_("Amount"), amounts.in_words(row.amount, row.currency)),
        (_("State"), badge(row.state, row.get_state_display())),
    ]


def of_service_order(row):
    amount = row.detail.actual_price if row.total_amount is None else row.total_amount
    return [
        (_("Service order"), row.out_order_no),
        (_("Service"), row.service_introduction),
        (_("User"), row.user),
        (_("Amount"), amounts.in_words(amount, row.currency)),
        (_("State"), badge(row.state, where(row))),
    ]


def about(subject, object_id):
    """What an operation is about: which object, and how much money."""
    model = SUBJECTS.get(subject)
    row = model.objects.filter(pk=object_id).first() if model else None
    facts = [(_("About"), f"{subject_label(subject)} {row or object_id}")]
    amount = next((getattr(row, name) for name in AMOUNTS if hasattr(row, name)), None)
    return facts if amount is None else [*facts, (_("Amount"), amounts.in_words(amount, row.currency))]


def state_label(row):
    """A refunded order says how far: what is being refunded counts, as it cannot be refunded again."""
    if row.state == Order.State.REFUND and row.refund_reserved:
        return _("refunded in full") if row.refund_reserved >= row.amount_total else _("refunded in part")
    return row.get_state_display()


def where(row):
    """Where a service order stands in one word: in use, being collected, paid, paid elsewhere or free …"""
    if row.is_collecting:
        return _("being collected")
    if row.is_paid:
        return _("paid") if row.total_amount else _("finished, free")
    return row.get_state_display()
