"""What we ask of WeChat Pay: written down first, sent once, its outcome recorded, its doubts resolved by queries.

Each kind is a `commands.Command`; how one ends is in `outcomes`. The life of an operation:

    PLANNED ── send ──► SENT ── verified 2xx ──► DONE
       ▲                 ├───── verified 4xx ──► REFUSED
       └─ not accepted ──┤
                         └───── no proof ──────► UNKNOWN ── query ──► DONE, REFUSED, or sent again with the same fields
"""

import logging
from datetime import timedelta

from django.db import IntegrityError
from django.db.models import F, Q
from django.utils import timezone

from .. import conf
from ..client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited, RequestNotSent, WxPayError
from ..exceptions import OperationPending, ReferenceReused
from ..models import Operation, Outcome
from . import failures, outcomes, queries, queue, remote, transactions
from .commands import row_of
from .facts import Fact
from .registry import COMMANDS

logger = logging.getLogger(__name__)
State = Operation.State


# Writing down


def plan(row, action, fields, *, reference=None, by=None, supersede=()):
    """Write down what will be asked, as `row.operation`. Joins the caller's transaction, which holds the row's lock.

    supersede: actions whose open operation gives way to this one, once no request of it can be under way.
    Raises OperationPending when something else is open for this row.
    """
    remote.merchant_of(row)  # of that number, and of a region that has the product: else nothing is written down
    refuse_if_pending(row, supersede)
    try:
        with transactions.atomic():
            operation = Operation.objects.create(
                merchant=row.merchant,
                mchid=row.mchid,
                subject=row.subject,
                object_id=row.pk,
                action=action,
                reference=reference,
                fields=fields,
                requested_by=by,
                next_try_at=timezone.now(),
                open_key=f"{row.subject}:{row.pk}",
            )
    except IntegrityError:
        raise OperationPending(f"Something is being asked for {row.subject} {row.number} at this moment.") from None
    row.operation = operation
    queue.after_commit("send_operations", unless=lambda: operation.leased_until)
    return row


def asked_before(row, action, reference):
    """Whether this very ask, by its reference, was written down before (a form sent twice)."""
    return reference is not None and Operation.objects.of(row).filter(action=action, reference=reference).exists()


def refuse_reuse(row, reference, wanted):
    """Raise ReferenceReused unless the row that the reference names was asked for with the same values."""
    # The reference, too: MariaDB may have found a row whose own differs in case.
    differing = [name for name, value in {"reference": reference, **wanted}.items() if getattr(row, name) != value]
    if differing:
        raise ReferenceReused(reference, differing)
    return row


def refuse_if_pending(row, supersede=()):
    """Raise OperationPending while something is open for this row; what its state settles is closed first."""
    pending = Operation.objects.of(row).open().first()
    if pending is None or outcomes.settle(pending, row):
        return
    if pending.action in supersede:
        in_flight_until = outcomes.busy_until(pending)
        if (in_flight_until is None or in_flight_until <= timezone.now()) and outcomes.give_up(pending):
            return
        in_flight_until = in_flight_until or timezone.now()
        raise OperationPending(
            f"{pending.action} of {row.subject} {row.number} may still be under way; "
            f"try again after {timezone.localtime(in_flight_until):%H:%M:%S}. Nothing was sent."
        )
    raise OperationPending(
        f"{pending.get_action_display()} of {row.subject} {row.number} has no outcome yet ({pending.state}). "
        "Nothing was sent; it is being found out, try again when it is known."
    )


# Sending


def carry_out(plan, *args, **asked):
    """Do both halves, one after the other: write it down durably, then send it. Returns the row as it is then.

    The operation is written as leased to this caller, so that no worker sends it meanwhile. When the reference was
    known, nothing is sent: what is still open is a worker's.
    """

    def work():
        row = plan(*args, **asked)
        if row.operation is not None:
            _lease(row.operation)
        return row

    row = transactions.run(work, use=plan.__name__)
    if row.operation is not None:
        send(row.operation)
        row.refresh_from_db()
    return row


def _lease(operation):
    seconds = conf.merchant(operation.merchant).request_seconds
    operation.leased_until = timezone.now() + timedelta(seconds=seconds)
    Operation.objects.filter(pk=operation.pk).update(leased_until=operation.leased_until)


def send(operation):
    """Send it now, unless somebody else holds it; returns whether this call sent it.

    Never inside a transaction. Raises RequestNotSent (surely not sent; a worker will), APIError (refused),
    RateLimited (not accepted; a worker will), OutcomeUnknown (it may have happened; queries find out).
    """
    transactions.refuse_inside("the plan_… half of this service")
    if not _claim(operation):
        return False
    command, row = COMMANDS[operation.action], row_of(operation)
    try:
        with remote.client_of(row) as client:
            if timezone.now() > operation.sent_at + timedelta(seconds=conf.SLACK_SECONDS):
                logger.error(
                    "not sent: the process slept after its claim action=%s pk=%s", operation.action, operation.pk
                )
                return False  # nobody waits for this request any more, it would come out of the blue
            answer = command.send(client, operation, row)
    except InvalidField as error:
        _refused(command, operation, error)
        raise
    except (RateLimited, RequestNotSent) as error:
        if not command.needs_caller:
            outcomes.keep(operation, State.PLANNED, error)
        elif getattr(error, "verified", True):
            _refused(command, operation, error)
        else:
            outcomes.keep(operation, State.UNKNOWN, error)
        raise
    except OutcomeUnknown as error:
        outcomes.keep(operation, State.UNKNOWN, error)
        raise
    except APIError as error:
        ended = _refused(command, operation, error) if error.verified else State.UNKNOWN
        if ended == State.DONE:
            return True
        if ended == State.REFUSED:
            raise
        if ended == State.PLANNED:
            outcomes.keep(operation, State.PLANNED, error, command.pause)
            raise
        outcomes.keep(operation, State.UNKNOWN, error)
        if not error.verified:
            raise
        raise OutcomeUnknown(
            f"{operation.action}: WeChat Pay answered {error.code}, so it may have happened before. "
            "It is being queried; do not ask again under another number."
        ) from error
    except Exception as error:
        outcomes.keep(operation, State.UNKNOWN, error)
        raise
    if answer is None:
        outcomes.finish(operation, command.verdict(row, operation))
        return True
    _answered(command, operation, answer)
    return True


