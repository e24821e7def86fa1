"""Notifications: proved, decrypted, kept and applied in one transaction; repeated or tried again without harm."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from .. import conf
from ..client.errors import DecryptionFailed, MessageMalformed, WxPayError
from ..client.notifications import Envelope
from ..client.texts import clean
from ..engine import discrepancies, failures, polling, registry, remote, transactions
from ..engine.facts import Applied, Fact, named
from ..exceptions import ProcessingFailed, WrongMerchant
from ..models import Discrepancy, MerchantState, Notification, Outcome, Source

logger = logging.getLogger(__name__)
State = Notification.State
KEPT_HEADERS = ("wechatpay-", "request-id", "content-type", "user-agent")
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=1)
UNREADABLE = "What is sealed in it is no JSON object."
WORST_LAST = [Outcome.STALE, Outcome.SAME, Outcome.APPLIED, Outcome.REFUSED, Outcome.UNKNOWN_ROW]
STATES = {
    Outcome.APPLIED: State.PROCESSED,
    Outcome.SAME: State.PROCESSED,
    Outcome.STALE: State.PROCESSED,
    Outcome.REFUSED: State.REFUSED,
    Outcome.UNKNOWN_ROW: State.WAITING,
}


class _Repeated(Exception):
    """The event id is there already."""


# Receiving


def receive(alias: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Prove, keep and process a message from WeChat Pay; returns its `Notification`. Returning means: acknowledge it.

    alias: the merchant whose address was called. headers: any mapping, in any case. body: the raw bytes.
    Raises SignatureInvalid, WrongMerchant (refused, nothing is stored), MessageMalformed, DecryptionFailed (most often
    a changed APIv3 key; not stored, for nothing says that it was sent to us, but a discrepancy of the merchant tells
    people), ProcessingFailed (kept as FAILED and tried again).

    Source: APIv3 manual, "Callback notifications" and the pages of each event type.
    """
    merchant, client = conf.merchant(alias), conf.client(alias)
    client.notifications.verify(headers, body)
    try:
        envelope = client.notifications.decode(body)
        fact = _read(merchant, envelope)
    except (MessageMalformed, DecryptionFailed) as error:
        _tell_unopened(merchant, error)
        raise
    notification = Notification(
        merchant=merchant.alias,
        mchid=merchant.mchid,
        event_id=envelope.id,
        event_type=clean(envelope.event_type, 64),
        create_time=clean(envelope.create_time, 64),
        body=body,
        headers=_kept(headers),
    )
    try:
        try:
            transactions.run(lambda: _keep_and_process(notification, fact))
        except _Repeated:
            return _repeat(notification, fact)
    except WxPayError as error:
        _keep_failed(notification, error)
        raise ProcessingFailed(str(error)) from error
    except OperationalError:
        raise  # the database: nothing was acknowledged, WeChat Pay repeats
    except Exception as error:
        failures.log(logger, error, "notification failed id=%s type=%s", envelope.id, notification.event_type)
        _keep_failed(notification, error)
        raise ProcessingFailed(f"{type(error).__name__} while processing {notification.event_type}") from error
    logger.info("notification %s type=%s state=%s", envelope.id, notification.event_type, notification.state)
    return notification


def _read(merchant: conf.Merchant, envelope: Envelope) -> Fact | None:
    """What a message says; None when one of our keys opens it, so that it was sent to us, but nobody can read it.

    Raises DecryptionFailed, WrongMerchant.
    """
    try:
        data, text = conf.client(merchant.alias).notifications.decrypt(envelope)
    except MessageMalformed:
        return None
    for name in ("mchid", "sp_mchid", "combine_mchid"):
        if isinstance(data.get(name), str) and data[name] != merchant.mchid:
            raise WrongMerchant(f"{name} in the message is not the number of merchant {merchant.alias!r}.")
    return Fact(merchant.mchid, data, Source.NOTIFICATION, text=text, event_type=envelope.event_type)


def _tell_unopened(merchant: conf.Merchant, error: WxPayError) -> None:
    """WeChat Pay signed it, but nothing in it is sealed for us: one open discrepancy per merchant, however many come.

    It is kept nowhere. Whatever WeChat Pay signs for anybody, an answer to another merchant say, passes for such a
    message, so a stranger could fill the table with them.
    """

    def work() -> None:
        state, _ = MerchantState.objects.get_or_create(mchid=merchant.mchid, defaults={"merchant": merchant.alias})
        if not discrepancies.is_open(Discrepancy.Kind.UNREADABLE, state, about="merchant"):
            discrepancies.record(Discrepancy.Kind.UNREADABLE, state, theirs=str(error), about="merchant")

    transactions.run(work)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {clean(name): clean(value) for name, value in headers.items() if name.lower().startswith(KEPT_HEADERS)}


