from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import Sum
from django.utils.html import format_html
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..models import Action, Contract, Operation, Order
from ..services import contracts
from . import amounts, outcomes
from .actions import DONE_BEFORE, StaffAction
from .base import badge, link_to, masked, shortened
from .facts import state_label
from .filters import MerchantFilter, month
from .objects import ObjectAdmin, Part
from .outcomes import Done
from .queries import Query

ORDERS_SHOWN = 20


class TerminationForm(forms.Form):
    note = forms.CharField(
        label=_("Note"),
        max_length=256,
        required=False,
        help_text=_("Goes to WeChat Pay with the request. Optional."),
        widget=forms.TextInput(attrs={"size": 60}),
    )


class Terminate(StaffAction):
    name = "terminate"
    permission = "terminate_contract"
    label = _("Terminate")
    heading = _("Terminate this contract?")
    button = _("Terminate the contract")
    tone = "danger"
    form_class = list_form_class = TerminationForm
    list_heading = _("Terminate these contracts?")

    def why_not(self, row):
        if row.state != Contract.State.SIGNED:
            return _("The contract is not signed (any more): there is nothing to terminate.")
        return ""

    def why_not_now(self, row):
        problem = self.why_not(row)
        if not problem and (pending := row.orders.open().first()):
            words = gettext(
                "The deduction %(number)s of this contract has no outcome yet (%(state)s). Wait until it is known, or "
                "close that order first."
            )
            return words % {"number": pending.number, "state": pending.get_state_display()}
        return problem

    def facts(self, row):
        return [
            (_("Contract"), row.out_contract_code),
            (_("User"), row.user or row.user_display_name),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Signed"), row.signed_time),
        ]

    def consequences(self, row):
        return [
            _("WeChat Pay ends the contract at once; the shop can charge this user no more."),
            _("It cannot be undone: the user would have to sign again."),
            _("What was paid stays paid; refunds stay possible."),
        ]

    def perform(self, row, asked, *, reference, by):
        row = contracts.terminate(row, note=asked["note"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def plan(self, row, asked, *, reference, by):
        row = contracts.plan_termination(row, note=asked["note"], reference=reference, by=by)
        return None if row.operation else DONE_BEFORE

    def result(self, row, reference):
        operation = Operation.objects.of(row).filter(action=Action.TERMINATE, reference=reference).first()
        if operation is None:
            return None
        return Done(*outcomes.of_operation(operation, (messages.SUCCESS, _("The contract is terminated."))), row)


class QueryContract(Query):
    permission = "query_contract"
    heading = _("Ask WeChat Pay about this contract?")
    sync = staticmethod(contracts.sync)

    def facts(self, row):
        return [
            (_("Contract"), row.out_contract_code),
            (_("State"), badge(row.state, row.get_state_display())),
            (_("Last confirmed"), row.synced_at),
        ]


TERMINATE, QUERY = Terminate(), QueryContract()


@admin.register(Contract)
class ContractAdmin(ObjectAdmin):
    staff_actions = (TERMINATE, QUERY)
    actions = ["terminate_selected", "query_selected"]
    list_display = [
        "number_shown",
        "state_badge",
        "user",
        "display_name",
        "openid_masked",
        "plan_id",
        "created_at",
    ]
    list_filter = ["state", "channel", MerchantFilter, "created_at", month("created_at")]
    list_select_related = ["user"]
    search_help_text = _("Whole values: out_contract_code, contract_id, reference, openid or user name.")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("out_contract_code", "contract_id"), ("user", "user_display_name"), ("openid", "plan_id"),
                    ("signed_time", "contract_expire_time"), ("terminated_time", "termination_mode"),
                    "termination_note",
                ]
            },
        ),
        (
            _("Bookkeeping"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("merchant", "mchid", "sub_mchid"), ("appid", "sub_appid"), ("reference", "channel"),
                    ("created_at", "state_at", "expired_time"), ("synced_at", "next_poll_at"),
                ],
            },
        ),
    ]  # fmt: skip

    def get_search_fields(self, request):
        user_name = get_user_model().USERNAME_FIELD
        names = ("out_contract_code", "contract_id", "reference", "openid", f"user__{user_name}")
        return [f"{name}__exact" for name in names]

    def summary(self, row):
        paid = row.orders.paid().order_by().values("currency").annotate(total=Sum("amount_total"))
        return [
            Part(_("State"), badge(row.state, row.get_state_display()), row.state),
            Part(_("User"), row.user or row.user_display_name),
            Part(_("Deducted so far"), amounts.sums((one["total"], one["currency"]) for one in paid) or "–"),
        ]

    def related(self, row):
        orders = list(row.orders.order_by("-pk")[: ORDERS_SHOWN + 1])
        rows = [
            [
                link_to(order, shortened(order), self.admin_site),
                badge(order.state, state_label(order)),
                amounts.in_words(order.amount_total, order.currency),
                order.description,
                order.created_at,
            ]
            for order in orders[:ORDERS_SHOWN]
        ]
        more = ""
        if len(orders) > ORDERS_SHOWN and self.admin_site.is_registered(Order):
            url = self.admin_site.get_model_admin(Order).url_of("changelist")
            more = format_html(
                '<a href="{}?contract__id__exact={}">{}</a>', url, row.pk, _("All orders of this contract")
            )
        heads = [pgettext_lazy("payment", "Order"), _("State"), _("Amount"), _("Description"), _("Created")]
        return [{"title": _("Orders"), "heads": heads, "rows": rows, "more": more, "empty": _("No orders yet.")}]

    @admin.display(description=_("out_contract_code"), ordering="out_contract_code")
    def number_shown(self, row):
        return shortened(row)

    @admin.display(description=_("openid"))
    def openid_masked(self, row):
        return masked(row.openid)

    @admin.display(description=_("shown as"), ordering="user_display_name")
    def display_name(self, row):
        return row.user_display_name

    @admin.action(description=_("Terminate the selected contracts"), permissions=["terminate"])
    def terminate_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, TERMINATE)

    @admin.action(description=_("Query the selected contracts"), permissions=["query"])
    def query_selected(self, request, queryset):
        return self.confirm_selected(request, queryset, QUERY)

    def has_terminate_permission(self, request):
        return self.may(request, TERMINATE.permission)

    def has_query_permission(self, request):
        return self.may(request, QUERY.permission)
