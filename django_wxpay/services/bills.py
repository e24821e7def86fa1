"""Bills: the file of each China day, fetched to storage, believed only when its hash and every line are right."""

import gzip
import logging
import tempfile
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.core.files import File
from django.db.models import F
from django.utils import timezone

from .. import conf
from ..client.bills import parse_statement
from ..client.errors import BillNotReady, InvalidField, NoStatement, WxPayError
from ..engine import discrepancies, failures, queue, transactions
from ..models import Bill, Discrepancy, Order, Refund

logger = logging.getLogger(__name__)
State = Bill.State
CHINA = ZoneInfo("Asia/Shanghai")
READY_AT = time(10, 15)  # the files of a day are made from nine o'clock of the next, and ready by ten
EMPTY_AT = time(14, 0)  # "no statement" is believed from then on
REACH_DAYS = 180
CATCH_UP_DAYS = 7
SOONEST, LATEST = timedelta(minutes=5), timedelta(hours=6)
LEASE = timedelta(minutes=40)  # longer than any download may take


def download_statement(bill_date, *, sub_mchid="", merchant="default", again=False):
    """Fetch the statement of a China day now and keep it, gzipped; returns the `Bill`.

    bill_date: a date in China, yesterday or before, at most 180 days back. sub_mchid (institution mode): only this
    sub-merchant's rows, all when empty. again: fetch also when we have it. Streams: memory stays small whatever the
    file's size.

    The bill is DOWNLOADED; NO_STATEMENT for a day that was empty; PENDING when it is too early to tell, or FAILED,
    both with the reason in `error`, nothing else stored, and a time when `download_due_bills` tries again. Raises
    InvalidField, and CalledInTransaction (nothing was sent).

    Source: APIv3 manual, "Download reconciliation file", GET /v3/global/statements.
    """
    transactions.refuse_inside("bills.download_statement outside of atomic()")
    config = conf.merchant(merchant)
    _check_day(bill_date)
    bill = _bill_of(config, bill_date, sub_mchid)
    if bill.has_file and not again:
        return bill
    _download(bill)
    bill.refresh_from_db()
    return bill


def plan_statement(bill_date, *, sub_mchid="", merchant="default", again=False):
    """Write down that the statement of a China day is wanted; `download_due_bills` fetches it.

    Takes what `download_statement` takes. Returns the `Bill`, with nothing planned when we have it. Joins the
    caller's transaction; nothing is sent here. Raises InvalidField.
    """
    config = conf.merchant(merchant)
    _check_day(bill_date)
    bill = _bill_of(config, bill_date, sub_mchid)
    if again or not bill.has_file:
        bill.next_try_at = timezone.now()
        Bill.objects.filter(pk=bill.pk).update(next_try_at=bill.next_try_at)
        queue.after_commit("download_due_bills")
    return bill


def download_due(limit=20):
    """Fetch yesterday's from 10:15 in China on, and what is still missing; returns how many were tried."""
    now = timezone.now()
    for alias in conf.aliases():
        config = conf.merchant(alias)
        if config.region == "global":
            for day in _days_to_have(now):
                _bill_of(config, day, "")
    tried = 0
    for bill in Bill.objects.due(now).order_by("bill_date")[:limit]:
        if Bill.objects.due(now).filter(pk=bill.pk).update(next_try_at=now + LEASE):
            _download(bill)
            tried += 1
    return tried


def rows(bill):
    """Yield the rows of a kept statement (`client.bills.StatementRow`), read from storage as they are asked for."""
    with bill.file.open("rb") as file:
        yield from parse_statement(file)


def china_today(now=None):
    """The present day in China."""
    return timezone.localtime(now or timezone.now(), CHINA).date()


def _check_day(day):
    today = china_today()
    if not isinstance(day, date) or isinstance(day, datetime):
        raise InvalidField("bill_date must be a date.", field="bill_date")
    if day >= today:
        raise InvalidField(f"bill_date must be before today in China, {today}.", field="bill_date")
    if day < today - timedelta(days=REACH_DAYS):
        raise InvalidField(
            f"bill_date is more than {REACH_DAYS} days ago: WeChat Pay has it no more.", field="bill_date"
        )


def _days_to_have(now):
    here = timezone.localtime(now, CHINA)
    last = here.date() - timedelta(days=1 if here.time() >= READY_AT else 2)
    return [last - timedelta(days=back) for back in range(CATCH_UP_DAYS)]


def _bill_of(config, day, sub_mchid):
    bill, _ = Bill.objects.get_or_create(
        mchid=config.mchid,
        sub_mchid=sub_mchid,
        kind=Bill.Kind.STATEMENT,
        bill_date=day,
        defaults={"merchant": config.alias, "next_try_at": timezone.now()},
    )
    return bill


