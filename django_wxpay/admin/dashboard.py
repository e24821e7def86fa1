"""The page of what needs a person today: counts that lead to the lists behind them."""

from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _

from ..services import attention


class Subject(NamedTuple):
    """What may need a person. find: a service that gives the rows; query: how the list is filtered to them."""

    title: Any
    advice: Any
    find: Any
    query: str


class Card(NamedTuple):
    title: Any
    advice: Any
    how_many: int
    url: str


SUBJECTS = [
    Subject(
        _("Open discrepancies"),
        _("Something does not fit. Look at both sides, put it right, and say how."),
        attention.open_discrepancies,
        "state__exact=OPEN",
    ),
    Subject(
        _("Refunds not delivered"),
        _("The payer cannot be reached. Handle them in the merchant platform, or pay back otherwise."),
        attention.abnormal_refunds,
        "state__exact=ABNORMAL",
    ),
    Subject(
        _("Refunds that wait for money"),
        _("The purse does not hold enough. Recharge it, or give them up and refund from another."),
        attention.refunds_without_money,
        "attention=money",
    ),
    Subject(
        _("Services not paid for days"),
        _("WeChat Pay goes on trying. Talk to the customer; lower the amount, or report it as paid elsewhere."),
        attention.unpaid_service_orders,
        "attention=unpaid",
    ),
    Subject(
        _("Requests without an outcome"),
        _("It is being found out. Should it last for hours, ask WeChat Pay with the Request-ID."),
        attention.operations_in_doubt,
        "attention=doubt",
    ),
    Subject(
        _("Requests not sent"),
        _("They were due minutes ago. Are the workers and beat running?"),
        attention.operations_unsent,
        "attention=unsent",
    ),
    Subject(
        _("Failed notifications"),
        _("Genuine messages that we could not process. Mend the cause, then process them again."),
        attention.failed_notifications,
        "attention=failed",
    ),
    Subject(
        _("Notifications waiting for their object"),
        _("About something we do not know. After an hour each becomes a discrepancy."),
        attention.waiting_notifications,
        "attention=waiting",
    ),
    Subject(
        _("Notifications of an unknown kind"),
        _("News about our products. What they name is queried; they are processed once an upgrade knows them."),
        attention.unknown_notifications,
        "attention=unknown",
    ),
    Subject(
        _("Parked deliveries"),
        _("The shop’s own code failed to take them. Mend it, then deliver them again."),
        attention.parked_transitions,
        "attention=parked",
    ),
    Subject(
        _("Certificates that end soon"),
        _("New ones should have come by themselves. Run wxpay_doctor."),
        attention.expiring_certificates,
        "attention=expiring",
    ),
    Subject(
        _("Statements missing"),
        _("They were due a day ago. Each says why it could not be downloaded."),
        attention.missing_bills,
        "attention=missing",
    ),
    Subject(
        _("Merchants in trouble"),
        _("Certificates could not be refreshed, WeChat Pay gives no answer, or asked us to slow down."),
        attention.troubled_merchants,
        "attention=trouble",
    ),
]


def cards(request, site):
    """{"urgent", "quiet"}: what this person may see; None when that is nothing at all."""
    found = []
    for subject in SUBJECTS:
        rows = subject.find()
        if not site.is_registered(rows.model):
            continue
        model_admin = site.get_model_admin(rows.model)
        if model_admin.has_view_permission(request):
            url = f"{model_admin.url_of('changelist')}?{subject.query}"
            found.append(Card(subject.title, subject.advice, rows.count(), url))
    if not found:
        return None
    return {"urgent": [card for card in found if card.how_many], "quiet": [card for card in found if not card.how_many]}
