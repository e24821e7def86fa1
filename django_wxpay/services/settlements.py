"""Settlements: which money was credited to the merchant, and which is still to come."""

import logging
import random
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from .. import conf
from ..client.errors import InvalidField, MessageMalformed, OutcomeUnknown, RateLimited, RequestNotSent, WxPayError
from ..engine import failures, remote, transactions
from ..models import MerchantState, Order, Refund, Settlement
from .bills import REACH_DAYS, china_today, global_merchant

logger = logging.getLogger(__name__)
State = Settlement.State
Values = dict[str, Any]
REACH_BACK_DAYS = 10  # a payout waits for a working day and for enough money in the pool
AMOUNTS = ("settled", "unsettle", "pay", "refund", "net", "fee")
SPLIT = ("settled", "unsettle", "pay", "refund")
EVERY = timedelta(hours=6)
AGAIN_AFTER = timedelta(minutes=50)  # no answer, or no time left: the next hour's tick goes on
BATCH = timedelta(minutes=10)


def fetch(*, start: date | None = None, end: date | None = None, sub_mchid: str = "", merchant: str = "default") -> int:
    """Fetch the payouts of the China days `start` to `end`, and all that waits for one; returns how many records.

    The last ten days by default, more when something has waited for longer. sub_mchid (institution mode): that
    sub-merchant's, the institution's own when empty. The same again changes nothing. Raises InvalidField, APIError,
    OutcomeUnknown, MessageMalformed, CalledInTransaction; nothing is stored then.

    Source: APIv3 manual, "Query settlement", GET /v3/global/settle/settlements.
    """
    config = global_merchant(merchant)
    transactions.refuse_inside("settlements.fetch outside of atomic()")
    end = end or china_today()
    whose = {"merchant": config.alias, "mchid": config.mchid, "sub_mchid": sub_mchid}
    mine = Settlement.objects.filter(mchid=config.mchid, sub_mchid=sub_mchid)
    start = start or _reach_back(mine, end)
    with remote.client_of(Settlement(**whose)) as client:
        listed = client.settlements
        settled = _keyed(State.SETTLED, listed.iter_all(state=State.SETTLED, start=start, end=end, sub_mchid=sub_mchid))
        waiting = _keyed(State.UNSETTLE, listed.iter_all(state=State.UNSETTLE, sub_mchid=sub_mchid))

    def work() -> None:
        for key, values in settled.items():
            _settle_waiting(mine, key, values)
        for key, values in (settled | waiting).items():
            row, _ = mine.update_or_create(key=key, defaults=values, create_defaults=whose | values | {"key": key})
            if not row.adds_up:
                logger.warning("settlement does not add up merchant=%s key=%s", row.merchant, key)
        # All that waits is listed: what is not has been paid out, and would count twice.
        mine.filter(state=State.UNSETTLE).exclude(key__in=waiting).delete()

    transactions.run(work)
    logger.info("settlements fetched merchant=%s settled=%s waiting=%s", config.alias, len(settled), len(waiting))
    return len(settled) + len(waiting)


def fetch_due() -> int:
    """Fetch the settlements of every global merchant that were not fetched for six hours; returns how many records.

    An institution's own, and those of its sub-merchants: the configured one, whoever had orders or refunds in the
    last days, and whoever waits for a payout. Stops after ten minutes; the next tick goes on.
    """
    records, until = 0, timezone.now() + BATCH
    slowed = remote.slowed()
    for alias in conf.aliases():
        try:
            config = conf.merchant(alias)
            if config.region == "global" and config.mchid not in slowed and _win(config):
                records += _fetch_all(config, until)
        except (WxPayError, ImproperlyConfigured) as error:
            logger.warning("settlements not fetched merchant=%s: %s", alias, error)
        except Exception as error:
            failures.log(logger, error, "settlements broke merchant=%s", alias)
    return records


def _win(config: conf.Merchant) -> bool:
    """Whether this process is the one that fetches now: a tick that comes late or twice finds nothing to do."""
    now = timezone.now()
    MerchantState.objects.get_or_create(mchid=config.mchid, defaults={"merchant": config.alias})
    due = Q(settlements_due_at__isnull=True) | Q(settlements_due_at__lte=now)
    return bool(MerchantState.objects.filter(due, mchid=config.mchid).update(settlements_due_at=now + EVERY))


