"""What became of a request, in words for the person who made it."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import exceptions
from ..client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited, RequestNotSent
from ..models import Operation
from . import amounts

State = Operation.State
UNKNOWN = _(
    "The outcome is unknown: WeChat Pay may or may not have done it. This is being checked by itself, and the result "
    "will show here. Please do not ask for the same again meanwhile."
)
REFUSALS = {
    exceptions.DeductionPending: _(
        "A deduction of this contract has no outcome yet. Nothing was sent. Wait until it is known, or close that "
        "order first."
    ),
    exceptions.ContractNotSigned: _("The contract is not signed (any more). Nothing was sent."),
    exceptions.OrderNotPaid: _("Only a paid order can be refunded. Nothing was sent."),
    exceptions.OrderPaid: _("The order is paid: it can be refunded, but not closed or tried again. Nothing was sent."),
    exceptions.OrderNotDead: _("The order may still be paid: close it first. Nothing was sent."),
    exceptions.RefundedMeanwhile: _(
        "What remains refundable has changed at this moment. Nothing was sent. Look again, then confirm."
    ),
    exceptions.ReferenceReused: _("This form was used already, with other values. Nothing more was sent."),
}


class Done(NamedTuple):
    """The end of a request: how to show it, the words, and the row to show next."""

    level: int
    text: str
    row: Any

    @property
    def tag(self):
        return messages.DEFAULT_TAGS[self.level]


def of_operation(operation, done):
    """(level, words) about something that was asked for. done: (level, words) for when it was accepted."""
    if operation.state == State.DONE:
        return done
    if operation.state == State.REFUSED:
        return messages.ERROR, _refusal(operation.error_message, operation.error_code)
    if operation.state == State.UNKNOWN:
        return messages.WARNING, UNKNOWN
    if operation.state == State.SENT:
        return messages.INFO, _("It is being sent at this very moment; reload this page to see the outcome.")
    if operation.error_code:
        return messages.WARNING, _(
            "WeChat Pay has not taken it yet, so surely nothing has happened so far. It is written down and will be "
            "sent again by itself, soon."
        )
    return messages.SUCCESS, _("It is written down and will be sent by itself, soon.")


def _refusal(message, code):
    if not message and not code:
        return _("It was refused: nothing happened.")
    return format_lazy(_("Refused: {message} ({code}). Nothing happened."), message=message.rstrip("."), code=code)


def of_error(error, row):
    """(level, words) about an error of a service that wrote nothing down for this row."""
    if isinstance(error, exceptions.RefundTooLarge):
        words = gettext("Only %(amount)s can still be refunded. Nothing was sent.")
        return messages.ERROR, words % {"amount": amounts.in_words(error.refundable_amount, row.currency)}
    for kind, words in REFUSALS.items():
        if isinstance(error, kind):
            return messages.ERROR, words
    if isinstance(error, exceptions.OperationPending):
        return messages.ERROR, _(
            "Something else is being asked of WeChat Pay for this at the moment. Nothing was sent. Try again when its "
            "outcome is known."
        )
    if isinstance(error, (exceptions.NotAllowedNow, InvalidField)):
        return messages.ERROR, str(error)
    if isinstance(error, OutcomeUnknown):
        return messages.WARNING, UNKNOWN
    return messages.ERROR, of_query_error(error)


def of_query_error(error):
    """Words about a question that got no answer; a question changes nothing, so it may be asked again."""
    if isinstance(error, RateLimited):
        return _("WeChat Pay takes no more questions from this merchant for the moment. Try again in a minute.")
    if isinstance(error, (RequestNotSent, OutcomeUnknown)):
        return _("WeChat Pay could not be reached, or gave no clear answer. Nothing has changed; try again later.")
    if isinstance(error, APIError):
        words = gettext("WeChat Pay answered: %(message)s (%(code)s).")
        return words % {"message": error.message.rstrip("."), "code": error.code or error.status}
    return str(error)
