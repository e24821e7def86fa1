"""Speaking to WeChat Pay for a row: the right client, and patience with a merchant that is asked to slow down.

Two things hold a merchant's background work back, for all processes, in its `MerchantState`: a 429, and calls in a row
that waited and were given no answer. Calls that somebody waits for are made all the same.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .. import conf
from ..client import Client
from ..client.errors import (
    APIError,
    InvalidField,
    OutcomeUnknown,
    RateLimited,
    RequestNotSent,
    SetupError,
    WxPayError,
)
from ..models import Discrepancy, MerchantState
from . import discrepancies, registry, transactions

logger = logging.getLogger(__name__)
Reason = MerchantState.Reason
MOST_IN_A_ROW = 9  # 2⁹ s, about eight minutes
LONGEST: dict[str, int] = {Reason.RATE_LIMITED: 600, Reason.NO_ANSWER: 60}  # seconds: the longest pause
IN_A_ROW = timedelta(minutes=10)  # after that the next one is the first again
SILENT_SECONDS = 1  # a call that fails sooner holds up nobody
SUSPECTED, SILENT = 1, 3  # calls in a row without an answer: then one call at a time, then pauses
PROBE = timedelta(minutes=1)  # nobody else calls a silent merchant while one does
BATCH_SECONDS = 5  # a worker turns to other kinds of work after that


def merchant_of(row: Any) -> conf.Merchant:
    """The merchant in the settings that this row was made for."""
    merchant = conf.merchant(row.merchant)
    if merchant.mchid != row.mchid:
        raise ImproperlyConfigured(
            f"WXPAY merchant {row.merchant!r} now signs as {merchant.mchid}, but this row belongs to {row.mchid}. "
            "Keep the old merchant under its alias and give the new one another."
        )
    registry.refuse_other_region(row, merchant.region)
    return merchant


@contextmanager
def client_of(row: Any) -> Iterator[Client]:
    """The client to ask about this row, never inside a transaction.

    A RateLimited, or calls that get no answer, make every process go easy on this merchant; a SetupError is told to a
    person.
    """
    transactions.refuse_inside("polling.plan_query")
    merchant = merchant_of(row)
    begun_at, started = timezone.now(), time.monotonic()
    try:
        yield conf.client(merchant.alias)
    except RateLimited as error:
        slow_down(merchant, Reason.RATE_LIMITED, begun_at, error.retry_after if error.verified else None)
        raise
    except WxPayError as error:
        if not _was_answered(error):
            if time.monotonic() - started >= SILENT_SECONDS and not isinstance(error, InvalidField):
                slow_down(merchant, Reason.NO_ANSWER, begun_at)
        else:
            _forget_silence(merchant)
        if isinstance(error, SetupError):
            _alarm(merchant, error)
        raise
    else:
        _forget_silence(merchant)


def _alarm(merchant: conf.Merchant, error: SetupError) -> None:
    """Our keys, numbers or permissions are not as WeChat Pay has them: a person is told once, until it is resolved."""
    state, _ = MerchantState.objects.get_or_create(mchid=merchant.mchid, defaults={"merchant": merchant.alias})
    ours = f"{merchant.alias}: {merchant.mchid}"
    discrepancies.record(Discrepancy.Kind.SETUP, state, ours=ours, theirs=str(error), about="merchant")
    logger.error("set-up refused merchant=%s code=%s status=%s", merchant.alias, error.code, error.status)


def _was_answered(error: WxPayError) -> bool:
    if isinstance(error, OutcomeUnknown):
        return bool(error.status)
    return isinstance(error, APIError) or not isinstance(error, RequestNotSent)


def slow_down(merchant: conf.Merchant, reason: str, begun_at: datetime, retry_after: int | None = None) -> None:
    """Hold back this merchant's background work for a while: longer each time in a row, with jitter, never for long.

    begun_at: when the call began; those that were under way together count once. retry_after: seconds that WeChat Pay
    asked for, signed; what is not signed may have been said by anybody.
    """
    now = timezone.now()
    state, _ = MerchantState.objects.get_or_create(mchid=merchant.mchid, defaults={"merchant": merchant.alias})
    in_a_row = state.slow_reason == reason and state.slow_until is not None and now - state.slow_until < IN_A_ROW
    if in_a_row and state.slow_at is not None and begun_at <= state.slow_at:
        return
    times = min(state.slow_step + 1, MOST_IN_A_ROW) if in_a_row else 1
    seconds = min(max(_pause(reason, times), retry_after or 0), LONGEST[reason])
    MerchantState.objects.filter(pk=state.pk).update(
        slow_step=times, slow_reason=reason, slow_at=now, slow_until=now + timedelta(seconds=seconds)
    )
    logger.warning("%s merchant=%s: holding back %.0f s", reason, merchant.alias, seconds)


def _pause(reason: str, times: int) -> float:
    if reason == Reason.NO_ANSWER and times < SILENT:
        return 0
    exponent = times if reason == Reason.RATE_LIMITED else times - SILENT + 2
    return float(2**exponent * random.uniform(0.5, 1.5))


def _forget_silence(merchant: conf.Merchant) -> None:
    silent = MerchantState.objects.filter(mchid=merchant.mchid, slow_reason=Reason.NO_ANSWER)
    if silent.exists():
        silent.update(**_FORGOTTEN)
        logger.info("answers again merchant=%s", merchant.alias)


def hold_back_no_longer(state: MerchantState) -> None:
    """End a merchant's pause by hand; should it be asked for again, it begins with its shortest."""
    MerchantState.objects.filter(pk=state.pk).update(**_FORGOTTEN)


_FORGOTTEN: dict[str, Any] = {"slow_step": 0, "slow_reason": "", "slow_at": None, "slow_until": None}


def slowed() -> list[str]:
    """The signing numbers that background work leaves alone now."""
    return list(MerchantState.objects.filter(slow_until__gt=timezone.now()).values_list("mchid", flat=True))


class Batch:
    """One run of background calls: how long it may go on, and which merchants it leaves alone.

    Whoever gives no answer is left alone for the rest of the batch, so one merchant's outage costs the others one
    call's time. Of a merchant that was silent before, one process at a time finds out whether it answers again.
    """

    def __init__(self, seconds: float = BATCH_SECONDS) -> None:
        self._ends = timezone.now() + timedelta(seconds=seconds)  # a process that was suspended is over, too
        self.left_alone = set(slowed())
        suspected = MerchantState.objects.filter(slow_reason=Reason.NO_ANSWER, slow_step__gte=SUSPECTED)
        self._suspected = set(suspected.values_list("mchid", flat=True))

    @property
    def is_over(self) -> bool:
        return timezone.now() >= self._ends

    def may_call(self, mchid: str) -> bool:
        """Whether this batch may make a call for that signing number now."""
        if mchid in self._suspected and mchid not in self.left_alone:
            self._suspected.discard(mchid)
            if not _win_probe(mchid):
                self.left_alone.add(mchid)
        return mchid not in self.left_alone

    def note(self, mchid: str, error: Exception) -> None:
        """A call failed: for that signing number this batch makes no more, unless it was answered."""
        if isinstance(error, RateLimited) or (isinstance(error, WxPayError) and not _was_answered(error)):
            self.left_alone.add(mchid)


def _win_probe(mchid: str) -> bool:
    now = timezone.now()
    silent = MerchantState.objects.filter(mchid=mchid, slow_reason=Reason.NO_ANSWER)
    won = silent.filter(slow_until__lte=now).update(slow_until=now + PROBE)
    return bool(won) or not silent.exists()  # it may have answered somebody since this batch began
