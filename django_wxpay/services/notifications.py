"""Notifications: proved, decrypted, kept and applied in one transaction; repeated or tried again without harm."""

import logging
from datetime import timedelta

from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from .. import conf
from ..client.errors import WxPayError
from ..client.texts import clean
from ..engine import discrepancies, failures, registry, transactions
from ..engine.facts import Fact
from ..exceptions import ProcessingFailed, WrongMerchant
from ..models import Discrepancy, Notification, Outcome, Source

logger = logging.getLogger(__name__)
State = Notification.State
KEPT_HEADERS = ("wechatpay-", "request-id", "content-type", "user-agent")
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=1)


STATES = {
    Outcome.APPLIED: State.PROCESSED,
    Outcome.SAME: State.PROCESSED,
    Outcome.STALE: State.PROCESSED,
    Outcome.REFUSED: State.REFUSED,
    Outcome.UNKNOWN_ROW: State.WAITING,
}


class UnknownEvent(WxPayError):
    """A kind of message of a product we serve, which this version does not know."""


class _Repeated(Exception):
    """The event id is there already."""


# Receiving


def receive(alias, headers, body):
    """Prove, keep and process a message from WeChat Pay; returns its `Notification`. Returning means: acknowledge it.

    alias: the merchant whose address was called. headers: any mapping, in any case. body: the raw bytes.
    Raises SignatureInvalid, MessageMalformed, WrongMerchant (refused, nothing is stored), DecryptionFailed (most
    often a changed APIv3 key, nothing is stored), ProcessingFailed (kept as FAILED and tried again).

    Source: APIv3 manual, "Callback notifications" and the pages of each event type.
    """
    merchant = conf.merchant(alias)
    envelope, payload, text = _open(merchant, headers, body)
    notification = Notification(
        merchant=merchant.alias,
        mchid=merchant.mchid,
        event_id=envelope.id,
        event_type=envelope.event_type,
        create_time=envelope.create_time[:64],
        body=body,
        headers=_kept(headers),
    )
    try:
        try:
            transactions.run(lambda: _keep_and_process(notification, merchant, payload, text))
        except _Repeated:
            return _repeat(notification, merchant, payload, text)
    except WxPayError as error:
        _keep_failed(notification, error)
        raise ProcessingFailed(str(error)) from error
    except OperationalError:
        raise  # the database: nothing was acknowledged, WeChat Pay repeats
    except Exception as error:
        failures.log(logger, error, "notification failed id=%s type=%s", envelope.id, envelope.event_type)
        _keep_failed(notification, error)
        raise ProcessingFailed(f"{type(error).__name__} while processing {envelope.event_type}") from error
    logger.info("notification %s type=%s state=%s", envelope.id, envelope.event_type, notification.state)
    return notification


def _open(merchant, headers, body):
    client = conf.client(merchant.alias)
    client.notifications.verify(headers, body)
    envelope = client.notifications.decode(body)
    payload, text = client.notifications.decrypt(envelope)
    _refuse_other_merchant(merchant, payload)
    return envelope, payload, text


def _refuse_other_merchant(merchant, payload):
    for name in ("mchid", "sp_mchid", "combine_mchid"):
        if payload.get(name) not in (None, merchant.mchid):
            raise WrongMerchant(f"{name} in the message is not the number of merchant {merchant.alias!r}.")


def _kept(headers):
    return {name: value for name, value in headers.items() if name.lower().startswith(KEPT_HEADERS)}


def _keep_and_process(notification, merchant, payload, text):
    """Insert first: the unique event id is the lock. The row is written as if all went well, and corrected if not."""
    known = registry.event_of(notification.event_type, payload)
    if known is None and not registry.is_ours(notification.event_type):
        expected = {"state": State.UNHANDLED}
    else:
        expected = {"state": State.PROCESSED, "outcome": Outcome.APPLIED, "processed_at": timezone.now()}
    if known is not None:
        expected |= _names(*known, payload)
    _set(notification, expected)
    try:
        notification.pk = None
        notification.save(force_insert=True)
    except IntegrityError:
        raise _Repeated from None
    if notification.state != State.UNHANDLED:
        _process(notification, merchant, payload, text, expected)


def _process(notification, merchant, payload, text, stored=None):
    """Apply it; writes the notification's row only where it differs from what is stored.

    stored: what was just inserted; None for a row read under its lock, which counts an attempt.
    """
    known = registry.event_of(notification.event_type, payload)
    if known is None:
        raise UnknownEvent(f"{notification.event_type} is not known to this version; upgrade, then process it again.")
    fact = Fact(merchant, payload, Source.NOTIFICATION, text=text, event_type=notification.event_type)
    applied = known[0].apply(fact)
    values = {
        "state": STATES[applied.outcome], "outcome": applied.outcome, "error": clean(applied.why, 512),
        "processed_at": timezone.now(), "next_try_at": None,
    }  # fmt: skip
    values |= _names(*known, payload)
    if applied.outcome == Outcome.UNKNOWN_ROW:
        values |= _wait_for_row(notification)
    if stored is None:
        values["attempts"] = notification.attempts + 1
    if stored is None or applied.outcome != stored["outcome"]:
        Notification.objects.filter(pk=notification.pk).update(**values)
        _set(notification, values)


