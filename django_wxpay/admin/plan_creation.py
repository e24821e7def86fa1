"""The page on which staff write a new PayScore plan: its services, the sums they come to, and a button to create it."""

from __future__ import annotations

import re
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.forms import BaseFormSet, formset_factory
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..client.errors import InvalidField, WxPayError
from ..models import Action, Operation, PayscorePlan
from ..services import payscore
from . import amounts, outcomes, tokens
from .actions import STALE, StaffActionsAdmin
from .fetches import MerchantForm
from .outcomes import Done

CURRENCY = PayscorePlan.currency
CREATE = "create"
MORE_SERVICES, MOST_SERVICES = 3, 100
# Our fields by the wire's names, in which services speak of them.
FIELDS = {
    "plan_name": "name",
    "plan_duration": "duration_days",
    "plan_detail_name": "name",
    "plan_discount_description": "discount_description",
}


class DetailForm(forms.Form):
    """One service of a plan."""

    name = forms.CharField(label=_("Name"), max_length=20)
    original_price = amounts.AmountField(label=_("Original price"), currency=CURRENCY, may_be_free=True)
    actual_price = amounts.AmountField(label=_("Price"), currency=CURRENCY, may_be_free=True)
    discount_description = forms.CharField(label=_("Discount"), max_length=20, required=False)


class DetailsForm(BaseFormSet):  # type: ignore[type-arg]
    """The services of a plan, in their order. What is left empty is left out."""

    def clean(self) -> None:
        before = None
        for form in self.filled:
            original, actual = (form.cleaned_data.get(name) for name in ("original_price", "actual_price"))
            if actual is None:
                continue
            if original is not None and actual > original:
                form.add_error("actual_price", _("It is more than the original price."))
            elif before is not None and actual > before:
                form.add_error("actual_price", _("It is more than the price of the service before: prices never rise."))
            before = actual

    @property
    def filled(self) -> list[Any]:
        """The forms in which something is written."""
        return [form for form in self.forms if form.has_changed()]


class PlanForm(MerchantForm):
    """A plan but for its services."""

    region = "mainland"
    nobody = _("There is no mainland merchant in the settings.")
    sub_mchid_help = _("Whose plan it is. Empty: the sub-merchant of the settings.")

    name = forms.CharField(label=_("Name"), max_length=20, help_text=_("Shown to the customer."))
    duration_days = forms.IntegerField(
        label=_("Valid for (days)"), min_value=1, help_text=_("From the day on which a customer signs.")
    )


DetailFormSet: Any = formset_factory(DetailForm, formset=DetailsForm, extra=0, max_num=MOST_SERVICES)


class CreatesPlans(StaffActionsAdmin):
    """The list of plans with a link to the page of a new one."""

    change_list_template = "admin/django_wxpay/fetched_list.html"

    def get_urls(self) -> list[Any]:
        return [self._path(f"{CREATE}/", self.create_view, CREATE), *super().get_urls()]

    def may_create(self, request: HttpRequest) -> bool:
        allowed: bool = self.has_view_permission(request) and self.may(request, "create_plan")
        return allowed

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        tools = [{"url": self.url_of(CREATE), "label": _("Create a plan")}] if self.may_create(request) else []
        return super().changelist_view(request, extra_context={**(extra_context or {}), "wxpay_tools": tools})

    def create_view(self, request: HttpRequest) -> HttpResponse:
        """The page with the plan and its services; filled in, it is shown once more before it is created."""
        if not self.may_create(request):
            self.refuse(request, CREATE)
        if request.method != "POST":
            return self._create_page(request, PlanForm(), _empty_services())
        form, details = PlanForm(request.POST), DetailFormSet(request.POST, prefix="details")
        if "more" in request.POST:
            return self._create_page(request, *_with_more(request.POST, details.total_form_count()))
        if "change" in request.POST:
            return self._create_page(request, form, details)
        done = self._submitted_plan(request, form, details)
        if isinstance(done, TemplateResponse):
            return done
        messages.add_message(request, done.level, done.text)
        return HttpResponseRedirect(self.url_of("change", done.row.pk))

    def _submitted_plan(self, request: HttpRequest, form: PlanForm, details: Any) -> Done | TemplateResponse:
        """What became of the submission; or the page that asks, once more or for the first time about these values."""
        try:
            token = request.POST.get("token", "")
            reference, (newest, confirmed) = tokens.read(token, request.user, self._token_of_creation())
        except (tokens.TokenRefused, ValueError):
            form.add_error(None, STALE)
            return self._create_page(request, form, details)
        are_valid = all([form.is_valid(), details.is_valid()])
        meanwhile = _created_since(newest)
        mchids = [merchant.mchid for merchant in form.merchants.values()]
        known = PayscorePlan.objects.filter(mchid__in=mchids, reference=reference).first()
        if known is not None:  # looked up last: what this very submission has created is no change to ask about
            return self._again(_outcome(known))
        if not are_valid:
            return self._create_page(request, form, details)
        asked = form.cleaned_data | {"details": [one.cleaned_data for one in details.filled]}
        if not asked["details"]:
            form.add_error(None, _("A plan has one service at least."))
            return self._create_page(request, form, details)
        if meanwhile or confirmed != asked:
            return self._create_page(request, form, details, asked=asked, meanwhile=meanwhile)
        return self._create(request, form, details, asked, reference)

    def _create(
        self, request: HttpRequest, form: PlanForm, details: Any, asked: dict[str, Any], reference: str
    ) -> Done | TemplateResponse:
        wanted = asked | {"sub_mchid": asked["sub_mchid"] or None}
        try:
            plan = payscore.create_plan(**wanted, reference=reference, by=cast(Any, request.user))
        except (WxPayError, ImproperlyConfigured) as error:
            mchid = form.merchants[asked["merchant"]].mchid
            refused = PayscorePlan.objects.filter(mchid=mchid, reference=reference).first()
            if refused is None:
                _blame(form, details, error)
                return self._create_page(request, form, details)
            plan = refused
        else:
            if plan.was_known:  # by a submission at this very moment
                return self._again(_outcome(plan))
        done = _outcome(plan)
        self.log_addition(request, plan, f"{_('Create a plan')}: {done.text}")
        return done

    def _create_page(
        self,
        request: HttpRequest,
        form: PlanForm,
        details: Any,
        *,
        asked: dict[str, Any] | None = None,
        meanwhile: list[str] | None = None,
    ) -> TemplateResponse:
        """The page that asks. asked: what was filled in, when only that is to be confirmed."""
        newest = PayscorePlan.objects.order_by("-pk").values_list("pk", flat=True).first()
        context = {
            **self.page_context(request, _("Create a plan")),
            "crumb": _("Create a plan"),
            "form": form,
            "details": details,
            "asked": None if asked is None else _in_words(asked),
            "meanwhile": meanwhile,
            "consequences": [
                _("WeChat Pay creates the plan; customers can sign it at once."),
                _("A plan cannot be changed afterwards: it can only be stopped, and another one created."),
                _("Nobody is charged by this."),
            ],
            "token": tokens.make(request.user, self._token_of_creation(), [newest or 0, asked]),
            "action_url": self.url_of(CREATE),
        }
        return TemplateResponse(request, "admin/django_wxpay/create_plan.html", context)

    def _token_of_creation(self) -> str:
        return f"{self.opts.label_lower}:{CREATE}"


