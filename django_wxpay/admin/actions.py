"""What staff may do to one row or to many, always on a page of its own that says first what will happen.

A `StaffAction` is one such thing: its permission, when it is possible, its form, and the ONE service that does it.
`StaffActionsAdmin` gives each of its actions a page (`order/12/refund/`) and, where the action has a `plan`, one for
the rows that were chosen in a list (`order/refund-selected/`).
"""

import logging
from typing import Any, NamedTuple

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..client.errors import WxPayError
from ..engine import transactions
from . import outcomes, tokens
from .base import ReadOnlyAdmin, change_url, link_to
from .outcomes import Done

logger = logging.getLogger(__name__)
MOST_ROWS = 1000
DONE_BEFORE = Done(messages.INFO, "", None)  # what a service found under its reference was there already
DONE_AT_ONCE = _("Each is done at once, one after the other; the next page shows what became of each.")
STALE = _("This page was open for too long, or belongs to somebody else. Nothing was done. Look again, then confirm.")


class StaffAction:
    """One thing that staff may do to a row. Texts are lazy; `row` is always freshly read."""

    name: str  # the last part of its address
    permission: str
    label: Any  # on the link to its page
    heading: Any  # a question, above what will happen
    button: Any
    form_class: type[forms.Form] = forms.Form
    tone = "plain"  # or "danger": money moves, or something ends for good
    confirms = False  # whether what was filled in is shown once more, and done under a button that names it
    continue_button: Any = _("Continue")  # of the form, when it is
    leave_link: Any = _("Cancel")  # beside the button

    list_heading: Any = ""
    list_note: Any = _(
        "Each is written down and sent by a worker, one after the other; the next page shows what became of each."
    )
    list_form_class: type[forms.Form] = forms.Form

    def why_not(self, row):
        """Why this is impossible for the row now, "" when it is possible. Asks the row only, not the database."""
        return ""

    def why_not_now(self, row):
        """`why_not`, having looked at everything else that matters as well."""
        return self.why_not(row)

    def facts(self, row):
        """What the row is, for whoever confirms: [(term, value)]."""
        return []

    def consequences(self, row):
        """What will happen, one sentence each."""
        return []

    def form(self, row, data=None):
        return self.form_class(data)

    def seen(self, row: Any) -> Any:
        """What its page shows of the row, and must not have changed when it is confirmed; JSON-able."""
        return None

    def meanwhile(self, row: Any, seen: Any) -> list[Any]:
        """What has changed since a page that showed `seen`, one sentence each."""
        return []

    def asked_facts(self, row: Any, asked: Any) -> list[tuple[Any, Any]]:
        """What was filled in, for whoever confirms it: [(term, value)]."""
        return []

    def button_for(self, row: Any, asked: Any) -> Any:
        """The words on the button that does it."""
        return self.button

    def perform(self, row, asked, *, reference, by):
        """Do it now by calling one service; returns `Done`, ASKED_BEFORE, or None when `result` can tell."""
        raise NotImplementedError

    def result(self, row, reference):
        """What became of what this reference asked for, as `Done`; None when nothing was asked under it."""
        return None

    # The half for many rows

    def list_asked(self, row):
        """What will be asked for this row when it is one of many; JSON-able, fixed when the page is shown."""
        return {}

    def list_facts(self, row, asked):
        """How `list_asked` reads on the page."""
        return row.get_state_display()

    def list_total(self, chosen):
        """All of it together, in words; chosen: [(row, asked)]."""
        return ""

    def plan(self, row, asked, *, reference, by):
        """Write it down for a worker, by one service of the `plan_…` kind; returns as `perform` does."""
        raise NotImplementedError


class Chosen(NamedTuple):
    """A row in a list's page: before the confirmation, or after it."""

    link: Any
    text: Any
    problem: Any = ""
    done: Done | None = None


