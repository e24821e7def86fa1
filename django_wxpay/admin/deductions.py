"""What staff may do about an order that was not paid: close it for good, or charge again."""

from django.contrib import messages
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..engine import registry
from ..models import Action, Contract, Operation, Order
from ..services import orders
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .facts import of_order
from .outcomes import Done


class CloseOrder(StaffAction):
    name = "close"
    permission = "close_order"
    label = pgettext_lazy("payment", "Close")  # Django has a "Close" of its own
    heading = _("Close this unpaid order for good?")
    button = _("Close the order")
    tone = "danger"

    def why_not(self, row):
        if row.is_paid:
            return _("The order is paid: it is refunded, never closed.")
        if row.is_dead:
            return _("The order will not be paid any more: there is nothing to close.")
        if row.combine_order_id:
            return _("It is part of a combined order: that one is closed.")
        return ""

    def facts(self, row):
        return of_order(row)

    def consequences(self, row):
        product = registry.product_of(row)
        will = [_("WeChat Pay is asked to reverse the order: it will never be paid.")]
        if product.reversal_pays_back:
            will.append(_("Should the payer have paid already, the money goes back to the payer."))
        else:
            will.append(_("Should it turn out to be paid, the order shows as paid, and can be refunded."))
        if product.can_be_retried:
            will.append(_("The charge can be tried again afterwards, under a new number."))
        return will

    def perform(self, row, asked, *, reference, by):
        row = orders.reverse(row, reference=reference, by=by)
        if row.operation:
            return None
        return self.result(row, reference) or Done(messages.INFO, self.why_not(row) or row.get_state_display(), row)

    def result(self, row, reference):
        operation = Operation.objects.of(row).filter(action=Action.REVERSE, reference=reference).first()
        if operation is None:
            return None
        row = Order.objects.get(pk=row.pk)
        if operation.state == Operation.State.REFUSED and row.is_paid:
            return Done(messages.WARNING, _("The order turned out to be paid: it was not closed. Refund it."), row)
        closed = messages.SUCCESS, _("The order is closed: it will not be paid.")
        return Done(*outcomes.of_operation(operation, closed), row)


class RetryDeduction(StaffAction):
    name = "retry"
    permission = "retry_order"
    label = _("Charge again")
    heading = _("Charge the user again?")
    button = _("Charge again")
    tone = "danger"

    def why_not(self, row):
        if row.product != Order.Product.PAPAY or row.contract_id is None:
            return _("Only deductions from a contract can be tried again.")
        if row.is_paid:
            return _("The order is paid: there is nothing to try again.")
        return "" if row.is_dead else _("The order may still be paid: close it first.")

    def why_not_now(self, row):
        problem = self.why_not(row)
        if problem:
            return problem
        if row.contract.state != Contract.State.SIGNED:
            return _("The contract is not signed (any more): it cannot be charged.")
        return _("It was tried again already; see the later attempt.") if _later_attempt(row) else ""

    def facts(self, row):
        return [*of_order(row), (_("Contract"), row.contract), (_("Attempt"), row.attempt)]

    def consequences(self, row):
        amount = amounts.in_words(row.amount_total, row.currency)
        return [
            gettext("%(amount)s are deducted from the user again, under a new order number.") % {"amount": amount},
            _("This attempt stays as it is: it is proved that it was not paid and never will be."),
        ]

    def button_for(self, row, asked):
        return gettext("Charge %(amount)s again") % {"amount": amounts.in_words(row.amount_total, row.currency)}

    def perform(self, row, asked, *, reference, by):
        later = orders.retry_deduction(row, by=by)
        return _charged(later) if later.operation else DONE_BEFORE

    def result(self, row, reference):
        """An attempt has one successor, whatever form asked for it."""
        later = _later_attempt(row)
        return _charged(later) if later else None


def _later_attempt(row):
    attempts = Order.objects.filter(mchid=row.mchid, sub_mchid=row.sub_mchid, reference=row.reference)
    attempts = attempts.filter(attempt__gt=row.attempt)
    return attempts.order_by("attempt").first()


def _charged(order):
    operation = Operation.objects.of(order).filter(action=Action.DEDUCT).first()
    words = gettext("Attempt %(attempt)s: %(state)s.") % {
        "attempt": order.attempt, "state": order.get_state_display(),
    }  # fmt: skip
    charged = (messages.SUCCESS if order.is_paid else messages.INFO), words
    return Done(*outcomes.of_operation(operation, charged), order) if operation else Done(*charged, order)
