"""What we ask of WeChat Pay: written down first, sent once, its outcome recorded, its doubts resolved by queries.

Each kind of ask is an `Ask`, registered by its subject's module. The life of an operation:

    PLANNED ── send ──► SENT ── verified 2xx ──► DONE
       ▲                 ├───── verified 4xx ──► REFUSED
       └─ not accepted ──┤
                         └───── no proof ──────► UNKNOWN ── query ──► DONE, REFUSED, or sent again with the same fields
"""

import logging
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from .. import conf
from ..client.errors import APIError, InvalidField, OutcomeUnknown, RateLimited, RequestNotSent, WxPayError
from ..exceptions import OperationPending, ReferenceReused
from ..models import SUBJECTS, Discrepancy, Operation, Outcome, Source
from . import discrepancies, failures, remote, transactions, wake
from .facts import Fact

logger = logging.getLogger(__name__)
State = Operation.State
ASKS: dict[str, "Ask"] = {}
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=1)


class Ask:
    """How one kind of operation is sent, understood and, when its outcome is unknown, found out."""

    action: Any
    resend = True  # whether the same request may be sent again once it is proved that it never arrived
    harmless = False  # whether it may be sent twice even while the first may be under way
    needs_caller = False  # whether only its caller can send it (it knows what is never stored)
    pause = timedelta(minutes=5)  # before a "not now" is asked again

    def wait_until(self, operation, row):
        """When it may be sent, None for now. Called in a transaction that may lock what decides it."""
        return None

    def lock(self, row):
        """The row, locked afresh, after whatever the order of locks puts before it."""
        return type(row).objects.select_for_update().get(pk=row.pk)

    def send(self, client, operation, row):
        """Send it, return the client's Answer; None when a look at `row` gave the verdict and nothing was sent."""
        raise NotImplementedError

    def answered(self, row, fact, operation):
        """Apply the answer of a 2xx through the subject's door; returns its `Applied`."""
        raise NotImplementedError

    def refused(self, row, error, operation):
        """Record that WeChat Pay verifiably refused (or that our own field check did).

        Returns how the operation ends: REFUSED, DONE (it was so already), UNKNOWN (a query must tell), or PLANNED
        (not now: the same again after `pause`).
        """
        raise NotImplementedError

    def look(self, row):
        """Query the row's truth and apply it; returns whether WeChat Pay knows it. Raises client errors."""
        raise NotImplementedError

    def verdict(self, row, operation):
        """What the row's state says about this ask: DONE, REFUSED, or None while it says nothing."""
        raise NotImplementedError


def register(ask):
    ASKS[ask.action] = ask()
    return ask


# Writing down


def plan(row, action, fields, *, reference=None, by=None, supersede=()):
    """Write down what will be asked, as `row.operation`. Joins the caller's transaction, which holds the row's lock.

    supersede: actions whose open operation gives way to this one, once no request of it can be under way.
    Raises OperationPending when something else is open for this row.
    """
    refuse_if_pending(row, supersede)
    try:
        with transaction.atomic():
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
    wake.after_commit("send_operations", unless=lambda: operation.leased_until)
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
    if pending is None or settle(pending, row):
        return
    if pending.action in supersede:
        in_flight_until = busy_until(pending)
        if (in_flight_until is None or in_flight_until <= timezone.now()) and _give_up(pending):
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


def _give_up(operation):
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
    ask, row = ASKS[operation.action], row_of(operation)
    try:
        with remote.client_of(row) as client:
            if timezone.now() > operation.sent_at + timedelta(seconds=conf.SLACK_SECONDS):
                logger.error(
                    "not sent: the process slept after its claim action=%s pk=%s", operation.action, operation.pk
                )
                return False  # nobody waits for this request any more, it would come out of the blue
            answer = ask.send(client, operation, row)
    except InvalidField as error:
        _refused(ask, operation, error)
        raise
    except (RateLimited, RequestNotSent) as error:
        if not ask.needs_caller:
            _keep(operation, State.PLANNED, error)
        elif getattr(error, "verified", True):
            _refused(ask, operation, error)
        else:
            _keep(operation, State.UNKNOWN, error)
        raise
    except OutcomeUnknown as error:
        _keep(operation, State.UNKNOWN, error)
        raise
    except APIError as error:
        ended = _refused(ask, operation, error) if error.verified else State.UNKNOWN
        if ended == State.DONE:
            return True
        if ended == State.REFUSED:
            raise
        if ended == State.PLANNED:
            _keep(operation, State.PLANNED, error, ask.pause)
            raise
        _keep(operation, State.UNKNOWN, error)
        if not error.verified:
            raise
        raise OutcomeUnknown(
            f"{operation.action}: WeChat Pay answered {error.code}, so it may have happened before. "
            "It is being queried; do not ask again under another number."
        ) from error
    except Exception as error:
        _keep(operation, State.UNKNOWN, error)
        raise
    if answer is None:
        finish(operation, ask.verdict(row, operation))
        return True
    _answered(ask, operation, answer)
    return True


def _claim(operation):
    """Become the one who sends it: PLANNED, due and free, or leased to this very caller."""
    ask = ASKS[operation.action]

    def work():
        now = timezone.now()
        row = row_of(operation)
        wait = ask.wait_until(operation, row)
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


def _answered(ask, operation, answer):
    def work():
        row = ask.lock(row_of(operation))
        fact = Fact.from_answer(row, answer, user=operation.requested_by)
        applied = ask.answered(row, fact, operation)
        fits = applied.outcome not in (Outcome.REFUSED, Outcome.UNKNOWN_ROW)
        if fits:
            finish(operation, State.DONE, request_id=answer.request_id)
        return fits

    if not transactions.run(work):
        error = OutcomeUnknown(f"The answer to {operation.action} does not fit our row; it is being queried.")
        _keep(operation, State.UNKNOWN, error)
        raise error