class StaffActionsAdmin(ReadOnlyAdmin):
    staff_actions: tuple[StaffAction, ...] = ()

    def get_urls(self):
        """Each action's pages, outside of transactions whatever ATOMIC_REQUESTS says: services send in none."""
        own = []
        for action in self.staff_actions:
            own.append(self._path(f"<path:object_id>/{action.name}/", self._page(action), action.name))
            if action.list_heading:
                own.append(self._path(f"{action.name}-selected/", self._list_page(action), f"{action.name}_selected"))
        return own + super().get_urls()

    def _path(self, route, view, name):
        wrapped = transactions.outside(self.admin_site.admin_view(view))
        return path(route, wrapped, name=f"{self.opts.app_label}_{self.opts.model_name}_{name}")

    def _page(self, action):
        return lambda request, object_id: self.action_view(request, object_id, action)

    def _list_page(self, action):
        return lambda request: self.action_many_view(request, action)

    def tools(self, request, row):
        """Links to what this person may do to this row now."""
        possible = [
            action
            for action in self.staff_actions
            if self.may(request, action.permission) and not action.why_not_now(row)
        ]
        return [
            {"url": self.url_of(action.name, row.pk), "label": action.label, "tone": action.tone, "name": action.name}
            for action in possible
        ]

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context["wxpay_tools"] = self.tools(request, obj)
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)

    # One row

    def action_view(self, request, object_id, action):
        if not self.has_view_permission(request) or not self.may(request, action.permission):
            self.refuse(request, action.name)
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_permission(request, row):
            self.refuse(request, action.name, row)
        if request.method == "POST":
            done = self._submitted(request, action, row, action.form(row, request.POST))
            if isinstance(done, TemplateResponse):
                return done
            messages.add_message(request, done.level, done.text)
            return HttpResponseRedirect(self._after(request, row, done))
        return self._action_page(request, action, row, action.form(row))

    def _submitted(self, request, action, row, form):
        """What became of the submission; or the page that asks, once more or for the first time about these values."""
        try:
            token = request.POST.get("token", "")
            reference, (pk, seen, confirmed) = tokens.read(token, request.user, self._token_of(action))
            if pk != str(row.pk):
                raise tokens.TokenRefused
        except (tokens.TokenRefused, ValueError):
            form.add_error(None, STALE)
            return self._action_page(request, action, row, form)
        is_possible = not action.why_not_now(row) and form.is_valid()
        changed = seen != action.seen(row)
        # Looked up last: what this very submission has changed, sent twice at this moment, is no change to ask about.
        known = action.result(row, reference)
        if known is not None:
            return self._again(known)
        if not is_possible:
            return self._action_page(request, action, row, form)
        if changed or (action.confirms and confirmed != form.cleaned_data):
            meanwhile = action.meanwhile(row, seen) if changed else []
            asked = form.cleaned_data if action.confirms else None
            return self._action_page(request, action, row, form, asked=asked, meanwhile=meanwhile)
        try:
            done = action.perform(row, form.cleaned_data, reference=reference, by=request.user)
        except WxPayError as error:
            done = action.result(row, reference)
            if done is None:
                _show_error(form, error, row)
                return self._action_page(request, action, row, form)
        if done is DONE_BEFORE:  # by a submission at this very moment
            return self._again(action.result(row, reference))
        done = done or action.result(row, reference)
        self.log_change(request, row, f"{action.label}: {done.text}")
        return done

    def _again(self, known):
        words = gettext("This was asked for before; nothing more was asked now. %(result)s")
        return known._replace(level=messages.INFO, text=words % {"result": known.text})

    def _after(self, request, row, done):
        """The page of the row that tells most, if this person may see it."""
        if done.row is not None and done.row != row:
            shown = self.admin_site.get_model_admin(type(done.row)) if self._shows(type(done.row)) else None
            if shown is not None and shown.has_view_permission(request, done.row):
                return change_url(type(done.row), done.row.pk, self.admin_site)
        return self.url_of("change", row.pk)

    def _shows(self, model):
        return self.admin_site.is_registered(model)

    def _token_of(self, action):
        return f"{self.opts.label_lower}:{action.name}"

    def _action_page(self, request, action, row, form, *, asked=None, meanwhile=()):
        """The page that asks. asked: what was filled in, when only that is to be confirmed."""
        why_not = action.why_not_now(row)
        does_it = asked is not None or not action.confirms
        context = {
            **self.page_context(request, action.heading),
            "crumb": action.label,
            "action": action,
            "row": row,
            "facts": action.facts(row) + ([] if asked is None else action.asked_facts(row, asked)),
            "meanwhile": meanwhile,
            "confirming": asked is not None,
            "button": action.button_for(row, asked) if does_it else action.continue_button,
            "why_not": why_not,
            "consequences": [] if why_not else action.consequences(row),
            "form": form,
            "token": tokens.make(request.user, self._token_of(action), [str(row.pk), action.seen(row), asked]),
            "action_url": self.url_of(action.name, row.pk),
            "row_url": self.url_of("change", row.pk),
        }
        return TemplateResponse(request, "admin/django_wxpay/action.html", context)

    # Many rows

    def confirm_selected(self, request, queryset, action):
        """The page that a list's action shows: what was chosen, and what will be asked."""
        rows = list(queryset.order_by("pk")[: MOST_ROWS + 1])
        if len(rows) > MOST_ROWS:
            words = gettext("Choose at most %(most)s rows at a time. Nothing was done.")
            self.message_user(request, words % {"most": MOST_ROWS}, messages.ERROR)
            return None
        return self._list_confirmation(request, action, rows, action.list_form_class())

    def _list_confirmation(self, request, action, rows, form, chosen=None):
        problems = [(row, action.why_not(row)) for row in rows]
        possible = [(row, action.list_asked(row)) for row, problem in problems if not problem]
        about = [[str(row.pk), asked, action.seen(row)] for row, asked in possible]
        shown = [Chosen(link_to(row, site=self.admin_site), action.list_facts(row, asked)) for row, asked in possible]
        left_out = [Chosen(link_to(row, site=self.admin_site), "", why) for row, why in problems if why]
        context = {
            **self.page_context(request, action.list_heading),
            "crumb": action.label,
            "action": action,
            "possible": shown,
            "left_out": left_out,
            "total": action.list_total(possible),
            "form": form,
            "token": tokens.make(request.user, self._token_of(action) + ":selected", about),
            "action_url": self.url_of(f"{action.name}_selected"),
        }
        return TemplateResponse(request, "admin/django_wxpay/action_many.html", context)

    def action_many_view(self, request, action):
        """Plan it for each chosen row, one by one, and show what became of each."""
        if not self.has_view_permission(request) or not self.may(request, action.permission):
            self.refuse(request, f"{action.name}-selected")
        if request.method != "POST":
            return HttpResponseRedirect(self.url_of("changelist"))
        try:
            token = request.POST.get("token", "")
            reference, about = tokens.read(token, request.user, self._token_of(action) + ":selected")
        except tokens.TokenRefused:
            self.message_user(request, STALE, messages.ERROR)
            return HttpResponseRedirect(self.url_of("changelist"))
        rows = {str(pk): row for pk, row in self.get_queryset(request).in_bulk([pk for pk, *_ in about]).items()}
        form = action.list_form_class(request.POST)
        if not form.is_valid():
            return self._list_confirmation(request, action, list(rows.values()), form)
        results = []
        for pk, asked, seen in about:
            row = rows.get(pk)
            if row is not None and self.has_view_permission(request, row):
                done = self._plan_one(request, action, row, {**asked, **form.cleaned_data}, seen, reference)
                results.append(Chosen(link_to(row, site=self.admin_site), action.list_facts(row, asked), done=done))
        title = ngettext("%(action)s: what became of %(n)s row", "%(action)s: what became of %(n)s rows", len(results))
        context = {
            **self.page_context(request, title % {"action": action.label, "n": len(results)}),
            "crumb": action.label,
            "results": results,
            "counts": _count(results),
        }
        return TemplateResponse(request, "admin/django_wxpay/results.html", context)

    def _plan_one(self, request, action, row, asked, seen, reference):
        changed = seen != action.seen(row)
        known = action.result(row, reference)  # looked up last, as for one row
        if known is not None:
            return self._again(known)
        if changed:
            meanwhile = " ".join(map(str, action.meanwhile(row, seen)))
            words = gettext("It has changed since the page was made: nothing was asked. %(changes)s")
            return Done(messages.ERROR, words % {"changes": meanwhile}, row)
        try:
            done = action.plan(row, asked, reference=reference, by=request.user) or action.result(row, reference)
        except WxPayError as error:
            return Done(*outcomes.of_error(error, row), row)
        except Exception:  # one broken row must not keep the others from being asked for
            logger.exception("list action broke action=%s %s=%s", action.name, self.opts.model_name, row.pk)
            return Done(messages.ERROR, _("An unexpected fault; it is in the log. Nothing was asked."), row)
        if done is DONE_BEFORE:
            return self._again(action.result(row, reference))
        self.log_change(request, row, f"{action.label}: {done.text}")
        return done


def _show_error(form, error, row):
    """Put a service's refusal where it belongs in the form."""
    level, words = outcomes.of_error(error, row)
    field = getattr(error, "field", "").rpartition(".")[2]  # time_range.end_time: ours have the last part
    form.add_error(field if field in form.fields else None, words)


def _count(results):
    """[(tag, how many)] of a list's results, the good ones first."""
    tags = [one.done.tag for one in results]
    return [(tag, tags.count(tag)) for tag in ("success", "info", "warning", "error") if tag in tags]