def _fetch_all(config: conf.Merchant, until: datetime) -> int:
    records = 0
    for sub_mchid in ["", *_sub_mchids(config)]:
        if timezone.now() >= until:
            _come_back(config)
            break
        try:
            records += fetch(merchant=config.alias, sub_mchid=sub_mchid)
        except (OutcomeUnknown, RateLimited, RequestNotSent) as error:
            logger.warning("settlements not fetched merchant=%s sub_mchid=%s: %s", config.alias, sub_mchid, error)
            if not isinstance(error, InvalidField):
                _come_back(config)
                break  # the others would fare no better
        except WxPayError as error:
            logger.warning("settlements not fetched merchant=%s sub_mchid=%s: %s", config.alias, sub_mchid, error)
    return records


def _come_back(config: conf.Merchant) -> None:
    MerchantState.objects.filter(mchid=config.mchid).update(settlements_due_at=timezone.now() + AGAIN_AFTER)


def _sub_mchids(config: conf.Merchant) -> list[str]:
    """Whose settlements an institution asks for beside its own, in any order: a batch that ends early is fair."""
    if not config.is_institution:
        return []
    since = timezone.now() - timedelta(days=REACH_BACK_DAYS)
    known = {config.sub_mchid}
    for model in (Order, Refund):
        recent = model.objects.filter(created_at__gte=since, mchid=config.mchid)
        known.update(recent.order_by().values_list("sub_mchid", flat=True).distinct())
    waiting = Settlement.objects.filter(state=State.UNSETTLE, mchid=config.mchid)
    known.update(waiting.order_by().values_list("sub_mchid", flat=True).distinct())
    return random.sample(sorted(known - {""}), k=len(known - {""}))


def _reach_back(mine: QuerySet[Settlement], end: date) -> date:
    """As far as the oldest trade that still waits: its payout may have come while nobody asked."""
    usual = end - timedelta(days=REACH_BACK_DAYS)
    oldest = mine.filter(state=State.UNSETTLE).aggregate(day=Min("trade_start_date"))["day"] or usual
    return max(min(oldest, usual), end - timedelta(days=REACH_DAYS))


def _keyed(state: str, records: Iterable[Mapping[str, Any]]) -> dict[str, Values]:
    """The records by what identifies each, none lost to another: a page may repeat the one before it, though."""
    found: dict[str, Values] = {}
    for record in records:
        values = _read(state, record)
        key = known = _key(values)
        number = 1
        while found.get(key, values) != values:
            number += 1
            key = f"{known}#{number}"
        found[key] = values
    fetched_at = timezone.now()
    return {key: values | {"fetched_at": fetched_at} for key, values in found.items()}


def _key(values: Values) -> str:
    what = f"{values['wallet_region']}/{values['currency']}"
    if values["state"] == State.SETTLED:
        days = f"{values['trade_start_date']:%Y%m%d}-{values['trade_end_date']:%Y%m%d}"
        return f"{values['batch_id']}/{what}/{days}"
    return f"{values['trade_start_date']:%Y%m%d}/{what}"


def _settle_waiting(mine: QuerySet[Settlement], key: str, values: Values) -> None:
    """The waiting record of the same wallet, currency and first day becomes the payout."""
    same = {name: values[name] for name in ("wallet_region", "currency", "trade_start_date")}
    became = mine.filter(**same, state=State.UNSETTLE).order_by("pk").first()
    if became is not None and not mine.filter(key=key).exists():
        mine.filter(pk=became.pk).update(key=key, state=State.SETTLED)


def _read(state: str, record: Mapping[str, Any]) -> Values:
    try:
        amount, split = record.get("amount") or {}, record.get("split_amount") or {}
        return {
            "state": state,
            "batch_id": _text(record.get("batch_id"), 64),
            "settlement_date": _day(record["settlement_date"]) if record.get("settlement_date") else None,
            "trade_start_date": _day(record["trade_start_date"]),
            "trade_end_date": _day(record["trade_end_date"]),
            "currency": _text(amount.get("currency"), 3),
            "wallet_region": _text(record.get("wallet_region"), 32),
            **{name: _whole(amount.get(name)) or 0 for name in AMOUNTS},
            "split_currency": _text(split.get("currency"), 3),
            **{f"split_{name}": _whole(split.get(name)) for name in SPLIT},
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MessageMalformed(f"A settlement cannot be read ({type(error).__name__}: {error}).") from error


def _text(value: Any, longest: int) -> str:
    text = "" if value is None else value
    if not isinstance(text, str) or len(text) > longest or not text.isprintable():
        raise ValueError(f"{str(value)[:80]!r} is no text of at most {longest} characters")
    return text


def _whole(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ValueError(f"{str(value)[:80]!r} is no whole number of minor units")
    return value


def _day(text: str) -> date:
    if len(text) != 8 or not text.isdigit():
        raise ValueError(f"{text[:80]!r} is no day such as 20260301")
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))
