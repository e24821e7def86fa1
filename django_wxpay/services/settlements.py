"""Settlements: which money was credited to the merchant, and which is still to come."""

import logging
from datetime import date, timedelta

from django.db.models import Min, Q
from django.utils import timezone

from .. import conf
from ..client.errors import WxPayError
from ..models import Settlement
from . import failures, transactions
from .bills import REACH_DAYS, china_today

logger = logging.getLogger(__name__)
State = Settlement.State
LOOK_BACK_DAYS = 10  # a payout waits for a working day and for enough money in the pool
AMOUNTS = ("settled", "unsettle", "pay", "refund", "net", "fee")


def fetch(*, start=None, end=None, sub_mchid="", merchant="default"):
    """Fetch the payouts of the China days `start` to `end`, and all that waits for one; returns how many records.

    The last ten days by default, more when something has waited for longer. sub_mchid (institution mode): that
    sub-merchant's, the institution's own when empty. The same again changes nothing. Raises InvalidField, APIError,
    OutcomeUnknown, CalledInTransaction; nothing is stored then.

    Source: APIv3 manual, "Query settlement", GET /v3/global/settle/settlements.
    """
    config = conf.merchant(merchant)
    transactions.refuse_inside("settlements.fetch outside of atomic()")
    end = end or china_today()
    whose = {"mchid": config.mchid, "sub_mchid": sub_mchid}
    start = start or _look_back(whose, end)
    listed = conf.client(config.alias).settlements
    settled = list(listed.iter_all(state=State.SETTLED, start=start, end=end, sub_mchid=sub_mchid))
    waiting = list(listed.iter_all(state=State.UNSETTLE, sub_mchid=sub_mchid))

    def work():
        for state, records in ((State.SETTLED, settled), (State.UNSETTLE, waiting)):
            for record in records:
                _keep(whose | {"merchant": config.alias}, state, record)

    transactions.run(work)
    logger.info("settlements fetched merchant=%s settled=%s waiting=%s", config.alias, len(settled), len(waiting))
    return len(settled) + len(waiting)


def fetch_due():
    """Fetch the settlements of every global merchant; returns how many records."""
    records = 0
    for alias in conf.aliases():
        try:
            if conf.merchant(alias).region == "global":
                records += fetch(merchant=alias)
        except WxPayError as error:
            logger.warning("settlements not fetched merchant=%s: %s", alias, error)
        except Exception as error:
            failures.log(logger, error, "settlements broke merchant=%s", alias)
    return records


def _look_back(whose, end):
    """As far as the oldest trade that still waits: its payout may have come while nobody asked."""
    usual = end - timedelta(days=LOOK_BACK_DAYS)
    waiting = Settlement.objects.filter(**whose, state=State.UNSETTLE)
    oldest = waiting.aggregate(day=Min("trade_start_date"))["day"] or usual
    return max(min(oldest, usual), end - timedelta(days=REACH_DAYS))


def _keep(whose, state, record):
    amount = record.get("amount") or {}
    values = {name: amount.get(name) or 0 for name in AMOUNTS} | {
        "state": state,
        "batch_id": record.get("batch_id") or "",
        "settlement_date": _day(record.get("settlement_date")),
        "trade_start_date": _day(record["trade_start_date"]),
        "trade_end_date": _day(record["trade_end_date"]),
        "currency": amount.get("currency") or "",
        "wallet_region": record.get("wallet_region") or "",
        "fetched_at": timezone.now(),
    }
    key = _key(values)
    mine = Settlement.objects.filter(mchid=whose["mchid"], sub_mchid=whose["sub_mchid"])
    if state == State.SETTLED:
        _settle_waiting(mine, key, values)
    row, _ = mine.update_or_create(key=key, defaults=values, create_defaults=whose | values | {"key": key})
    if not row.adds_up:
        logger.warning("settlement does not add up merchant=%s key=%s", row.merchant, key)


def _key(values):
    if values["batch_id"]:
        return f"{values['batch_id']}/{values['wallet_region']}/{values['currency']}"
    return f"{values['trade_start_date']:%Y%m%d}/{values['wallet_region']}/{values['currency']}"


def _settle_waiting(mine, key, values):
    """The waiting record becomes the payout; others that the payout covers are gone with it."""
    covered = mine.filter(
        state=State.UNSETTLE,
        wallet_region=values["wallet_region"],
        currency=values["currency"],
        trade_start_date__gte=values["trade_start_date"],
        trade_end_date__lte=values["trade_end_date"],
    ).exclude(key=key)
    if not mine.filter(key=key).exists():
        became = covered.filter(trade_start_date=values["trade_start_date"]).first()
        if became is not None:
            mine.filter(pk=became.pk).update(key=key, state=State.SETTLED)
    covered.filter(~Q(state=State.SETTLED)).delete()


def _day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:])) if text else None
