"""How an operation ends, or stays open until more is known."""

import logging
from datetime import timedelta

from django.utils import timezone

from .. import conf
from ..client.errors import WxPayError
from ..client.texts import clean
from ..models import Discrepancy, Operation
from . import discrepancies, polling
from .commands import row_of
from .registry import COMMANDS

logger = logging.getLogger(__name__)
State = Operation.State
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=1)


def finish(operation, state, *, error_code="", error_message="", request_id=""):
    """Close an operation; nothing happens when it is closed already."""
    values = {"state": state, "open_key": None, "leased_until": None, "next_try_at": None}
    values |= {"finished_at": timezone.now()}
    if error_code or error_message or state == State.DONE:
        values |= {"error_code": clean(error_code, 64), "error_message": clean(error_message, 256)}
    if request_id:
        values["request_id"] = request_id[:128]
    Operation.objects.filter(pk=operation.pk, open_key__isnull=False).update(**values)
    for name, value in values.items():
        setattr(operation, name, value)


def settle(operation, row):
    """Close an open operation when the row's state says how it ended; returns whether it is closed.

    One that looks refused may be under way all the same: the row is asked about again when it no longer can be.
    """
    if operation.sent_at is None and not row.is_final:
        return False
    verdict = COMMANDS[operation.action].verdict(row, operation)
    if verdict is None:
        return False
    in_flight_until = busy_until(operation)
    finish(operation, verdict)
    if verdict == State.REFUSED and in_flight_until is not None and in_flight_until > timezone.now():
        polling.recheck(row, in_flight_until)
    return True


def give_up(operation):
    """Close an operation for the sake of another; False when somebody began to send it at this moment."""
    state = State.REFUSED if operation.sent_at is None else State.UNKNOWN
    as_seen = Operation.objects.filter(pk=operation.pk, state=operation.state, attempts=operation.attempts)
    gone = as_seen.filter(open_key__isnull=False).update(
        state=state, open_key=None, leased_until=None, next_try_at=None, finished_at=timezone.now(),
        error_message="given up for another request",
    )  # fmt: skip
    return bool(gone)


def busy_until(operation):
    """Until when a request of this operation may be under way; None when none was ever sent or leased."""
    if operation.sent_at is None:
        return operation.leased_until
    window = timedelta(seconds=conf.merchant(operation.merchant).request_seconds)
    return max(operation.sent_at + window, operation.leased_until or operation.sent_at)


def is_under_way(operation):
    """Whether a request that was sent may still arrive."""
    window = timedelta(seconds=conf.merchant(operation.merchant).request_seconds)
    return operation.sent_at is not None and operation.sent_at + window > timezone.now()


def code_of(error):
    """WeChat Pay's code of an error, or our name for it."""
    return (error.code if isinstance(error, WxPayError) and error.code else type(error).__name__)[:64]


def keep(operation, state, error, soonest=SOONEST):
    """It stays open: to be sent (again), or to be found out."""
    now = timezone.now()
    age = now - operation.created_at
    never_arrived = state == State.PLANNED and getattr(error, "verified", True)  # an unsigned 429 proves nothing
    sent = None if never_arrived else operation.sent_at
    Operation.objects.filter(pk=operation.pk, open_key__isnull=False).update(
        state=state,
        sent_at=sent,
        leased_until=None,
        next_try_at=now + min(max(age / 2, soonest), LATEST),
        error_code=code_of(error),
        error_message=clean(str(error), 256),
        request_id=(getattr(error, "request_id", "") or "")[:128],
    )
    operation.refresh_from_db()
    what = (operation.action, operation.subject, operation.object_id, state, operation.error_code)
    logger.warning("operation open action=%s %s=%s state=%s error=%s", *what)
    _tell_if_stuck(operation)


def put_off(operation):
    """It broke before it was sent: others have their turn, were there a hundred like it."""
    now = timezone.now()
    still_due = Operation.objects.due(now).filter(pk=operation.pk)
    still_due.update(next_try_at=now + min(max((now - operation.created_at) / 2, SOONEST), LATEST))
    _tell_if_stuck(operation)


def _tell_if_stuck(operation):
    if timezone.now() - operation.created_at > timedelta(seconds=conf.setting("OPERATION_STUCK_SECONDS")):
        ours = f"{operation.action}: {operation.state} {operation.error_code}"
        discrepancies.record(Discrepancy.Kind.STUCK, row_of(operation), ours=ours, theirs=operation.error_message)
