"""What staff may do about a service order: complete, lower, cancel, report as paid elsewhere, collect, query."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Action, Operation, ServiceOrder
from ..services import service_orders
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .facts import of_service_order
from .outcomes import Done
from .queries import Query
from .service_order_forms import BillForm, CompletionForm, ModificationForm, PaidForm, ReasonForm

CURRENCY = ServiceOrder.currency
NOT_COLLECTING = _("It is not being collected: there is nothing to do about its amount.")
REPORTED = _("It was reported as paid elsewhere, and not queried since. Query it first.")


class OrderAction(StaffAction):
    """Something asked of WeChat Pay about a service order, found again by its reference."""

    action: Action
    done: Any  # in words

    def facts(self, row: ServiceOrder) -> list[tuple[Any, Any]]:
        return of_service_order(row)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        raise NotImplementedError

    def perform(self, row: ServiceOrder, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = self.ask(row, asked, reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def result(self, row: ServiceOrder, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=self.action, reference=reference).first()
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, self.done))
        return Done(level, words, row)


class UnlessReported(OrderAction):
    """It waits until a query has told what became of a payment elsewhere."""

    def why_not_now(self, row: ServiceOrder) -> Any:
        return self.why_not(row) or (REPORTED if service_orders.was_just_reported(row) else "")


class WhileCollecting(UnlessReported):
    """It is about what WeChat Pay is collecting."""

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_collecting else NOT_COLLECTING


class WithBill(OrderAction):
    """It names an amount, which is shown once more before it is asked for."""

    confirms = True
    button_naming: Any  # the words on the button that does it

    def seen(self, row: ServiceOrder) -> Any:
        return [row.state, row.state_description, row.total_amount]

    def meanwhile(self, row: ServiceOrder, seen: Any) -> list[Any]:
        return [_("The service order is in another state, or costs another amount now.")]

    def asked_facts(self, row: ServiceOrder, asked: dict[str, Any]) -> list[tuple[Any, Any]]:
        lines = [(one["name"], amounts.in_words(one["amount"], CURRENCY)) for one in asked["payments"]]
        off = [(one["name"], amounts.in_words(-one["amount"], CURRENCY)) for one in asked["discounts"]]
        return [*lines, *off, (_("To be collected"), amounts.in_words(asked["total"], CURRENCY))]

    def button_for(self, row: ServiceOrder, asked: dict[str, Any]) -> Any:
        return self.button_naming % {"amount": amounts.in_words(asked["total"], CURRENCY)}


class Complete(WithBill):
    name = "complete"
    permission = "complete_serviceorder"
    action = Action.COMPLETE
    label = _("Complete")
    heading = _("Complete this service?")
    button = _("Complete")
    button_naming = _("Collect %(amount)s")
    tone = "danger"
    done = _("It is completed. Whether it is paid shows here within moments.")

    def why_not(self, row: ServiceOrder) -> Any:
        return "" if row.is_running else _("Only a service in use can be completed.")

    def consequences(self, row: ServiceOrder) -> list[Any]:
        signed = amounts.in_words(row.detail.actual_price, CURRENCY)
        return [
            gettext("WeChat Pay collects the amount from the customer, at most the %(price)s that were signed.")
            % {"price": signed},
            _("The customer sees the items and the discounts."),
            _("It goes on trying until it is paid; until then the amount can be lowered."),
            _("What is paid can be refunded on the page of its order."),
        ]

    def form(self, row: ServiceOrder, data: Any = None) -> BillForm:
        return CompletionForm(row, data)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        more = {name: asked[name] for name in ("payments", "discounts", "end_location", "goods_tag")}
        ended = datetime.fromisoformat(asked["end_time"]) if asked["end_time"] else None
        return service_orders.complete(
            row, **more, end_time=ended, profit_sharing=asked["profit_sharing"] or None, **how
        )


class Modify(WithBill, WhileCollecting):
    name = "modify"
    permission = "complete_serviceorder"
    action = Action.MODIFY
    label = _("Lower the amount")
    heading = _("Lower the amount of this service order?")
    button = _("Lower the amount")
    button_naming = _("Lower the amount to %(amount)s")
    tone = "danger"
    done = _("The amount is lowered.")

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [
            _("WeChat Pay collects the lower amount instead. It can never be raised again."),
            _("Should the old amount be paid at this moment, the difference can be refunded."),
        ]

    def form(self, row: ServiceOrder, data: Any = None) -> BillForm:
        return ModificationForm(row, data)

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        named = {name: asked[name] for name in ("payments", "discounts", "reason")}
        return service_orders.modify(row, **named, **how)


class CancelOrder(UnlessReported):
    name = "cancel"
    permission = "cancel_serviceorder"
    action = Action.CANCEL
    label = _("Cancel")
    heading = _("Cancel this service order?")
    button = _("Cancel the service order")
    leave_link = _("Back")
    tone = "danger"
    form_class = list_form_class = ReasonForm
    list_heading = _("Cancel these service orders?")
    done = _("The service order is cancelled.")

    def why_not(self, row: ServiceOrder) -> Any:
        if row.state not in (ServiceOrder.State.CREATED, ServiceOrder.State.DOING):
            return _("It is over (or not begun): what was paid can be refunded.")
        return ""

    def consequences(self, row: ServiceOrder) -> list[Any]:
        told = [
            _("The customer is not charged for this service."),
            _("The service is used up by it: it cannot be started again."),
        ]
        if row.is_collecting:
            told.append(
                _(
                    "It is being collected: WeChat Pay may refuse. Then lower its amount, or report it as paid "
                    "elsewhere."
                )
            )
        return told

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.cancel(row, reason=asked["reason"], **how)

    def plan(self, row: ServiceOrder, asked: dict[str, Any], *, reference: str, by: Any) -> Done | None:
        row = service_orders.plan_cancellation(row, reason=asked["reason"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE


class ReportPaid(WhileCollecting):
    name = "report_paid"
    permission = "report_serviceorder_paid"
    action = Action.REPORT_PAID
    label = _("Paid elsewhere")
    heading = _("Report this service order as paid elsewhere?")
    button = _("Report it as paid")
    tone = "danger"
    form_class = PaidForm
    done = _("WeChat Pay knows that it is paid, and collects no more.")

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [
            _("Only when the customer has really paid you in cash or otherwise: WeChat Pay collects no more."),
            _("What was paid elsewhere cannot be refunded here."),
            _("Should WeChat Pay collect it at this moment, it is paid twice: a discrepancy will say so."),
        ]

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.report_paid(row, paid_time=datetime.fromisoformat(asked["paid_time"]), **how)


class Collect(WhileCollecting):
    name = "collect"
    permission = "complete_serviceorder"
    action = Action.COLLECT
    label = _("Collect now")
    heading = _("Ask for a collection now?")
    button = _("Collect now")
    done = _("WeChat Pay tries to collect it now. Whether it is paid shows here within moments.")

    def consequences(self, row: ServiceOrder) -> list[Any]:
        return [_("WeChat Pay tries to collect the amount now; it also does so by itself from time to time.")]

    def ask(self, row: ServiceOrder, asked: dict[str, Any], **how: Any) -> ServiceOrder:
        return service_orders.collect(row, **how)


class QueryServiceOrder(Query):
    permission = "query_serviceorder"
    heading = _("Ask WeChat Pay about this service order?")
    sync = staticmethod(service_orders.sync)

    def facts(self, row: ServiceOrder) -> list[tuple[Any, Any]]:
        return [*of_service_order(row), (_("Last confirmed"), row.synced_at)]


COMPLETE, MODIFY, CANCEL, REPORT_PAID, COLLECT = Complete(), Modify(), CancelOrder(), ReportPaid(), Collect()
QUERY = QueryServiceOrder()
