"""A row's story in words, from its four nouns. Never what was decrypted, nor the evidence behind a change."""

from datetime import datetime
from typing import Any, NamedTuple

from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..engine import timeline
from .base import badge, change_url, error_of

KINDS = {
    "operation": _("We asked"),
    "notification": _("We were told"),
    "transition": _("It became"),
    "discrepancy": _("Does not fit"),
}


class Line(NamedTuple):
    """One entry. details: [(term, value)] without the empty ones; texts: [(term, preformatted text)]."""

    at: datetime
    kind: str
    kind_label: Any
    title: str
    badge: Any
    details: list
    texts: list
    url: str | None


def lines(row, site):
    """The story of a contract, order or refund, oldest first; each line links to the row behind it."""
    return [_line(row, entry, site) for entry in timeline.of(row)]


def _line(row, entry, site):
    title, shown, details, texts = ENTRIES[entry.kind](row, entry.row)
    known = [(term, value) for term, value in details if value not in (None, "")]
    url = change_url(type(entry.row), entry.row.pk, site)
    return Line(entry.at, entry.kind, KINDS[entry.kind], title, shown, known, texts, url)


def _operation(row, operation):
    details = [
        (_("by"), operation.requested_by),
        (_("reference"), operation.reference),
        (_("attempts"), operation.attempts if operation.attempts > 1 else None),
        (_("error"), error_of(operation)),
        (_("next try"), operation.next_try_at if operation.is_open else None),
        (_("Request-ID"), operation.request_id),
    ]
    return capfirst(operation.get_action_display()), badge(operation.state, operation.get_state_display()), details, []


def _notification(row, notification):
    details = [
        (_("outcome"), notification.get_outcome_display()),
        (_("why"), notification.error),
        (_("times"), notification.attempts if notification.attempts > 1 else None),
        (_("event id"), notification.event_id),
    ]
    shown = badge(notification.state, notification.get_state_display())
    return notification.event_type, shown, details, []


def _transition(row, transition):
    labels = dict(row.State.choices)
    before = labels.get(transition.from_state, transition.from_state)
    state, words = delivery(transition)
    details = [
        (_("before"), before),
        (_("source"), transition.get_source_display()),
        (_("by"), transition.user),
        (_("note"), transition.note),
        (_("the shop’s receivers"), words if state != "DELIVERED" else None),
    ]
    to_state = transition.to_state
    label = labels.get(to_state, to_state)
    return to_state, badge(to_state, label), details, []


def delivery(transition):
    """How far the shop's receivers have heard of it: (state, words)."""
    if transition.delivered_at is not None:
        return "DELIVERED", gettext("delivered")
    if transition.is_parked:
        return "PARKED", gettext("parked after too many failures")
    return ("FAILED", gettext("failing")) if transition.delivery_attempts else ("WAITING", gettext("waiting"))


def _discrepancy(row, discrepancy):
    details = [
        (_("resolved by"), discrepancy.resolved_by),
        (_("how"), discrepancy.resolution),
        (_("times seen"), discrepancy.seen if discrepancy.seen > 1 else None),
    ]
    texts = [(_("ours"), discrepancy.ours), (_("theirs"), discrepancy.theirs)]
    shown = badge(discrepancy.state, discrepancy.get_state_display())
    return capfirst(discrepancy.get_kind_display()), shown, details, [pair for pair in texts if pair[1]]


ENTRIES = {
    "operation": _operation,
    "notification": _notification,
    "transition": _transition,
    "discrepancy": _discrepancy,
}