def _keep_and_process(notification: Notification, fact: Fact | None) -> None:
    """Insert first: the unique event id is the lock. The row is written as if all went well, and corrected if not."""
    expected = {"state": State.PROCESSED, "outcome": Outcome.APPLIED, "processed_at": timezone.now()} | _names(fact)
    _set(notification, expected)
    try:
        notification.pk = None
        notification.save(force_insert=True)
    except IntegrityError:
        raise _Repeated from None
    _process(notification, fact, expected)


def _process(notification: Notification, fact: Fact | None, stored: dict[str, Any] | None = None) -> None:
    """Apply it; writes the notification's row only where it differs from what is stored.

    stored: what was just inserted; None for a row read under its lock, which counts an attempt.
    """
    values = _outcome_of(notification, fact) | _names(fact)
    if stored is None:
        values["attempts"] = notification.attempts + 1
    if stored is None or values["outcome"] != stored["outcome"]:
        Notification.objects.filter(pk=notification.pk).update(**values)
        _set(notification, values)


def _outcome_of(notification: Notification, fact: Fact | None) -> dict[str, Any]:
    """Have its subject apply it; returns what the notification's row is to say of it."""
    known = registry.event_of(fact.event_type, fact.data) if fact else None
    if fact is None:
        discrepancies.record(Discrepancy.Kind.UNREADABLE, notification, theirs=UNREADABLE, about="notification")
        applied = Applied(Outcome.REFUSED, why=UNREADABLE)
    elif known is None:
        unknown = {"state": State.UNHANDLED, "outcome": "", "error": "", "processed_at": None}
        return unknown | {"next_try_at": _expect_upgrade(notification, fact)}
    else:
        applied = _applied(fact, *known)
    values = {
        "state": STATES[applied.outcome], "outcome": applied.outcome, "error": clean(applied.why, 512),
        "processed_at": timezone.now(), "next_try_at": None,
    }  # fmt: skip
    return values | (_wait_for_row(notification) if applied.outcome == Outcome.UNKNOWN_ROW else {})


def _applied(fact: Fact, subject: registry.Subject, event: registry.Event) -> Applied:
    """Apply each part of a message; of several the one counts that has the longest way to go."""
    parts = event.parts(fact.data)
    outcomes = [subject.apply(fact if part is fact.data else replace(fact, data=dict(part))) for part in parts]
    return max(outcomes, key=lambda applied: WORST_LAST.index(applied.outcome))


def _expect_upgrade(notification: Notification, fact: Fact) -> Any:
    """A type that we do not know. Of a product that we serve, it is news all the same: of what, a query tells.

    Returns when it is looked at again; None when it is of no product of ours.
    """
    if not registry.family_of(fact.event_type):
        return None
    logger.warning("notification %s is of an unknown type=%s", notification.event_id, notification.event_type)
    for subject in registry.SUBJECT.values():
        for number in {event.number for event in subject.events}:
            row = named(subject.model.objects.filter(mchid=fact.mchid), **{number: fact.get(number)})
            if row is not None:
                polling.plan_query(row)
    return timezone.now() + LATEST


def _names(fact: Fact | None) -> dict[str, str]:
    """The object that a message names; of a type that we do not know, the first that others of its family name."""
    if fact is None:
        return {}
    known = registry.event_of(fact.event_type, fact.data)
    others = [(subject, event) for subject, event in registry.family_of(fact.event_type) if fact.number(event.number)]
    for subject, event in [known] if known else others:
        return {"subject": subject.name, "number": fact.words(event.number, 64)}
    return {}


def _wait_for_row(notification: Notification) -> dict[str, Any]:
    """Our commit may not be visible yet, or the row is never to come: an hour of patience, then a discrepancy."""
    now = timezone.now()
    waited = now - notification.received_at
    if waited > timedelta(seconds=conf.setting("NOTIFICATION_WAITING_SECONDS")):
        theirs = f"{notification.event_type} {notification.number}"
        discrepancies.record(Discrepancy.Kind.UNKNOWN_ROW, notification, theirs=theirs, about="notification")
        return {"state": State.REFUSED, "next_try_at": None}
    return {"next_try_at": now + _pause(waited)}


