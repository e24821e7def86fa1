"""The page of a contract, an order or a refund: how it stands, what may be done, and its whole story."""

from typing import Any, NamedTuple

from . import timeline
from .actions import StaffActionsAdmin


class Part(NamedTuple):
    """One figure of the summary on top of a page. code: the wire's own word for it."""

    term: Any
    value: Any
    code: str = ""


class ObjectAdmin(StaffActionsAdmin):
    ordering = ["-created_at", "-pk"]  # by the index that also serves a day, a month or one state of them

    def summary(self, row):
        """What one wants to know first: [Part]."""
        return []

    def related(self, row):
        """Tables below the fields: [{"title", "heads", "rows", "more", "empty"}]."""
        return []

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context |= {
            "wxpay_summary": self.summary(obj),
            "wxpay_related": self.related(obj),
            "wxpay_timeline": timeline.lines(obj, self.admin_site),
        }
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)
