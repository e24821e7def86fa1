"""PayScore plans: create, stop, query."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.forms import formset_factory
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..client.errors import InvalidField, WxPayError
from ..client.payscore import NAME_LENGTH
from ..models import Action, Operation, PayscorePlan, SignPlan
from ..services import payscore
from . import amounts, outcomes, tokens
from .actions import STALE, StaffAction
from .base import badge, link_to, shortened
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .queries import Query

CURRENCY = PayscorePlan.currency
CREATE = "create"
MORE_SERVICES = 3
SHOWN = 20


class PriceField(amounts.AmountField):
    """An amount that may be nothing: the service is free."""

    def clean(self, value: Any) -> int:
        text = forms.CharField.clean(self, value).strip()
        return 0 if text and not text.strip("0.") and any(digit == "0" for digit in text) else super().clean(value)


class DetailForm(forms.Form):
    """One service of a plan."""

    name = forms.CharField(label=_("Name"), max_length=NAME_LENGTH)
    original_price = PriceField(label=_("Original price"), currency=CURRENCY)
    actual_price = PriceField(label=_("Price"), currency=CURRENCY)
    discount_description = forms.CharField(label=_("Discount"), max_length=NAME_LENGTH, required=False)


class PlanForm(forms.Form):
    """A plan but for its services. Asks for the merchant only where there is a choice."""

    name = forms.CharField(label=_("Name"), max_length=NAME_LENGTH, help_text=_("Shown to the customer."))
    duration_days = forms.IntegerField(
        label=_("Valid for (days)"), min_value=1, help_text=_("From the day on which a customer signs.")
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        usable = [merchant for merchant in _merchants() if merchant.region == "mainland"]
        self.only = usable[0].alias if len(usable) == 1 else ""
        if len(usable) > 1:
            choices = [(merchant.alias, f"{merchant.alias} ({merchant.mchid})") for merchant in usable]
            self.fields["merchant"] = forms.ChoiceField(label=_("Merchant"), choices=choices)

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or {}
        if not self.only and "merchant" not in self.fields:
            raise forms.ValidationError(_("There is no mainland merchant in the settings."))
        return {"merchant": self.only} | asked


def _merchants() -> list[conf.Merchant]:
    usable = []
    for alias in conf.aliases():
        try:
            usable.append(conf.merchant(alias))
        except ImproperlyConfigured:
            continue
    return usable


class StopPlan(StaffAction):
    name = "stop"
    permission = "stop_plan"
    label = _("Stop")
    heading = _("Stop this plan?")
    button = _("Stop the plan")
    tone = "danger"

    def why_not(self, row: PayscorePlan) -> Any:
        if row.state != PayscorePlan.State.NORMAL:
            return _("The plan is not on offer: there is nothing to stop.")
        return ""

    def facts(self, row: PayscorePlan) -> list[tuple[Any, Any]]:
        running = row.sign_plans.filter(state=SignPlan.State.SIGNED).count()
        return [*_of_plan(row), (_("Signed and running"), running)]

    def consequences(self, row: PayscorePlan) -> list[Any]:
        return [
            _("Nobody can sign this plan any more."),
            _("Who has signed it uses its services to the end."),
            _("It cannot be undone: there would have to be a new plan."),
        ]

    def perform(self, row: PayscorePlan, asked: Any, *, reference: str, by: Any) -> Done | None:
        row = payscore.stop_plan(row, reference=reference, by=by)
        return None if row.operation else Done(messages.SUCCESS, gettext("The plan is stopped."), row)

    def result(self, row: PayscorePlan, reference: str) -> Done | None:
        operation = Operation.objects.of(row).filter(action=Action.STOP_PLAN, reference=reference).first()
        if operation is None:
            return None
        level, words = outcomes.of_operation(operation, (messages.SUCCESS, _("The plan is stopped.")))
        return Done(level, words, row)


class QueryPlan(Query):
    permission = "query_payscoreplan"
    heading = _("Ask WeChat Pay about this plan?")
    sync = staticmethod(payscore.sync)

    def facts(self, row: PayscorePlan) -> list[tuple[Any, Any]]:
        return [*_of_plan(row), (_("Last confirmed"), row.synced_at)]


STOP, QUERY = StopPlan(), QueryPlan()


@admin.register(PayscorePlan)
class PayscorePlanAdmin(ObjectAdmin):
    staff_actions = (STOP, QUERY)
    actions = ["query_selected"]
    change_list_template = "admin/django_wxpay/fetched_list.html"
    list_display = ["number_shown", "state_badge", "plan_name", "services", "price", "created_at"]
    list_filter = ["state", MerchantFilter, "created_at", month("created_at")]
    search_help_text = _("Whole values: merchant_plan_no, plan_id, reference.")
    search_fields = ["merchant_plan_no__exact", "plan_id__exact", "reference__exact"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("merchant_plan_no", "plan_id"), ("plan_name", "plan_duration"),
                    ("deduction_quantity", "service_id"), ("stop_time", "error_code"),
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"), ("reference", "created_at"),
                    ("state_at", "synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        return [self._path(f"{CREATE}/", self.create_view, CREATE), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        may = self.may(request, "create_plan")
        tools = [{"url": self.url_of(CREATE), "label": _("Create a plan")}] if may else []
        return super().changelist_view(request, extra_context={**(extra_context or {}), "wxpay_tools": tools})

    def summary(self, row: PayscorePlan) -> list[Part]:
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("Price"), amounts.in_words(row.total_actual_price, CURRENCY)),
            Part(_("Original price"), amounts.in_words(row.total_original_price, CURRENCY)),
        ]

    def related(self, row: PayscorePlan) -> list[dict[str, Any]]:
        services = [
            [
                one.plan_detail_no,
                one.plan_detail_name,
                amounts.in_words(one.original_price, CURRENCY),
                amounts.in_words(one.actual_price, CURRENCY),
                one.plan_discount_description,
            ]
            for one in row.details.all()
        ]
        signed = [
            [link_to(one, shortened(one), self.admin_site), badge(one.state, one.get_state_display()), one.user,
             one.created_at]
            for one in row.sign_plans.select_related("user").order_by("-pk")[:SHOWN]
        ]  # fmt: skip
        return [
            {
                "title": _("Services"),
                "heads": [_("No."), _("Name"), _("Original price"), _("Price"), _("Discount")],
                "rows": services,
            },
            {
                "title": _("Newest sign plans"),
                "heads": [_("Sign plan"), _("State"), _("User"), _("Created")],
                "rows": signed,
                "empty": _("Nobody has been asked to sign it yet."),
            },
        ]

    @admin.display(description=_("merchant_plan_no"), ordering="merchant_plan_no")
    def number_shown(self, row: PayscorePlan) -> Any:
        return shortened(row)

    @admin.display(description=_("services"), ordering="deduction_quantity")
    def services(self, row: PayscorePlan) -> int:
        return row.deduction_quantity

    @admin.display(description=_("price"), ordering="total_actual_price")
    def price(self, row: PayscorePlan) -> Any:
        return amounts.in_words(row.total_actual_price, CURRENCY)

    @admin.action(description=_("Query the selected plans"), permissions=["query"])
    def query_selected(self, request: HttpRequest, queryset: Any) -> Any:
        return self.confirm_selected(request, queryset, QUERY)

    def has_query_permission(self, request: HttpRequest) -> bool:
        return self.may(request, QUERY.permission)

    # A new plan

    def create_view(self, request: HttpRequest) -> HttpResponse:
        """The page with the plan and its services; filled in, it is shown once more before it is created."""
        if not self.has_view_permission(request) or not self.may(request, "create_plan"):
            self.refuse(request, CREATE)
        if request.method != "POST":
            return self._create_page(request, PlanForm(), _details(MORE_SERVICES))
        form, details = PlanForm(request.POST), DetailFormSet(request.POST, prefix="details")
        if "more" in request.POST:
            return self._create_page(request, *_with_more(request.POST))
        try:
            token = request.POST.get("token", "")
            reference, confirmed = tokens.read(token, request.user, self._token_of_creation())
        except (tokens.TokenRefused, ValueError):
            form.add_error(None, STALE)
            return self._create_page(request, form, details)
        if not all([form.is_valid(), details.is_valid()]):
            return self._create_page(request, form, details)
        asked = form.cleaned_data | {"details": [one for one in details.cleaned_data if one]}
        if not asked["details"]:
            form.add_error(None, _("A plan has one service at least."))
            return self._create_page(request, form, details)
        if confirmed != asked:
            return self._create_page(request, form, details, asked=asked)
        return self._created(request, form, details, asked, reference)

    def _created(
        self, request: HttpRequest, form: PlanForm, details: Any, asked: dict[str, Any], reference: str
    ) -> HttpResponse:
        words: Any = ""
        try:
            payscore.create_plan(**asked, reference=reference, by=cast(Any, request.user))
        except (InvalidField, ImproperlyConfigured) as error:
            words = str(error)
        except WxPayError as error:
            words = outcomes.of_error(error, None)[1]
        mchid = conf.merchant(asked["merchant"]).mchid
        plan = PayscorePlan.objects.filter(mchid=mchid, reference=reference).first()
        if plan is None:
            form.add_error(None, words)
            return self._create_page(request, form, details)
        operation = Operation.objects.of(plan).filter(action=Action.CREATE_PLAN).get()
        done = (messages.SUCCESS, _("The plan is created: customers can sign it."))
        level, words = outcomes.of_operation(operation, done)
        self.log_addition(request, plan, f"{_('Create a plan')}: {words}")
        messages.add_message(request, level, words)
        return HttpResponseRedirect(self.url_of("change", plan.pk))

    def _create_page(
        self, request: HttpRequest, form: PlanForm, details: Any, *, asked: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The page that asks. asked: what was filled in, when only that is to be confirmed."""
        context = {
            **self.page_context(request, _("Create a plan")),
            "crumb": _("Create a plan"),
            "form": form,
            "details": details,
            "asked": None if asked is None else _in_words(asked),
            "consequences": [
                _("WeChat Pay creates the plan; customers can sign it at once."),
                _("A plan cannot be changed afterwards: it can only be stopped, and another one created."),
                _("Nobody is charged by this."),
            ],
            "token": tokens.make(request.user, self._token_of_creation(), asked),
            "action_url": self.url_of(CREATE),
        }
        return TemplateResponse(request, "admin/django_wxpay/create_plan.html", context)

    def _token_of_creation(self) -> str:
        return f"{self.opts.label_lower}:{CREATE}"


DetailFormSet: Any = formset_factory(DetailForm, extra=0, max_num=100)


def _details(extra: int) -> Any:
    return formset_factory(DetailForm, extra=extra, max_num=100)(prefix="details")


def _with_more(posted: Any) -> tuple[PlanForm, Any]:
    """The same page with some empty services more."""
    more = posted.copy()
    more["details-TOTAL_FORMS"] = str(min(int(posted.get("details-TOTAL_FORMS") or 0) + MORE_SERVICES, 100))
    form, details = PlanForm(posted), DetailFormSet(more, prefix="details")
    blank: Any
    for blank in (form, *details.forms):  # nothing is wrong yet
        blank._errors = {}
    return form, details


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


def _of_plan(row: PayscorePlan) -> list[tuple[Any, Any]]:
    return [
        (_("Plan"), row.plan_name),
        (_("Number"), row.merchant_plan_no),
        (_("Price"), amounts.in_words(row.total_actual_price, CURRENCY)),
        (_("State"), badge(row.state, row.get_state_display())),
    ]