def _names(subject, event, payload):
    number = payload.get(event.number)
    return {"subject": subject.name, "number": clean(number, 64) if isinstance(number, str) else ""}


def _wait_for_row(notification):
    """Our commit may not be visible yet, or the row is never to come: an hour of patience, then a discrepancy."""
    now = timezone.now()
    waited = now - notification.received_at
    if waited > timedelta(seconds=conf.setting("NOTIFICATION_WAITING_SECONDS")):
        theirs = f"{notification.event_type} {notification.number}"
        discrepancies.record(Discrepancy.Kind.UNKNOWN_ROW, notification, theirs=theirs, about="notification")
        return {"state": State.REFUSED, "next_try_at": None}
    return {"next_try_at": now + _pause(waited)}


def _repeat(notification, merchant, payload, text):
    """The same event again: count it. Only one that failed before is processed again, under its lock."""
    same = Notification.objects.filter(mchid=notification.mchid, event_id=notification.event_id)
    logger.info("notification %s type=%s repeated", notification.event_id, notification.event_type)
    if same.exclude(state=State.FAILED).update(attempts=F("attempts") + 1):
        return SimpleLazyObject(same.get)  # WeChat Pay does not look at it: read when somebody does

    def work():
        row = same.select_for_update().get()
        if row.state == State.FAILED:
            _process(row, merchant, payload, text)
        else:  # another repeat was quicker
            same.update(attempts=F("attempts") + 1)
        return row

    return transactions.run(work)


def _keep_failed(notification, error):
    """Keep it as FAILED, in a transaction of its own: what it did was rolled back."""
    now = timezone.now()
    payload = failures.headline(error)

    def work():
        row, created = Notification.objects.get_or_create(
            mchid=notification.mchid,
            event_id=notification.event_id,
            defaults={
                "merchant": notification.merchant, "event_type": notification.event_type,
                "create_time": notification.create_time, "body": notification.body, "headers": notification.headers,
                "subject": notification.subject, "number": notification.number,
                "state": State.FAILED, "error": payload, "next_try_at": now + SOONEST,
            },
        )  # fmt: skip
        if not created:
            later = now + _pause(now - row.received_at)
            failing = Notification.objects.filter(pk=row.pk, state__in=(State.FAILED, State.WAITING))
            failing.update(state=State.FAILED, error=payload, attempts=F("attempts") + 1, next_try_at=later)

    transactions.run(work)


def _pause(age):
    return min(max(age / 2, SOONEST), LATEST)


def _set(row, values):
    for name, value in values.items():
        setattr(row, name, value)


# Trying again


def retry(notification):
    """Process a stored notification again; returns the refreshed row. A processed one is left alone.

    Raises ProcessingFailed: a bug is still there, its merchant left the settings, or no APIv3 key of now opens it.
    """

    def work():
        row = Notification.objects.select_for_update().get(pk=notification.pk)
        if row.state != State.PROCESSED:
            merchant, client = conf.merchant(row.merchant), conf.client(row.merchant)
            payload, text = client.notifications.decrypt(client.notifications.decode(bytes(row.body)))
            if registry.is_ours(row.event_type):
                _process(row, merchant, payload, text)

    try:
        transactions.run(work)
    except Exception as error:
        _keep_failed(notification, error)
        raise ProcessingFailed(failures.headline(error)) from error
    notification.refresh_from_db()
    return notification


def retry_due(limit=100):
    """Process again what waits or failed and is due; returns how many were tried."""
    due = list(Notification.objects.due().order_by("next_try_at")[:limit])
    for notification in due:
        try:
            retry(notification)
        except WxPayError as error:
            logger.warning("notification %s not processed: %s", notification.event_id, error)
    return len(due)


def prune(days=None, batch=1000):
    """Delete processed notifications older than NOTIFICATION_KEPT_DAYS, in batches; returns how many."""
    before = timezone.now() - timedelta(days=days or conf.setting("NOTIFICATION_KEPT_DAYS"))
    gone = 0
    while True:
        old = Notification.objects.filter(state=State.PROCESSED, received_at__lt=before)
        pks = list(old.values_list("pk", flat=True)[:batch])
        if not pks:
            return gone
        gone += Notification.objects.filter(pk__in=pks).delete()[0]
