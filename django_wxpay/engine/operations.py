"""What we ask of WeChat Pay: written down first, sent once, its outcome recorded, its doubts resolved by queries.

Each kind is a `commands.Command`; who may send it is in `holds`, how it ends in `outcomes`. The life of an operation:

    PLANNED ── send ──► SENT ── verified 2xx ──► DONE
       ▲                 ├───── verified 4xx ──► REFUSED
       └─ not accepted ──┤
                         └───── no proof ──────► UNKNOWN ── query ──► DONE, REFUSED, or sent again with the same fields
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from django.db import IntegrityError
from django.utils import timezone

from ..client.answers import Answer
from ..client.errors import (
    APIError,
    InvalidField,
    OutcomeUnknown,
    RateLimited,
    RequestNotSent,
    SetupError,
    WxPayError,
)
from ..exceptions import OperationPending
from ..models import Operation, Outcome
from . import failures, holds, outcomes, polling, queries, queue, references, remote, transactions
from .commands import Command, row_if_there, row_of
from .facts import Fact
from .outcomes import end
from .registry import COMMANDS

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


__all__ = [
    "advance",
    "asked_before",
    "carry_out",
    "end",
    "plan",
    "refuse_if_pending",
    "send",
    "send_due",
]

logger = logging.getLogger(__name__)
State = Operation.State
SETUP_PAUSE = timedelta(minutes=5)  # people must mend it: asking sooner would only repeat the error
P = ParamSpec("P")
Row = TypeVar("Row")


# Writing down


def plan(
    row: Row,
    action: str,
    fields: Mapping[str, Any],
    *,
    reference: str | None = None,
    by: User | None = None,
    supersede: Collection[str] = (),
    secret: str = "",
) -> Row:
    """Write down what will be asked, as `row.operation`. Joins the caller's transaction, which holds the row's lock.

    secret: what is sent beside the fields and never stored; its digest is. supersede: actions whose operation gives
    way to this one, once no request of it can be under way.
    Raises OperationPending when something else is open for this row.
    """
    known: Any = row
    remote.merchant_of(known)  # of that number, and of a region that has the product: else nothing is written down
    refuse_if_pending(known, supersede)
    for other in known.together:
        refuse_if_pending(other)
    try:
        with transactions.atomic():
            operation = Operation.objects.create(
                merchant=known.merchant,
                mchid=known.mchid,
                subject=known.subject,
                object_id=known.pk,
                action=action,
                reference=reference,
                fields=fields,
                secret_digest=references.digest(secret),
                requested_by=cast(Any, by),  # of the shop's own class
                next_try_at=timezone.now(),
                open_key=f"{known.subject}:{known.pk}",
            )
    except IntegrityError:
        raise OperationPending(f"Something is being asked for {known.subject} {known.number} at this moment.") from None
    known.operation = operation
    queue.after_commit("send_operations", unless=lambda: operation.leased_until)
    return row


def asked_before(row: Any, action: str, reference: str | None) -> bool:
    """Whether this very request, by its reference, was written down before (a form sent twice)."""
    return reference is not None and Operation.objects.of(row).filter(action=action, reference=reference).exists()


def refuse_if_pending(row: Any, supersede: Collection[str] = ()) -> None:
    """Raise OperationPending while something is open for this row; what its state settles is closed first.

    What gives way must be over at WeChat Pay too, were it closed here long ago: a late request would undo the new one.
    """
    now = timezone.now()
    pending = Operation.objects.of(row).open().first()
    if pending is not None and not outcomes.settle(pending, row):
        if pending.action not in supersede:
            raise OperationPending(
                f"{pending.get_action_display()} of {row.subject} {row.number} has no outcome yet ({pending.state}). "
                "Nothing was sent; it is being found out, try again when it is known."
            )
        until = holds.held_until(pending)
        if (until is not None and until > now) or not outcomes.give_up(pending):
            raise _under_way(row, pending.action, until or now)
    until = holds.busy_until(row, *supersede) if supersede else None
    if until is not None and until > now:
        raise _under_way(row, "An earlier request", until)


def _under_way(row: Any, what: str, until: datetime) -> OperationPending:
    return OperationPending(
        f"{what} of {row.subject} {row.number} may still be under way; "
        f"try again after {timezone.localtime(until):%H:%M:%S}. Nothing was sent."
    )


# Sending


def carry_out(plan: Callable[P, Row], *args: P.args, **asked: P.kwargs) -> Row:
    """Do both halves, one after the other: write it down durably, then send it. Returns the row as it is then.

    The operation is written as reserved for this caller, so that no worker sends it meanwhile. When the reference was
    known, nothing is sent: what is still open is a worker's.
    """

    def work() -> Any:
        row: Any = plan(*args, **asked)
        if row.operation is not None:
            holds.reserve(row.operation)
        return row

    planned: Any = transactions.run(work, use=plan.__name__)
    if planned.operation is not None:
        send(planned.operation)
        planned.refresh_from_db()
    row: Row = planned
    return row


def send(operation: Operation) -> bool:
    """Send it now, unless somebody else holds it; returns whether this call sent it.

    Never inside a transaction. The request leaves soon after the claim or not at all. What comes back too late, after
    somebody else sent the same again, is recorded where it is a fact, and touches nothing of the later attempt.

    Raises RequestNotSent (surely not sent; a worker will), APIError (refused), RateLimited (not accepted; a worker
    will), SetupError (the same, once our set-up is mended), OutcomeUnknown (it may have happened; queries find out).
    """
    transactions.refuse_inside("the plan_… half of this service")
    if not _claim(operation):
        return False
    command, row = COMMANDS[operation.action], row_of(operation)
    try:
        with remote.client_of(row) as client:
            answer = command.send(client.before(holds.send_by(operation)), operation, row)
        if answer is None:
            outcomes.finish(operation, command.verdict(row, operation) or State.UNKNOWN)
            return True
        _answered(command, operation, answer)
    except APIError as error:
        return _refused(command, operation, error)
    except RequestNotSent as error:
        _not_sent(command, operation, error)
    except Exception as error:  # a bug after a 2xx among them: a query tells, at growing distances
        outcomes.keep(operation, State.UNKNOWN, error)
        raise
    return True


def _claim(operation: Operation) -> bool:
    """Become the one who sends it: PLANNED, due and free, or reserved for this very caller."""
    command = COMMANDS[operation.action]

    def work() -> dict[str, Any] | None:
        row = row_of(operation)
        remote.merchant_of(row)  # raises here, where nothing is claimed yet
        wait = command.wait_until(operation, row)
        if wait is None:
            return holds.claim(operation)
        holds.sendable(operation, timezone.now()).update(next_try_at=wait, leased_until=None)
        return None

    claimed = transactions.run(work)
    if claimed is None:
        return False
    holds.begin(operation, claimed)
    return True


def _answered(command: Command, operation: Operation, answer: Answer) -> None:
    """Record a 2xx: it is a fact, whoever may have sent the same again meanwhile."""

    def work() -> bool:
        row = command.lock(row_of(operation))
        fact = Fact.from_answer(row, answer, user=operation.requested_by)
        applied = command.answered(row, fact, operation)
        if applied.outcome in (Outcome.REFUSED, Outcome.UNKNOWN_ROW):
            return False
        if not outcomes.finish(operation, State.DONE, request_id=answer.request_id) and operation.is_open:
            outcomes.settle(operation, row_of(operation))  # a later attempt's: only what the row proves ends it
        return True

    if not transactions.run(work):
        raise OutcomeUnknown(f"The answer to {operation.action} does not fit our row; it is being queried.")


def _refused(command: Command, operation: Operation, error: APIError) -> bool:
    """Record a refusal. Raises what the caller must know; True when it turns out to be done."""
    if isinstance(error, RateLimited):
        _not_sent(command, operation, error)
    if isinstance(error, SetupError) and not command.needs_caller:
        if error.verified:
            _keep(operation, State.PLANNED, error, soonest=SETUP_PAUSE, busy_until=operation.busy_before)
        else:
            _keep(operation, State.UNKNOWN, error, soonest=SETUP_PAUSE)
        raise error
    ended = _end_refused(command, operation, error) if error.verified else State.UNKNOWN
    if ended == State.DONE:
        return True
    if ended == State.PLANNED:
        pause = command.pause * 2 ** min(operation.attempts - 1, 12)
        _keep(operation, State.PLANNED, error, soonest=pause, busy_until=operation.busy_before)
    elif ended == State.UNKNOWN and not error.verified:
        _keep(operation, State.UNKNOWN, error)
    elif ended == State.UNKNOWN:
        now = timezone.now()  # answered, this attempt is over; what came of it or of others is not known
        _keep(operation, State.UNKNOWN, error, busy_until=max(now, operation.busy_before or now))
        raise OutcomeUnknown(
            f"{operation.action}: WeChat Pay answered {error.code}, so it may have happened before. "
            "It is being queried; do not ask again under another number.",
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        ) from error
    raise error


def _not_sent(command: Command, operation: Operation, error: RequestNotSent | RateLimited) -> NoReturn:
    """It was not accepted: a worker sends it again, unless nobody else can, or it is refused here already."""
    proved = getattr(error, "verified", True)  # an unsigned 429 proves nothing
    if proved and (command.needs_caller or isinstance(error, InvalidField)):
        _end_refused(command, operation, error)
    elif proved:
        _keep(operation, State.PLANNED, error, busy_until=operation.busy_before)
    else:
        _keep(operation, State.UNKNOWN, error)
    raise error


def _end_refused(command: Command, operation: Operation, error: WxPayError) -> str:
    """Tell the row that it is refused; returns how the operation ended, UNKNOWN or PLANNED when it stays open."""

    def work() -> str | None:
        row = command.lock(row_of(operation))
        if not holds.held(operation).select_for_update().first():
            return None  # refused was an earlier attempt; a later one may be taken
        ended = command.refused(row, error, operation)
        if ended in (State.REFUSED, State.DONE):
            message = str(getattr(error, "message", error))
            request_id = getattr(error, "request_id", "")
            outcomes.finish(
                operation, ended, error_code=outcomes.code_of(error), error_message=message, request_id=request_id
            )
        before = operation.busy_before  # an earlier attempt may still bring about what this one was refused
        if ended == State.REFUSED and before is not None and before > timezone.now():
            polling.recheck(row, before)
        return ended

    ended: str | None = transactions.run(work)
    if ended is None:
        _too_late(operation, error)
    return ended


def _keep(operation: Operation, state: str, error: WxPayError, **how: Any) -> None:
    if not outcomes.keep(operation, state, error, **how):
        _too_late(operation, error)


def _too_late(operation: Operation, error: WxPayError) -> NoReturn:
    raise OutcomeUnknown(
        f"{operation.action} was sent again by somebody else before this came back; its outcome is being found out."
    ) from error


# What workers do


def send_due(limit: int = 100) -> int:
    """Send what is planned, find out what is unknown, for some seconds; returns how many were looked at."""
    batch, seen = remote.Batch(), 0
    due = Operation.objects.due().exclude(mchid__in=batch.left_alone).order_by("next_try_at")[:limit]
    for operation in due:
        if batch.is_over:
            break
        if not batch.may_call(operation.mchid):
            continue
        seen += 1
        try:
            advance(operation)
        except WxPayError as error:
            batch.note(operation.mchid, error)
            logger.warning("operation %s of %s %s: %s", operation.action, operation.subject, operation.object_id, error)
        except Exception as error:
            failures.log(logger, error, "operation broke pk=%s", operation.pk)
            outcomes.put_off(operation)
    return seen


def advance(operation: Operation, send_again: bool = True) -> None:
    """Take one open operation further: send it if it is planned, else find out what became of it.

    send_again: whether what proves not to have arrived is sent again at once; else its next try does.
    """
    row = row_if_there(operation)
    if row is None:
        outcomes.put_off(operation)
    elif outcomes.settle(operation, row):
        return
    elif operation.state == State.PLANNED:
        _send_planned(operation)
    elif holds.take(operation):
        _find_out(operation, row, send_again)


def _send_planned(operation: Operation) -> None:
    command = COMMANDS[operation.action]
    if not command.needs_caller:
        send(operation)
    elif outcomes.give_up(operation):  # its caller died before it was sent, and nobody else can send it
        never_sent = RequestNotSent("Its process ended before it was sent.")
        transactions.run(lambda: command.refused(command.lock(row_of(operation)), never_sent, operation))


def _find_out(operation: Operation, row: Any, send_again: bool) -> None:
    """Query; then DONE, REFUSED, sent again with the same fields, or asked again later."""
    command = COMMANDS[operation.action]
    if not command.resend:  # nothing is to be sent, so there is nothing to ask for: the row has a clock of its own
        outcomes.keep(operation, State.UNKNOWN, OutcomeUnknown("Its row is queried, and tells how it ended."))
        return
    begun_at = timezone.now()
    try:
        is_known = queries.query(row)
    except Exception as error:
        pause = SETUP_PAUSE if isinstance(error, SetupError) else outcomes.SOONEST
        outcomes.keep(operation, State.UNKNOWN, error, soonest=pause)
        raise
    row.refresh_from_db()
    if outcomes.settle(operation, row):
        return
    never_arrived = not is_known and (operation.busy_until is None or operation.busy_until <= begun_at)
    if never_arrived and (ended := command.missing(row, operation)):
        outcomes.finish(operation, ended, error_code=operation.error_code, error_message=operation.error_message)
    elif command.harmless or never_arrived:
        if _plan_again(operation) and send_again:
            send(operation)
    else:
        why = "What WeChat Pay says of it does not fit our row." if is_known else "WeChat Pay knows nothing of it yet."
        outcomes.keep(operation, State.UNKNOWN, OutcomeUnknown(why))


def _plan_again(operation: Operation) -> bool:
    """The same number and the same fields: proved not to have arrived, and no request can be under way."""
    return holds.release(operation, state=State.PLANNED, next_try_at=timezone.now())
