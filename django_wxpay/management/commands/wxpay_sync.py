from django.core.management.base import BaseCommand, CommandError

from ... import conf
from ...client.errors import WxPayError
from ...models import CombineOrder, Contract, Order, PayeeAuthorization, PayscorePlan, Refund, ServiceOrder, SignPlan
from ...services import combine_orders, contracts, orders, payees, payscore, refunds, service_orders, sign_plans

SUBJECTS = {  # what is asked about, and the numbers that name it: what PayScore collected has WeChat Pay's number alone
    "contract": (Contract, ("out_contract_code",), contracts.sync),
    "order": (Order, ("out_trade_no", "transaction_id"), orders.sync),
    "refund": (Refund, ("out_refund_no",), refunds.sync),
    "payscore_plan": (PayscorePlan, ("merchant_plan_no",), payscore.sync),
    "sign_plan": (SignPlan, ("merchant_sign_plan_no",), sign_plans.sync),
    "combine_order": (
        CombineOrder,
        ("combine_out_trade_no", "combine_transaction_id"),
        combine_orders.sync,
    ),
    "payee": (PayeeAuthorization, ("payee_no", "individual_auth_id"), payees.sync),
    "service_order": (ServiceOrder, ("out_order_no",), service_orders.sync),
}


class Command(BaseCommand):
    help = "Query WeChat Pay about one object, and record what it says."

    def add_arguments(self, parser):
        parser.add_argument("subject", choices=SUBJECTS)
        numbers = ", ".join(dict.fromkeys(name for _, names, _ in SUBJECTS.values() for name in names))
        parser.add_argument("number", help=f"the number that names it: {numbers}")

    def handle(self, *args, subject, number, **options):
        model, names, sync = SUBJECTS[subject]
        mchids = {conf.merchant(alias).mchid for alias in conf.aliases()}
        rows = {row.pk: row for name in names for row in model.objects.filter(**{"mchid__in": mchids, name: number})}
        if not rows:
            raise CommandError(f"There is no {subject} with {' or '.join(names)} {number}.")
        for row in rows.values():  # one for each merchant that used the number
            before = row.state
            try:
                sync(row)
            except WxPayError as error:
                raise CommandError(f"{row.merchant}: {error}") from error
            row.refresh_from_db()
            report = f"is {row.state}, as before" if row.state == before else f"was {before}, is {row.state}"
            self.stdout.write(f"{subject} {number} ({row.merchant}) {report}")