def _empty_services() -> Any:
    return formset_factory(DetailForm, formset=DetailsForm, extra=MORE_SERVICES, max_num=MOST_SERVICES)(
        prefix="details"
    )


def _with_more(posted: Any, so_far: int) -> tuple[PlanForm, Any]:
    """The same page with some empty services more."""
    more = posted.copy()
    more["details-TOTAL_FORMS"] = str(min(so_far + MORE_SERVICES, MOST_SERVICES))
    form, details = PlanForm(posted), DetailFormSet(more, prefix="details")
    blank: Any
    for blank in (form, *details.forms):  # nothing is wrong yet
        blank._errors = {}
    return form, details


def _created_since(newest: int) -> list[str]:
    """The plans that were created since a page was made, one sentence each."""
    words = gettext("“%(name)s” for %(price)s was created meanwhile.")
    return [
        words % {"name": plan.plan_name, "price": amounts.in_words(plan.total_actual_price, CURRENCY)}
        for plan in PayscorePlan.objects.filter(pk__gt=newest).order_by("pk")
    ]


def _outcome(plan: PayscorePlan) -> Done:
    operation = Operation.objects.of(plan).filter(action=Action.CREATE_PLAN).get()
    done = (messages.SUCCESS, _("The plan is created: customers can sign it."))
    level, words = outcomes.of_operation(operation, done)
    return Done(level, words, plan)


def _blame(form: PlanForm, details: Any, error: Exception) -> None:
    """Put a service's refusal where it belongs: at a field of the plan, or of one of its services."""
    words = outcomes.of_error(error, None)[1] if isinstance(error, WxPayError) else str(error)
    named = error.field if isinstance(error, InvalidField) else ""
    found = re.fullmatch(r"plan_detail_list\[(\d+)\]\.(\w+)", named)
    at: forms.Form = details.filled[int(found[1])] if found else form
    name = found[2] if found else named
    name = FIELDS.get(name, name)
    at.add_error(name if name in at.fields else None, words)


def _in_words(asked: dict[str, Any]) -> dict[str, Any]:
    """What was filled in, as people read it, with its sums."""
    services = [
        {
            "no": no,
            "name": one["name"],
            "original": amounts.in_words(one["original_price"], CURRENCY),
            "actual": amounts.in_words(one["actual_price"], CURRENCY),
            "discount": one["discount_description"],
        }
        for no, one in enumerate(asked["details"], 1)
    ]
    sums = [
        amounts.in_words(sum(one[name] for one in asked["details"]), CURRENCY)
        for name in ("original_price", "actual_price")
    ]
    return asked | {"services": services, "original": sums[0], "actual": sums[1]}
