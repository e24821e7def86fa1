"""Bills: the file of each China day, fetched to storage, believed only when its hash and every line are right."""

import gzip
import logging
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import IO, NamedTuple
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.db.models import F, QuerySet
from django.utils import timezone

from .. import conf
from ..client import fields
from ..client.bills import DownloadedStatement, StatementRow, parse_statement
from ..client.errors import (
    BillCorrupt,
    BillNotReady,
    InvalidField,
    NoStatement,
    OutcomeUnknown,
    RateLimited,
    WxPayError,
)
from ..engine import discrepancies, failures, queue, remote, transactions
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
BATCH = timedelta(minutes=10)


def download_statement(bill_date: date, *, sub_mchid: str = "", merchant: str = "default", again: bool = False) -> Bill:
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
    bill = _wanted(bill_date, sub_mchid, merchant)
    return bill if bill.has_file and not again else download_again(bill)


def download_again(bill: Bill) -> Bill:
    """Fetch a bill's file now, as the merchant that the row belongs to; returns the row as it is then.

    Ends as `download_statement` does. Raises CalledInTransaction.
    """
    transactions.refuse_inside("bills.download_again outside of atomic()")
    _download(bill)
    bill.refresh_from_db()
    return bill


def plan_statement(bill_date: date, *, sub_mchid: str = "", merchant: str = "default", again: bool = False) -> Bill:
    """Write down that the statement of a China day is wanted; `download_due_bills` fetches it.

    Takes what `download_statement` takes. Returns the `Bill`, with nothing planned when we have it. Joins the
    caller's transaction; nothing is sent here. Raises InvalidField.
    """
    bill = _wanted(bill_date, sub_mchid, merchant)
    return bill if bill.has_file and not again else plan_again(bill)


def plan_again(bill: Bill) -> Bill:
    """Write down that a bill's file is to be fetched. Joins the caller's transaction; nothing is sent here."""
    bill.next_try_at = timezone.now()
    Bill.objects.filter(pk=bill.pk).update(next_try_at=bill.next_try_at)
    queue.after_commit("download_due_bills")
    return bill


def download_due(limit: int = 200) -> int:
    """Fetch yesterday's from 10:15 in China on, and what is still missing; returns how many were tried.

    An institution's file holds the rows of all its sub-merchants; one sub-merchant's own is fetched only where
    somebody asked for it. Stops after ten minutes, and leaves a merchant that gives no answer: the next tick goes on.
    """
    until = timezone.now() + BATCH
    _want_days()
    tried, silent = 0, set(remote.slowed())
    for bill in Bill.objects.due().order_by("next_try_at")[:limit]:
        if timezone.now() >= until:
            break
        if bill.mchid not in silent and _take(bill):
            tried += 1
            if isinstance(_download(bill), (OutcomeUnknown, RateLimited)):
                silent.add(bill.mchid)
    return tried


def _take(bill: Bill) -> bool:
    """Whether this process is the one that fetches it now."""
    now = timezone.now()
    return bool(Bill.objects.due(now).filter(pk=bill.pk).update(next_try_at=now + LEASE))


def is_in_reach(bill: Bill) -> bool:
    """Whether WeChat Pay still has the file of that day: it keeps 180."""
    return bill.bill_date >= china_today() - timedelta(days=REACH_DAYS)


def has_merchant(bill: Bill) -> bool:
    """Whether the settings have the merchant that the bill belongs to, under its alias."""
    try:
        return bool(remote.merchant_of(bill))
    except ImproperlyConfigured:
        return False


def rows(bill: Bill) -> Iterator[StatementRow]:
    """Yield the rows of a kept statement (`client.bills.StatementRow`), read from storage as they are asked for."""
    with bill.file.open("rb") as file:
        yield from parse_statement(file)


def china_today(now: datetime | None = None) -> date:
    """The present day in China."""
    return timezone.localtime(now or timezone.now(), CHINA).date()


