"""How an operation ends, or stays open until more is known."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from .. import conf
from ..client.errors import WxPayError
from ..client.texts import clean
from ..exceptions import NotAllowedNow, OperationPending
from ..models import Discrepancy, Operation
from . import discrepancies, failures, holds, polling, transactions
from .commands import EndedByHand, row_if_there
from .registry import COMMANDS

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

logger = logging.getLogger(__name__)
State = Operation.State
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=1)


# Ending


def finish(
    operation: Operation, state: str, *, error_code: str = "", error_message: str = "", request_id: str = ""
) -> bool:
    """Close what this process holds, its answer known; False when somebody else is at it, and nothing is written."""
    values = _closed(state) | {"busy_until": operation.busy_before}
    if error_code or error_message or state == State.DONE:
        values |= {"error_code": clean(error_code, 64), "error_message": clean(error_message, 256)}
    if request_id:
        values["request_id"] = clean(request_id, 128)
    return holds.release(operation, **values)


def settle(operation: Operation, row: Any) -> bool:
    """Close an open operation when the row's state says how it ended; returns whether it is closed.

    One that looks refused may be under way all the same: the row is asked about again when it no longer can be.
    """
    if operation.busy_until is None and not row.is_final:
        return False
    verdict = COMMANDS[operation.action].verdict(row, operation)
    if verdict is None:
        return False
    _close(Operation.objects.open().filter(pk=operation.pk), operation, _closed(verdict))
    until = operation.busy_until
    if verdict == State.REFUSED and until is not None and until > timezone.now():
        polling.recheck(row, until)
    return True


def give_up(operation: Operation) -> bool:
    """Close an operation for the sake of another; False when somebody began to send it at this moment."""
    state = State.REFUSED if operation.busy_until is None else State.UNKNOWN
    as_seen = Operation.objects.open().filter(pk=operation.pk, state=operation.state, attempts=operation.attempts)
    values = _closed(state) | {"error_message": "given up for another request"}
    return _close(as_seen.filter(leased_until=operation.leased_until), operation, values)


def end(operation: Operation, *, by: User | None, reason: str) -> Operation:
    """End an operation by hand; returns it as it is then. Nothing is sent.

    Where the row's state tells how it ended, that counts. What surely was never taken ends REFUSED, and so does what
    it was to bring about. What may have been taken ends UNKNOWN: its row stays as it is, what is reserved for it stays
    reserved, and a query follows at once; only what that proves allows another attempt.

    by: the user, or None. reason: why, in words. Raises ValueError without a reason, NotAllowedNow (it is over),
    OperationPending (somebody is at it, or a request may still arrive: wait until then), CalledInTransaction.
    """
    if not reason.strip():
        raise ValueError("A reason is required: the next reader wants to know why.")

    def work() -> None:
        row = row_if_there(operation)
        if row is not None:
            row = COMMANDS[operation.action].lock(row)
        known = Operation.objects.select_for_update().get(pk=operation.pk)
        if not known.is_open:
            raise NotAllowedNow("This operation is over already; reload to see how it ended.")
        if row is not None and settle(known, row):
            return
        until = holds.held_until(known)
        if until is not None and until > timezone.now():
            raise OperationPending(
                f"{known.action} of {known.subject} {known.object_id} may still be under way; "
                f"try again after {timezone.localtime(until):%H:%M:%S}. Nothing was done."
            )
        state = State.REFUSED if known.busy_until is None else State.UNKNOWN
        if row is not None and state == State.REFUSED:
            COMMANDS[known.action].refused(row, EndedByHand(reason, by), known)
        elif row is not None:
            polling.plan_query(row)
        values = _closed(state) | {"error_code": "ENDED_BY_HAND", "error_message": clean(reason, 256)}
        _close(Operation.objects.open().filter(pk=known.pk), known, values)

    transactions.run(work, use="operations.end outside of atomic()")
    operation.refresh_from_db()
    what = (operation.action, operation.subject, operation.object_id, operation.state, getattr(by, "pk", None))
    logger.warning("operation ended by hand action=%s %s=%s state=%s by=%s", *what)
    return operation


def _closed(state: str) -> dict[str, Any]:
    return {
        "state": state,
        "open_key": None,
        "leased_until": None,
        "next_try_at": None,
        "finished_at": timezone.now(),
    }


def _close(as_known: Any, operation: Operation, values: dict[str, Any]) -> bool:
    if not as_known.update(**values):
        return False
    holds.know(operation, values)
    return True


# Staying open


def keep(
    operation: Operation, state: str, error: Exception, *, soonest: timedelta = SOONEST, **proved: datetime | None
) -> bool:
    """It stays open: to be sent (again), or to be found out. False when somebody else is at it: nothing is written.

    soonest: the least pause. proved: `busy_until`, when the error proves something about this attempt.
    """
    now = timezone.now()
    written = holds.release(
        operation,
        state=state,
        next_try_at=now + _pause(operation, soonest),
        error_code=code_of(error),
        error_message=clean(str(error) if isinstance(error, WxPayError) else failures.headline(error), 256),
        request_id=clean(getattr(error, "request_id", "") or "", 128),
        **proved,
    )
    what = (operation.action, operation.subject, operation.object_id)
    if not written:
        logger.warning("late: somebody else is at it by now action=%s %s=%s error=%s", *what, code_of(error))
        return False
    logger.warning("operation open action=%s %s=%s state=%s error=%s", *what, state, operation.error_code)
    _tell_if_stuck(operation)
    return True


def put_off(operation: Operation) -> None:
    """It broke, or its row is gone: others have their turn, were there a hundred like it."""
    still_due = Operation.objects.due().filter(pk=operation.pk)
    if still_due.update(next_try_at=timezone.now() + _pause(operation, SOONEST)):
        _tell_if_stuck(operation)


def _pause(operation: Operation, soonest: timedelta) -> timedelta:
    return min(max((timezone.now() - operation.created_at) / 2, soonest), LATEST)


def code_of(error: Exception) -> str:
    """WeChat Pay's code of an error, or our name for it."""
    return (error.code if isinstance(error, WxPayError) and error.code else type(error).__name__)[:64]


def _tell_if_stuck(operation: Operation) -> None:
    row = row_if_there(operation)
    ours = f"{operation.action}: {operation.state} {operation.error_code}"
    if row is None:
        theirs = f"{operation.subject} {operation.object_id} is gone, or of another version: end this by hand."
        discrepancies.record(Discrepancy.Kind.STUCK, operation, about="operation", ours=ours, theirs=theirs)
    elif timezone.now() - operation.created_at > timedelta(seconds=conf.setting("OPERATION_STUCK_SECONDS")):
        discrepancies.record(Discrepancy.Kind.STUCK, row, ours=ours, theirs=operation.error_message)