def _refused(ask, operation, error):
    """Record a refusal; returns how the operation ended, UNKNOWN or PLANNED when it stays open."""

    def work():
        row = ask.lock(row_of(operation))
        ended = ask.refused(row, error, operation)
        if ended in (State.REFUSED, State.DONE):
            message = str(getattr(error, "message", error))
            request_id = getattr(error, "request_id", "")
            finish(operation, ended, error_code=_code(error), error_message=message, request_id=request_id)
        return ended

    return transactions.run(work)


def _code(error):
    return (error.code if isinstance(error, WxPayError) and error.code else type(error).__name__)[:64]


def _keep(operation, state, error, soonest=SOONEST):
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
        error_code=_code(error),
        error_message=str(error)[:256],
        request_id=(getattr(error, "request_id", "") or "")[:128],
    )
    operation.refresh_from_db()
    what = (operation.action, operation.subject, operation.object_id, state, operation.error_code)
    logger.warning("operation open action=%s %s=%s state=%s error=%s", *what)
    _tell_if_stuck(operation)


def finish(operation, state, *, error_code="", error_message="", request_id=""):
    """Close an operation; nothing happens when it is closed already."""
    values = {"state": state, "open_key": None, "leased_until": None, "next_try_at": None}
    values |= {"finished_at": timezone.now()}
    if error_code or error_message or state == State.DONE:
        values |= {"error_code": error_code[:64], "error_message": error_message[:256]}
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
    verdict = ASKS[operation.action].verdict(row, operation)
    if verdict is None:
        return False
    in_flight_until = busy_until(operation)
    finish(operation, verdict)
    if verdict == State.REFUSED and in_flight_until is not None and in_flight_until > timezone.now():
        type(row).objects.filter(pk=row.pk).update(next_poll_at=in_flight_until)
    return True


# What workers do


def send_due(limit=100):
    """Send what is planned, find out what is unknown; returns how many were looked at."""
    due = Operation.objects.due().exclude(mchid__in=remote.slowed()).order_by("next_try_at")[:limit]
    seen, slowed = 0, set()
    for operation in due:
        if operation.mchid in slowed:
            continue
        seen += 1
        try:
            advance(operation)
        except RateLimited:
            slowed.add(operation.mchid)
        except WxPayError as error:
            logger.warning("operation %s of %s %s: %s", operation.action, operation.subject, operation.object_id, error)
        except Exception as error:
            failures.log(logger, error, "operation broke pk=%s", operation.pk)
            _put_off(operation)
    return seen


def _put_off(operation):
    """It broke before it was sent: others have their turn, were there a hundred like it."""
    now = timezone.now()
    still_due = Operation.objects.due(now).filter(pk=operation.pk)
    still_due.update(next_try_at=now + min(max((now - operation.created_at) / 2, SOONEST), LATEST))
    _tell_if_stuck(operation)


def advance(operation, send_again=True):
    """Take one open operation further: send it if it is planned, else find out what became of it.

    send_again: whether what proves not to have arrived is sent again at once; else that is the next step.
    """
    if operation.state == State.PLANNED:
        _send_planned(operation)
    elif _take(operation):
        _find_out(operation, send_again)


def _send_planned(operation):
    if settle(operation, row_of(operation)):
        return
    ask = ASKS[operation.action]
    if not ask.needs_caller:
        send(operation)
    elif _give_up(operation):  # its caller died before it was sent, and nobody else can send it
        never_sent = RequestNotSent("Its process ended before it was sent.")
        transactions.run(lambda: ask.refused(ask.lock(row_of(operation)), never_sent, operation))


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
    ask, row = ASKS[operation.action], row_of(operation)
    if settle(operation, row):
        return
    try:
        ask.look(row)
    except WxPayError as error:  # an unsigned "not found" is one of them: it proves nothing
        _keep(operation, State.UNKNOWN, error)
        return
    row.refresh_from_db()
    if settle(operation, row):
        return
    if ask.resend and (ask.harmless or not _under_way(operation)):
        _plan_again(operation)
        if send_again:
            send(operation)
    else:
        _keep(operation, State.UNKNOWN, OutcomeUnknown("WeChat Pay knows nothing of it yet."))


def _plan_again(operation):
    """The same number and the same fields: proved not to have arrived, and no request can be under way."""
    Operation.objects.filter(pk=operation.pk, state=State.UNKNOWN, open_key__isnull=False).update(
        state=State.PLANNED, leased_until=None, next_try_at=timezone.now()
    )
    operation.refresh_from_db()


def _under_way(operation):
    window = timedelta(seconds=conf.merchant(operation.merchant).request_seconds)
    return operation.sent_at is not None and operation.sent_at + window > timezone.now()


def _tell_if_stuck(operation):
    if timezone.now() - operation.created_at > timedelta(seconds=conf.setting("OPERATION_STUCK_SECONDS")):
        ours = f"{operation.action}: {operation.state} {operation.error_code}"
        discrepancies.record(Discrepancy.Kind.STUCK, row_of(operation), ours=ours, theirs=operation.error_message)


def refusal(row, operation):
    """The fact that WeChat Pay refused what we asked."""
    return Fact(remote.merchant_of(row), {}, Source.ANSWER, user=operation.requested_by)


def row_of(operation):
    """The row that an operation is about."""
    return SUBJECTS[operation.subject].objects.get(pk=operation.object_id)


def open_of(row):
    """The open operation of a row, or None."""
    return Operation.objects.of(row).open().first()
