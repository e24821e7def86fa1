"""Asking WeChat Pay how a row stands: changes nothing there, so it may be asked as often as one likes."""

from typing import Any

from django.contrib import messages
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..client.errors import WxPayError
from ..engine import polling
from . import outcomes
from .actions import StaffAction
from .outcomes import Done


class Query(StaffAction):
    """`sync` is the service that asks about one row."""

    name = "query"
    label = _("Query")
    button = _("Ask WeChat Pay now")
    list_heading = _("Ask WeChat Pay about these rows?")
    sync: Any = None

    def consequences(self, row):
        return [
            _("WeChat Pay is asked how this stands. Nothing changes there."),
            _("What it says is recorded here, and the shop hears of it, as it would from a notification."),
        ]

    def perform(self, row, asked, *, reference, by):
        try:
            row = self.sync(row)
        except WxPayError as error:
            return Done(messages.WARNING, outcomes.of_query_error(error), row)
        words = gettext("WeChat Pay was asked. It is: %(state)s.")
        return Done(messages.SUCCESS, words % {"state": row.get_state_display()}, row)

    def plan(self, row, asked, *, reference, by):
        polling.plan_query(row)
        return Done(messages.SUCCESS, _("WeChat Pay will be asked within seconds."), row)
