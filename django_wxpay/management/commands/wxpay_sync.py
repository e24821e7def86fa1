from django.core.management.base import BaseCommand, CommandError

from ... import conf
from ...client.errors import WxPayError
from ...models import Contract, Order, Refund
from ...services import contracts, orders, refunds

SUBJECTS = {
    "contract": (Contract, "out_contract_code", contracts.sync),
    "order": (Order, "out_trade_no", orders.sync),
    "refund": (Refund, "out_refund_no", refunds.sync),
}


class Command(BaseCommand):
    help = "Query WeChat Pay about one contract, order or refund, and record what it says."

    def add_arguments(self, parser):
        parser.add_argument("subject", choices=SUBJECTS)
        parser.add_argument("number", help="our own number: out_contract_code, out_trade_no or out_refund_no")

    def handle(self, *args, subject, number, **options):
        model, name, sync = SUBJECTS[subject]
        mchids = {conf.merchant(alias).mchid for alias in conf.aliases()}
        rows = list(model.objects.filter(**{"mchid__in": mchids, name: number}))
        if not rows:
            raise CommandError(f"There is no {subject} with {name} {number}.")
        for row in rows:  # one for each merchant that used the number
            before = row.state
            try:
                sync(row)
            except WxPayError as error:
                raise CommandError(f"{row.merchant}: {error}") from error
            row.refresh_from_db()
            report = f"is {row.state}, as before" if row.state == before else f"was {before}, is {row.state}"
            self.stdout.write(f"{subject} {number} ({row.merchant}) {report}")