class _Counted(NamedTuple):
    rows: int
    payments: int
    refunds: int


def _download(bill):
    """One attempt; its outcome is on the row."""
    Bill.objects.filter(pk=bill.pk).update(attempts=F("attempts") + 1)
    try:
        _fetch(bill)
    except NoStatement as error:
        _no_statement(bill, error)
    except BillNotReady as error:
        _later(bill, State.PENDING, error)
    except WxPayError as error:
        _later(bill, State.FAILED, error)
    except Exception as error:
        failures.log(logger, error, "bill broke merchant=%s date=%s", bill.merchant, bill.bill_date)
        _later(bill, State.FAILED, error)


def _fetch(bill):
    """Into a temporary file, through all checks, and only then into the storage."""
    client = conf.client(bill.merchant)
    with tempfile.TemporaryFile() as kept:
        with gzip.GzipFile(fileobj=kept, mode="wb", mtime=0) as sink:
            proven = client.bills.download_statement(date=bill.bill_date, sub_mchid=bill.sub_mchid, sink=sink)
        kept.seek(0)
        counted = _count(kept)
        kept.seek(0)
        _keep(bill, proven, counted, kept)


def _count(file):
    """Read every line once: a layout we do not know, or a line that is cut, is found before anything is stored."""
    rows = refunds = 0
    for row in parse_statement(file):
        rows += 1
        refunds += row.is_refund
    return _Counted(rows, rows - refunds, refunds)


def _keep(bill, proven, counted, file):
    known = bill.file.name
    name = f"{bill.bill_date:%Y%m%d}-statement{bill.sub_mchid and '-' + bill.sub_mchid}-{proven.sha1[:8]}.csv.gz"
    if not (bill.has_file and bill.sha1 == proven.sha1 and bill.file.storage.exists(known)):
        bill.file.save(name, File(file), save=False)
    kept = Bill.objects.filter(pk=bill.pk, file=known).update(
        state=State.DOWNLOADED,
        file=bill.file.name,
        sha1=proven.sha1,
        size=proven.size,
        error="",
        next_try_at=None,
        downloaded_at=timezone.now(),
        **counted._asdict(),
    )
    # The row never names a file that is gone. Of two downloads at once, the first to get here is kept.
    superfluous = known if kept else bill.file.name
    if superfluous and known != bill.file.name:
        bill.file.storage.delete(superfluous)
    logger.info("bill downloaded merchant=%s date=%s rows=%s", bill.merchant, bill.bill_date, counted.rows)


def _no_statement(bill, error):
    """An empty day has no file. Believed from the next afternoon on, unless we had payments that day."""
    now = timezone.now()
    believed_at = datetime.combine(bill.bill_date + timedelta(days=1), EMPTY_AT, CHINA)
    if now < believed_at:
        _later(bill, State.PENDING, error, not_after=believed_at)
    elif _had_business(bill):
        _later(bill, State.PENDING, error)
        if now > believed_at + timedelta(days=1):
            _tell_missing(bill)
    else:
        Bill.objects.filter(pk=bill.pk).update(state=State.NO_STATEMENT, error="", next_try_at=None, downloaded_at=now)
        logger.info("bill empty merchant=%s date=%s", bill.merchant, bill.bill_date)


def _had_business(bill):
    begins = datetime.combine(bill.bill_date, time.min, CHINA)
    that_day = {"mchid": bill.mchid, "success_time__gte": begins, "success_time__lt": begins + timedelta(days=1)}
    if bill.sub_mchid:
        that_day["sub_mchid"] = bill.sub_mchid
    paid = Order.objects.paid().filter(**that_day).exists()
    return paid or Refund.objects.filter(state=Refund.State.SUCCESS, **that_day).exists()


def _tell_missing(bill):
    ours = "payments or refunds on that day"
    discrepancies.record(Discrepancy.Kind.BILL_MISSING, bill, ours=ours, theirs="no statement", about="bill")


def _later(bill, state, error, not_after=None):
    now = timezone.now()
    wait = min(max(SOONEST, (now - bill.created_at) / 2), LATEST)
    next_try_at = min(now + wait, not_after) if not_after else now + wait
    if bill.has_file:  # fetched again in vain: what we have stays good
        state, next_try_at = bill.state, None
    Bill.objects.filter(pk=bill.pk).update(state=state, error=failures.headline(error), next_try_at=next_try_at)
    logger.warning("bill not downloaded merchant=%s date=%s: %s", bill.merchant, bill.bill_date, error)
