"""What WeChat Pay says of a sign plan: applied here, whoever brought it.

A notice's `sign_state` contradicts its own event in WeChat Pay's samples. So a notice makes its row due, and the query
decides; by itself only a notice counts that can mean one thing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from ... import conf, signals
from ...client import Client
from ...client.answers import Answer
from ...client.texts import clean, hide
from ...engine import discrepancies, holds, polling, queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, move, named, number_of, plain_identity, refuse
from ...models import Discrepancy, Outcome, SignPlan, SignPlanDetail, Source
from ..payscore.messages import tidy
from . import renewals

State = SignPlan.State
CancelType = SignPlan.CancelType
SIGNED, CANCELLED = "PAYSCORE.USER_SIGN_PLAN", "PAYSCORE.USER_CANCEL_SIGN_PLAN"
ENDED = frozenset({State.SIGN_PLAN_CANCEL, State.COMPLETE, State.EXPIRE})
SIGN_WITHIN = timedelta(hours=2)  # the life of a package
LAPSE_GRACE = timedelta(minutes=5)  # a signature given in the last second may still be on its way
ASK_AFTER = tuple(timedelta(minutes=minutes) for minutes in (1, 3, 10, 30, 120))  # notices end after 11 minutes


def apply_sign_plan(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a sign plan: an answer, a query's answer, a notice of signing or cancelling.

    Returns `Applied`; joins the caller's transaction. Locks the sign plans that this one renews or is renewed by.
    """
    fact = tidy(fact)
    row = _locked(fact)
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such sign plan")
    user = "openid" if row.openid_under == row.appid else "sub_openid"
    known = plain_identity(row) + [
        Known("merchant_sign_plan_no", row.merchant_sign_plan_no, always=True),
        number_of(row, "sign_plan_id"),
        Known("service_id", row.service_id, always=True),
        Known("plan_id", row.plan.plan_id),
        Known(user, hide(row.openid)),
        Known("deduction_quantity", row.deduction_quantity),
        Known("total_origin_price", row.total_original_price),
        Known("total_actual_price", row.total_actual_price),
    ]
    if differing := differences(fact, known) + _other_details(row, fact):
        return refuse(row, fact, differing)
    if fact.source != Source.NOTIFICATION:
        return _apply(row, fact, str(fact.data.get("sign_state")))
    state = _meant(fact)
    if state is None:
        if row.state not in ENDED:
            polling.plan_query(row)
        return Applied(Outcome.STALE, row, "not believed by itself: WeChat Pay will be asked")
    applied = _apply(row, fact, state)
    if applied.outcome == Outcome.APPLIED:
        polling.plan_query(row)
    return applied


def _meant(fact: Fact) -> str | None:
    """The state that a notice can only mean; None when its parts contradict each other."""
    if fact.event_type == CANCELLED:
        return State.SIGN_PLAN_CANCEL
    unharmed = fact.data.get("cancel_sign_type") in (None, CancelType.NOT_CANCEL)
    return State.SIGNED if fact.data.get("sign_state") == State.SIGNED and unharmed else None


def _apply(row: SignPlan, fact: Fact, state: str) -> Applied:
    changes: dict[str, Any] = {
        "sign_plan_id": fact.number("sign_plan_id"),
        "plan_over_time": fact.time("plan_over_time"),
        "sign_time": fact.time("sign_time"),
    }
    if state == State.SIGN_PLAN_CANCEL:
        told = fact.words("cancel_sign_type", 16)
        changes |= {
            "cancel_sign_time": fact.time("cancel_sign_time"),
            "cancel_sign_type": told if told in CancelType.values and told != CancelType.NOT_CANCEL else "",
            "cancel_reason": fact.words("cancel_reason", 128),
        }
    applied = move(row, state, fact, changes)
    if applied.outcome == Outcome.REFUSED:
        return applied
    _learn_details(row, fact)
    if applied.outcome == Outcome.APPLIED and state == State.SIGNED:
        renewals.end_all_but_one(row)
    if row.state == State.UNSIGNED and fact.begun_at is not None and _signable_until(row) + LAPSE_GRACE < fact.begun_at:
        return move(row, State.LAPSED, Fact(row.mchid, {}, Source.CLOCK), {})
    return applied


def _signable_until(row: SignPlan) -> datetime:
    return row.package_expires or row.created_at + SIGN_WITHIN


def _locked(fact: Fact) -> SignPlan | None:
    """The sign plan, locked with all that it renews or is renewed by: of these only one may be used."""
    rows = SignPlan.objects.filter(mchid=fact.mchid)
    found = named(rows.only("renews_id", "merchant_sign_plan_no"), merchant_sign_plan_no=_number(fact))
    return found and renewals.lock(found)