def _repeat(notification: Notification, fact: Fact | None) -> Notification:
    """The same event again: count it. Only one that failed before is processed again, under its lock."""
    same = Notification.objects.filter(mchid=notification.mchid, event_id=notification.event_id)
    logger.info("notification %s type=%s repeated", notification.event_id, notification.event_type)
    if same.exclude(state=State.FAILED).update(attempts=F("attempts") + 1):
        return cast(Notification, SimpleLazyObject(same.get))  # WeChat Pay does not look at it: read when somebody does

    def work() -> Notification:
        row = same.select_for_update().get()
        if row.state == State.FAILED:
            _process(row, fact)
        else:  # another repeat was quicker
            same.update(attempts=F("attempts") + 1)
        return row

    return transactions.run(work)


def _keep_failed(notification: Notification, error: Exception) -> None:
    """Keep it as FAILED, in a transaction of its own: what it did was rolled back."""

    def work() -> None:
        row, created = Notification.objects.get_or_create(
            mchid=notification.mchid,
            event_id=notification.event_id,
            defaults={
                "merchant": notification.merchant, "event_type": notification.event_type,
                "create_time": notification.create_time, "body": notification.body, "headers": notification.headers,
                "subject": notification.subject, "number": notification.number,
                "state": State.FAILED, "error": failures.headline(error), "next_try_at": timezone.now() + SOONEST,
            },
        )  # fmt: skip
        if not created:
            _put_off(row, error)

    transactions.run(work)


def _fail(notification: Notification, error: Exception) -> None:
    transactions.run(lambda: _put_off(notification, error))


def _put_off(notification: Notification, error: Exception) -> None:
    """It broke again: others have their turn. What a person had processed again, and broke, stays as it was."""
    now = timezone.now()
    again = Notification.objects.filter(pk=notification.pk, state__in=Notification.RETRIED)
    again.update(
        state=State.FAILED,
        error=failures.headline(error),
        attempts=F("attempts") + 1,
        next_try_at=now + _pause(now - notification.received_at),
    )


def _pause(age: timedelta) -> timedelta:
    return min(max(age / 2, SOONEST), LATEST)


def _set(row: Notification, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)


# Trying again


def retry(notification: Notification) -> Notification:
    """Process a stored notification again; returns the refreshed row. A processed one is left alone.

    Raises ProcessingFailed: a bug is still there, its merchant left the settings, no APIv3 key of now opens it, or it
    was deleted meanwhile.
    """

    def work() -> Notification | None:
        row = Notification.objects.select_for_update().filter(pk=notification.pk).first()
        if row is not None and row.state != State.PROCESSED:
            merchant = remote.merchant_of(row)
            envelope = conf.client(row.merchant).notifications.decode(bytes(row.body))
            _process(row, _read(merchant, envelope))
        return row

    try:
        row = transactions.run(work)
    except Exception as error:
        _fail(notification, error)
        raise ProcessingFailed(failures.headline(error)) from error
    if row is None:
        raise ProcessingFailed("The notification was deleted meanwhile.")
    notification.refresh_from_db()
    return notification


def retry_due(limit: int = 100) -> int:
    """Process again what waits or failed and is due, and what this version knows at last; returns how many it tried.

    One that breaks is put off, and does not stop the others.
    """
    _put_unknown_off()
    due = list(Notification.objects.due().order_by("next_try_at").defer("body", "headers")[:limit])
    for notification in due:
        try:
            retry(notification)
        except WxPayError as error:
            logger.warning("notification %s not processed: %s", notification.event_id, error)
        except Exception as error:
            failures.log(logger, error, "notification broke pk=%s", notification.pk)
            _fail(notification, error)
    return len(due)


def _put_unknown_off() -> None:
    """Those of a type that is still unknown need no trying; after NOTIFICATION_KEPT_DAYS only people try them."""
    now = timezone.now()
    long_ago = now - timedelta(days=conf.setting("NOTIFICATION_KEPT_DAYS"))
    due = Notification.objects.due(now).filter(state=State.UNHANDLED)
    unknown = due.exclude(event_type__in=registry.event_types())
    unknown.filter(received_at__lt=long_ago).update(next_try_at=None)
    unknown.update(next_try_at=now + LATEST)


def prune(days: int | None = None, batch: int = 1000) -> int:
    """Delete processed notifications older than NOTIFICATION_KEPT_DAYS, in batches; returns how many."""
    before = timezone.now() - timedelta(days=days or conf.setting("NOTIFICATION_KEPT_DAYS"))
    gone = 0
    while True:
        old = Notification.objects.filter(state=State.PROCESSED, received_at__lt=before)
        pks = list(old.values_list("pk", flat=True)[:batch])
        if not pks:
            return gone
        gone += Notification.objects.filter(pk__in=pks).delete()[0]