def global_merchant(alias: str) -> conf.Merchant:
    """The merchant of that alias; ImproperlyConfigured for one of the mainland, which has other files."""
    config = conf.merchant(alias)
    if config.region != "global":
        raise ImproperlyConfigured(
            f"Merchant {alias!r} is of the region {config.region!r}; statements and settlements are of the global one."
        )
    return config


def _wanted(day: date, sub_mchid: str, alias: str) -> Bill:
    config = global_merchant(alias)
    if not isinstance(day, date) or isinstance(day, datetime):
        raise InvalidField("bill_date must be a date.", field="bill_date")
    if day >= china_today():
        raise InvalidField(f"bill_date must be before today in China, {china_today()}.", field="bill_date")
    _check_reach(day)
    if sub_mchid and not config.is_institution:
        raise InvalidField("sub_mchid has no meaning in direct mode.", field="sub_mchid")
    return _bill_of(config, day, fields.mchid("sub_mchid", sub_mchid, required=False))


def _check_reach(day: date) -> None:
    if day < china_today() - timedelta(days=REACH_DAYS):
        raise InvalidField(
            f"bill_date is more than {REACH_DAYS} days ago: WeChat Pay has it no more.", field="bill_date"
        )


def _want_days() -> None:
    here = timezone.localtime(timezone.now(), CHINA)
    last = here.date() - timedelta(days=1 if here.time() >= READY_AT else 2)
    for alias in conf.aliases():
        try:
            config = conf.merchant(alias)
        except ImproperlyConfigured as error:
            logger.warning("no bills wanted merchant=%s: %s", alias, error)
            continue
        for back in range(CATCH_UP_DAYS if config.region == "global" else 0):
            _bill_of(config, last - timedelta(days=back), "")


def _bill_of(config: conf.Merchant, day: date, sub_mchid: str) -> Bill:
    bill, _ = Bill.objects.get_or_create(
        mchid=config.mchid,
        sub_mchid=sub_mchid,
        kind=Bill.Kind.STATEMENT,
        bill_date=day,
        defaults={"merchant": config.alias, "next_try_at": timezone.now()},
    )
    if bill.merchant != config.alias:  # the same merchant, under another name now
        bill.merchant = config.alias
        Bill.objects.filter(pk=bill.pk).update(merchant=config.alias)
    return bill


class _Counted(NamedTuple):
    rows: int
    payments: int
    refunds: int


def _download(bill: Bill) -> Exception | None:
    """One attempt; its outcome is on the row. Returns what went wrong."""
    Bill.objects.filter(pk=bill.pk).update(attempts=F("attempts") + 1)
    try:
        _check_reach(bill.bill_date)
        _fetch(bill)
    except Exception as error:
        _note(bill, error)
        return error
    return None


def _note(bill: Bill, error: Exception) -> None:
    if isinstance(error, NoStatement):
        _no_statement(bill, error)
    elif isinstance(error, BillNotReady):
        _later(bill, State.PENDING, error)
    elif isinstance(error, InvalidField):
        _give_up(bill, error)
    else:
        if not isinstance(error, (WxPayError, ImproperlyConfigured)):
            failures.log(logger, error, "bill broke merchant=%s date=%s", bill.merchant, bill.bill_date)
        _later(bill, State.FAILED, error)


def _fetch(bill: Bill) -> None:
    """Into a temporary file, through all checks, and only then into the storage."""
    global_merchant(bill.merchant)
    with tempfile.TemporaryFile() as kept:
        with remote.client_of(bill) as client, gzip.GzipFile(fileobj=kept, mode="wb", mtime=0) as sink:
            proven = client.bills.download_statement(date=bill.bill_date, sub_mchid=bill.sub_mchid, sink=sink)
        kept.seek(0)
        counted = _count(bill, kept)
        kept.seek(0)
        _keep(bill, proven, counted, kept)