def _number(fact: Fact) -> Any:
    return fact.data.get("merchant_sign_plan_no")


def _told(fact: Fact) -> list[dict[str, Any]]:
    listed = fact.data.get("signed_detail_list")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _other_details(row: SignPlan, fact: Fact) -> list[tuple[str, Any, Any]]:
    """Where a message speaks of other services than we had signed: their numbers and prices, byte for byte."""
    ours = {one.plan_detail_no: one for one in row.details.all()}
    found: list[tuple[str, Any, Any]] = []
    for place, told in enumerate(_told(fact)):
        no = told.get("plan_detail_no")
        detail = ours.get(no) if isinstance(no, int) else None
        if detail is None:
            found.append((f"signed_detail_list[{place}].plan_detail_no", "a service of this plan", no))
            continue
        for name in ("merchant_plan_detail_no", "original_price", "actual_price"):
            if (theirs := told.get(name)) is not None and theirs != getattr(detail, name):
                found.append((f"signed_detail_list[{place}].{name}", getattr(detail, name), theirs))
    return found


def _learn_details(row: SignPlan, fact: Fact) -> None:
    """Take each service as far as the message says; none goes back."""
    ours = {one.plan_detail_no: one for one in row.details.all()}
    for told in _told(fact):
        detail, state = ours[told["plan_detail_no"]], told.get("plan_detail_state")
        if state not in SignPlanDetail.STEPS:
            theirs = f"service {detail.plan_detail_no}: {clean(str(state), 64)}"
            discrepancies.record(Discrepancy.Kind.UNKNOWN_STATE, row, ours=detail.state, theirs=theirs)
            continue
        one = Fact(row.mchid, told, fact.source)
        times = {name: one.time(name) for name in ("use_time", "complete_time", "cancel_time")}
        detail.advance(state, **times, actual_pay_price=one.whole("actual_pay_price") or None)


def query(client: Client, sign_plan: SignPlan) -> Answer:
    return client.sign_plans.query(merchant_sign_plan_no=sign_plan.merchant_sign_plan_no, sub_mchid=sign_plan.sub_mchid)


def sync(sign_plan: SignPlan) -> SignPlan:
    """Query WeChat Pay and record what it says; returns the refreshed row. Raises APIError, OutcomeUnknown.

    One that nobody signed within its package's two hours becomes LAPSED.

    Source: APIv3 manual, PayScore plan, "Query user sign plan",
    GET /v3/payscore/sign-plan/user-sign-plans/merchant-sign-plan-no/{merchant_sign_plan_no}.
    """
    return queries.sync(sign_plan)


def _not_there(sign_plan: SignPlan, begun_at: datetime) -> None:
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will."""

    def work() -> bool:
        row = renewals.lock(sign_plan)
        if row.state != State.PLANNED or not holds.nothing_comes(row, begun_at):
            return False
        move(row, State.REFUSED, Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at), {}, note="never arrived")
        return True

    if not transactions.run(work):
        polling.not_there(sign_plan, begun_at)


# What the engine must know


def _signal(old: str, new: str) -> Signal | None:
    if new == State.SIGNED:
        return signals.sign_plan_signed
    return signals.sign_plan_cancelled if (old, new) == (State.SIGNED, State.SIGN_PLAN_CANCEL) else None


def _pause(sign_plan: SignPlan, state: str) -> timedelta:
    now = timezone.now()
    if state == State.SIGNED:
        until_end = (sign_plan.plan_over_time or now) - now + LAPSE_GRACE
        daily = timedelta(seconds=conf.setting("SIGNED_PLAN_POLL_SECONDS"))
        return min(daily, until_end) if until_end > LAPSE_GRACE else daily
    if state == State.UNSIGNED:
        first = timedelta(seconds=conf.setting("SIGN_PLAN_POLL_SECONDS"))
        ends_in = _signable_until(sign_plan) + 2 * LAPSE_GRACE - now
        age = now - sign_plan.created_at
        rest = [after - age for after in ASK_AFTER if after > age] + [ends_in]
        return max(rest[0], first)
    return polling.growing("SIGN_PLAN_POLL_SECONDS")(sign_plan, state)


registry.subject(
    registry.Subject(
        model=SignPlan,
        apply=apply_sign_plan,
        events=(registry.Event(SIGNED, "merchant_sign_plan_no"), registry.Event(CANCELLED, "merchant_sign_plan_no")),
        signal=_signal,
        confirmed=SignPlan.FINAL,
        patience={State.PLANNED: timedelta(days=1), State.UNSIGNED: timedelta(days=1)},
    )
)
registry.product(
    registry.Product(
        subject=SignPlan.subject,
        name="",
        regions=frozenset({"mainland"}),
        query=query,
        not_there=_not_there,
        advance=sync,
        pause=_pause,
    )
)
