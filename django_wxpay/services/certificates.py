"""Platform certificates: kept as WeChat Pay sent them, shared by all processes, refreshed by one at a time."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from cryptography.x509 import Certificate
from django.db.models import Q
from django.utils import timezone

from .. import conf
from ..client import Client
from ..client.certificates import open_item
from ..client.errors import WxPayError
from ..client.texts import clean
from ..engine import failures, transactions
from ..models import MerchantState, PlatformCertificate

logger = logging.getLogger(__name__)
PAUSE = timedelta(minutes=1)  # between two refreshes of a merchant, over all processes
FRESH = timedelta(hours=6)  # WeChat Pay wants the list looked at more often than every 12 hours
GRACE = timedelta(days=2)  # an outgoing certificate may be used for a day after its end, and clocks differ
FIRST_SECONDS = 2  # as long as a winner may take
QUICK_SECONDS = 1  # until the last request begins, and again for its answer: a notification waits for it


class KeyStore:
    """Where every process' key ring finds platform certificates."""

    def load(self, alias: str) -> dict[str, Certificate]:
        """The stored certificates of a merchant: {serial: certificate}.

        What ended some days ago, and what no APIv3 key opens, is left out.
        """
        client = conf.client(alias)
        keys = {}
        stored = PlatformCertificate.objects.filter(mchid=client.identity.mchid)
        for row in stored.filter(expire_time__gt=timezone.now() - GRACE):
            try:
                keys[row.serial_no] = open_item(client.identity, row.item).certificate
            except WxPayError as error:
                logger.error("stored certificate unusable merchant=%s serial=%s: %s", alias, row.serial_no, error)
        return keys

    def refresh(self, alias: str) -> dict[str, Certificate] | None:
        """Download once, if nobody did within the last minute: {serial: certificate}, or None.

        Trouble is logged and kept on the `MerchantState`; the keys at hand stay in use.
        """
        merchant = conf.merchant(alias)
        if not _win_refresh(merchant):
            return self._of_the_winner(alias, merchant)
        client = conf.quick_client(alias, QUICK_SECONDS)
        client = client.before(timezone.now() + timedelta(seconds=QUICK_SECONDS))
        try:
            return _download(merchant, client)
        except WxPayError as error:
            _note_failure(merchant, client, error)
            return None

    def _of_the_winner(self, alias: str, merchant: conf.Merchant) -> dict[str, Certificate]:
        """What another process has just downloaded; for a shop that has none yet, wait while it is at it.

        The first calls of a new shop come together: without a key the losers' answers would prove nothing.
        """
        stored = PlatformCertificate.objects.filter(mchid=merchant.mchid)
        failed = MerchantState.objects.filter(mchid=merchant.mchid).exclude(refresh_error="")
        ends = time.monotonic() + FIRST_SECONDS
        while not stored.exists() and not failed.exists() and time.monotonic() < ends:
            time.sleep(0.05)
        return self.load(alias)


conf.use_key_store(KeyStore())


def refresh(alias: str) -> list[str]:
    """Download a merchant's platform certificates now and store them; returns their serials.

    Raises what the client raises; the certificates at hand stay.

    Source: APIv3 manual, "Get platform certificates", GET /v3/global/certificates.
    """
    merchant = conf.merchant(alias)
    _state_of(merchant)
    try:
        keys = _download(merchant, conf.client(alias))
    except WxPayError as error:
        _note_failure(merchant, conf.client(alias), error)
        raise
    conf.client(alias).keys.add(keys)
    return list(keys)


def refresh_due() -> int:
    """Refresh every merchant whose certificates were not looked at for six hours; returns how many were."""
    done = 0
    for alias in conf.aliases():
        try:
            merchant = conf.merchant(alias)
            if merchant.options["CERTIFICATES"] and _is_due(_state_of(merchant)) and _win_refresh(merchant):
                refresh(alias)
                done += 1
        except WxPayError:
            continue  # logged and kept by refresh; the others have their turn
        except Exception as error:
            failures.log(logger, error, "certificates broke merchant=%s", alias)
    return done


def _download(merchant: conf.Merchant, client: Client) -> dict[str, Certificate]:
    downloaded = client.certificates.download()

    def work() -> None:
        for one in downloaded:
            values = {
                "merchant": merchant.alias, "effective_time": one.effective_time, "expire_time": one.expire_time,
                "item": one.item,
            }  # fmt: skip
            PlatformCertificate.objects.update_or_create(mchid=merchant.mchid, serial_no=one.serial_no, defaults=values)
        MerchantState.objects.filter(mchid=merchant.mchid).update(
            refreshed_at=timezone.now(), refresh_error="", clock_skew=_skew(client)
        )

    transactions.run(work)
    logger.info("certificates refreshed merchant=%s serials=%s", merchant.alias, len(downloaded))
    return {one.serial_no: one.certificate for one in downloaded}


def _state_of(merchant: conf.Merchant) -> MerchantState:
    return MerchantState.objects.get_or_create(mchid=merchant.mchid, defaults={"merchant": merchant.alias})[0]


def _is_due(state: MerchantState) -> bool:
    return state.refreshed_at is None or state.refreshed_at + FRESH < timezone.now()


def _win_refresh(merchant: conf.Merchant) -> bool:
    """Whether this process is the one that may refresh now."""
    now = timezone.now()
    may = Q(refresh_after__isnull=True) | Q(refresh_after__lte=now)
    mine = MerchantState.objects.filter(may, mchid=merchant.mchid)
    if mine.update(refresh_after=now + PAUSE):
        return True
    if MerchantState.objects.filter(mchid=merchant.mchid).exists():
        return False
    _state_of(merchant)
    return bool(mine.update(refresh_after=now + PAUSE))


def _skew(client: Client) -> int | None:
    """How many whole seconds WeChat Pay's clock is ahead of ours; None when it did not say."""
    skew = client.certificates.clock_skew
    return None if skew is None else round(skew)


def _note_failure(merchant: conf.Merchant, client: Client, error: WxPayError) -> None:
    known = MerchantState.objects.filter(mchid=merchant.mchid)
    known.update(refresh_error=clean(str(error), 256), clock_skew=_skew(client))
    logger.error("certificates not refreshed merchant=%s: %s. The known keys stay in use.", merchant.alias, error)