def _claim(operation):
    """Become the one who sends it: PLANNED, due and free, or leased to this very caller."""
    command = COMMANDS[operation.action]

    def work():
        now = timezone.now()
        row = row_of(operation)
        wait = command.wait_until(operation, row)
        if wait is not None:
            Operation.objects.filter(pk=operation.pk, state=State.PLANNED).update(next_try_at=wait, leased_until=None)
            return None
        free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
        mine = free & Q(next_try_at__lte=now)
        if operation.leased_until is not None:
            mine |= Q(leased_until=operation.leased_until)
        lease = now + timedelta(seconds=remote.merchant_of(row).request_seconds)
        won = Operation.objects.filter(mine, pk=operation.pk, state=State.PLANNED, open_key__isnull=False).update(
            state=State.SENT, sent_at=now, attempts=F("attempts") + 1, leased_until=lease, next_try_at=lease
        )
        return (now, lease) if won else None

    claimed = transactions.run(work)
    if claimed is None:
        return False
    operation.state, (operation.sent_at, operation.leased_until) = State.SENT, claimed
    return True


def _answered(command, operation, answer):
    def work():
        row = command.lock(row_of(operation))
        fact = Fact.from_answer(row, answer, user=operation.requested_by)
        applied = command.answered(row, fact, operation)
        fits = applied.outcome not in (Outcome.REFUSED, Outcome.UNKNOWN_ROW)
        if fits:
            outcomes.finish(operation, State.DONE, request_id=answer.request_id)
        return fits

    if not transactions.run(work):
        error = OutcomeUnknown(f"The answer to {operation.action} does not fit our row; it is being queried.")
        outcomes.keep(operation, State.UNKNOWN, error)
        raise error


def _refused(command, operation, error):
    """Record a refusal; returns how the operation ended, UNKNOWN or PLANNED when it stays open."""

    def work():
        row = command.lock(row_of(operation))
        ended = command.refused(row, error, operation)
        if ended in (State.REFUSED, State.DONE):
            message = str(getattr(error, "message", error))
            request_id = getattr(error, "request_id", "")
            outcomes.finish(
                operation, ended, error_code=outcomes.code_of(error), error_message=message, request_id=request_id
            )
        return ended

    return transactions.run(work)


# What workers do


def send_due(limit=100):
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


def advance(operation, send_again=True):
    """Take one open operation further: send it if it is planned, else find out what became of it.

    send_again: whether what proves not to have arrived is sent again at once; else that is the next step.
    """
    if operation.state == State.PLANNED:
        _send_planned(operation)
    elif _take(operation):
        _find_out(operation, send_again)


def _send_planned(operation):
    if outcomes.settle(operation, row_of(operation)):
        return
    command = COMMANDS[operation.action]
    if not command.needs_caller:
        send(operation)
    elif outcomes.give_up(operation):  # its caller died before it was sent, and nobody else can send it
        never_sent = RequestNotSent("Its process ended before it was sent.")
        transactions.run(lambda: command.refused(command.lock(row_of(operation)), never_sent, operation))


def _take(operation):
    """Hold an operation whose outcome is unknown (or whose sender died) while we query, if it still is due."""
    now = timezone.now()
    lease = now + timedelta(seconds=conf.merchant(operation.merchant).request_seconds)
    unknown = Operation.objects.due(now).filter(pk=operation.pk).exclude(state=State.PLANNED)
    if not unknown.update(state=State.UNKNOWN, leased_until=lease, next_try_at=lease):
        return False
    operation.refresh_from_db()  # somebody may have sent it again since it was listed
    return True


def _find_out(operation, send_again):
    """Query; then DONE, REFUSED, sent again with the same fields, or asked again later."""
    command, row = COMMANDS[operation.action], row_of(operation)
    if outcomes.settle(operation, row):
        return
    try:
        is_known = queries.query(row)
    except WxPayError as error:
        outcomes.keep(operation, State.UNKNOWN, error)
        raise
    row.refresh_from_db()
    if outcomes.settle(operation, row):
        return
    never_arrived = not is_known and not outcomes.is_under_way(operation)
    if command.resend and (command.harmless or never_arrived):
        _plan_again(operation)
        if send_again:
            send(operation)
        return
    why = "What WeChat Pay says of it does not fit our row." if is_known else "WeChat Pay knows nothing of it yet."
    outcomes.keep(operation, State.UNKNOWN, OutcomeUnknown(why))


def _plan_again(operation):
    """The same number and the same fields: proved not to have arrived, and no request can be under way."""
    Operation.objects.filter(pk=operation.pk, state=State.UNKNOWN, open_key__isnull=False).update(
        state=State.PLANNED, leased_until=None, next_try_at=timezone.now()
    )
    operation.refresh_from_db()
