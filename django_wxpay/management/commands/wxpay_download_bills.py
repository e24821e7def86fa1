"""Fetch statements of chosen days: `wxpay_download_bills --merchant default --from 2026-03-01 --to 2026-03-07`."""

from datetime import date, timedelta

import click
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ... import conf
from ...client.errors import InvalidField
from ...services import bills


def _day(text):
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no day; write it as 2026-03-01.") from error


class Command(BaseCommand):
    help = "Fetch the statements of China days from WeChat Pay and keep them in storage."

    def add_arguments(self, parser):
        parser.add_argument("--merchant", default="default", help="Alias of the merchant in the settings.")
        parser.add_argument("--sub-mchid", default="", help="Institution mode: only this sub-merchant's rows.")
        parser.add_argument("--date", help="One day in China, such as 2026-03-01. Default: yesterday.")
        parser.add_argument("--from", dest="first", help="First day of several.")
        parser.add_argument("--to", dest="last", help="Last day of several. Default: yesterday.")
        parser.add_argument("--again", action="store_true", help="Fetch also what is there already.")

    def handle(self, *args, **options):
        days = self._days(options)
        if options["merchant"] not in conf.aliases():
            raise CommandError(f"There is no merchant {options['merchant']!r}; there is {', '.join(conf.aliases())}.")
        got = []
        with click.progressbar(days, label="Statements", file=self.stderr._out) as progress:
            for day in progress:
                got.append(self._download(day, options))
        for bill in got:
            self.stdout.write(_line(bill))
        missing = sum(bill.state in (bill.State.FAILED, bill.State.PENDING) for bill in got)
        if missing:
            raise CommandError(f"{missing} of {len(got)} statements are not there yet; the reasons stand above.")

    def _download(self, day, options):
        try:
            return bills.download_statement(
                day, merchant=options["merchant"], sub_mchid=options["sub_mchid"], again=options["again"]
            )
        except (InvalidField, ImproperlyConfigured) as error:
            raise CommandError(f"{day}: {error}") from error

    def _days(self, options):
        yesterday = bills.china_today() - timedelta(days=1)
        if options["date"] and (options["first"] or options["last"]):
            raise CommandError("Give --date, or --from and --to, not both.")
        if options["date"]:
            return [_day(options["date"])]
        last = _day(options["last"]) if options["last"] else yesterday
        first = _day(options["first"]) if options["first"] else last
        if first > last:
            raise CommandError("--from is after --to.")
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _line(bill):
    if bill.has_file:
        return f"{bill.bill_date}  {bill.rows} rows: {bill.payments} payments, {bill.refunds} refunds  {bill.file.name}"
    if bill.state == bill.State.NO_STATEMENT:
        return f"{bill.bill_date}  an empty day"
    return f"{bill.bill_date}  {bill.state}: {bill.error}"