def _count(bill: Bill, file: IO[bytes]) -> _Counted:
    """Read every line once, with what will be compared: what we cannot read, or is not ours, is not stored."""
    statement = parse_statement(file)
    one_sub = bill.sub_mchid and "sub_mchid" in statement.columns
    for row in statement:
        if row.mchid != bill.mchid or (one_sub and row.sub_mchid != bill.sub_mchid):
            whose = [number for number in (row.mchid, row.sub_mchid) if number.isdigit()]
            raise BillCorrupt(f"Line {row.line}: a row of another merchant, {' '.join(whose) or 'without a number'}.")
        day = row.trade_time.date()
        # Whether the row of a refund tells when it was made or when the order was paid, nobody promises.
        if day > bill.bill_date or (day < bill.bill_date and row.trade_state == "SUCCESS"):
            raise BillCorrupt(f"Line {row.line}: a row of another day, {day}.")
        row.amount("refund_amount" if row.is_refund else "amount_total")
    return _Counted(statement.rows, statement.rows - statement.refunds, statement.refunds)


def _keep(bill: Bill, proven: DownloadedStatement, counted: _Counted, file: IO[bytes]) -> None:
    known = bill.file.name or ""
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


def _no_statement(bill: Bill, error: NoStatement) -> None:
    """An empty day has no file. Believed from the next afternoon on, unless we had payments that day."""
    now = timezone.now()
    believed_at = datetime.combine(bill.bill_date + timedelta(days=1), EMPTY_AT, CHINA)
    if now < believed_at:
        _later(bill, State.PENDING, error, not_after=believed_at)
    elif _had_business(bill):
        _later(bill, State.PENDING, error)
        if now > believed_at + timedelta(days=1):
            _tell_missing(bill, "no statement")
    else:
        _as_read(bill).update(state=State.NO_STATEMENT, error="", next_try_at=None, downloaded_at=now)
        logger.info("bill empty merchant=%s date=%s", bill.merchant, bill.bill_date)


def _as_read(bill: Bill) -> QuerySet[Bill]:
    """The bill, unless another download brought something meanwhile: a late failure does not undo that."""
    return Bill.objects.filter(pk=bill.pk, downloaded_at=bill.downloaded_at)


def _had_business(bill: Bill) -> bool:
    begins = datetime.combine(bill.bill_date, time.min, CHINA)
    that_day = {"mchid": bill.mchid, "success_time__gte": begins, "success_time__lt": begins + timedelta(days=1)}
    if bill.sub_mchid:
        that_day["sub_mchid"] = bill.sub_mchid
    paid = Order.objects.paid().filter(**that_day).exists()
    return paid or Refund.objects.filter(state=Refund.State.SUCCESS, **that_day).exists()


def _tell_missing(bill: Bill, theirs: str) -> None:
    ours = "payments or refunds on that day"
    discrepancies.record(Discrepancy.Kind.BILL_MISSING, bill, ours=ours, theirs=theirs, about="bill")


def _give_up(bill: Bill, error: InvalidField) -> None:
    """There is nothing to wait for: the day is out of reach, or what the row asks for cannot be asked."""
    state = bill.state if bill.has_file else State.FAILED
    _as_read(bill).update(state=state, error=failures.headline(error), next_try_at=None)
    logger.warning("bill given up merchant=%s date=%s: %s", bill.merchant, bill.bill_date, error)
    if not bill.has_file and _had_business(bill):
        _tell_missing(bill, failures.headline(error))


def _later(bill: Bill, state: str, error: Exception, not_after: datetime | None = None) -> None:
    now = timezone.now()
    wait = min(max(SOONEST, (now - bill.created_at) / 2), LATEST)
    next_try_at: datetime | None = min(now + wait, not_after) if not_after else now + wait
    if bill.has_file:  # fetched again in vain: what we have stays good
        state, next_try_at = bill.state, None
    _as_read(bill).update(state=state, error=failures.headline(error), next_try_at=next_try_at)
    logger.warning("bill not downloaded merchant=%s date=%s: %s", bill.merchant, bill.bill_date, error)
