"""What WeChat Pay says of a plan: applied here, whoever brought it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ... import conf
from ...client import Client
from ...client.answers import Answer
from ...engine import holds, polling, queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, move, named, number_of, plain_identity, refuse
from ...models import Outcome, PayscorePlan, Source
from .messages import tidy

State = PayscorePlan.State


def apply_payscore_plan(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a plan: an answer, or a query's answer. There are no notifications of plans.

    Returns `Applied`; joins the caller's transaction.
    """
    fact = tidy(fact)
    rows = PayscorePlan.objects.select_for_update().filter(mchid=fact.mchid)
    row = named(rows, merchant_plan_no=fact.data.get("merchant_plan_no"))
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such plan")
    known = plain_identity(row) + [
        Known("merchant_plan_no", row.merchant_plan_no, always=True),
        number_of(row, "plan_id"),
        Known("service_id", row.service_id, always=True),
        Known("plan_duration", row.plan_duration, always=True),
        Known("deduction_quantity", row.deduction_quantity, always=True),
        Known("total_original_price", row.total_original_price, always=True),
        Known("total_actual_price", row.total_actual_price, always=True),
    ]
    if differing := differences(fact, known) + _other_prices(row, fact):
        return refuse(row, fact, differing)
    changes = {"plan_id": fact.number("plan_id"), "stop_time": fact.time("stop_time")}
    return move(row, str(fact.data.get("plan_state")), fact, changes)


def _other_prices(row: PayscorePlan, fact: Fact) -> list[tuple[str, Any, Any]]:
    """The services whose prices are not those that we asked for; a message need not list them."""
    listed = fact.data.get("plan_detail_list")
    if not isinstance(listed, list) or not listed:
        return []
    names = ("plan_detail_no", "original_price", "actual_price")
    ours = [tuple(getattr(one, name) for name in names) for one in row.details.all()]
    theirs = [tuple(one.get(name) for name in names) for one in listed if isinstance(one, dict)]
    return [] if sorted(map(str, theirs)) == sorted(map(str, ours)) else [("plan_detail_list", str(ours), str(theirs))]


def query(client: Client, plan: PayscorePlan) -> Answer:
    return client.payscore.query(merchant_plan_no=plan.merchant_plan_no, sub_mchid=plan.sub_mchid)


def sync(plan: PayscorePlan) -> PayscorePlan:
    """Query WeChat Pay and record what it says; returns the refreshed row. Raises APIError, OutcomeUnknown.

    Source: APIv3 manual, PayScore plan, "Query payscore plan",
    GET /v3/payscore/plan/payscore-plans/merchant-plan-no/{merchant_plan_no}.
    """
    return queries.sync(plan)


def _not_there(plan: PayscorePlan, begun_at: datetime) -> None:
    """WeChat Pay does not know it. When nobody will send it any more, and nothing was under way, it never will."""

    def work() -> bool:
        row = PayscorePlan.objects.select_for_update().get(pk=plan.pk)
        if row.state != State.PLANNED or not holds.nothing_comes(row, begun_at):
            return False
        move(row, State.REFUSED, Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at), {}, note="never arrived")
        return True

    if not transactions.run(work):
        polling.not_there(plan, begun_at)


def _pause(plan: PayscorePlan, state: str) -> timedelta:
    if state == State.NORMAL:
        return timedelta(seconds=conf.setting("SIGNED_PLAN_POLL_SECONDS"))
    return polling.growing("PAYSCORE_PLAN_POLL_SECONDS")(plan, state)


registry.subject(
    registry.Subject(
        model=PayscorePlan,
        apply=apply_payscore_plan,
        events=(),
        signal=lambda old, new: None,
        confirmed=PayscorePlan.FINAL,
        patience={State.PLANNED: timedelta(days=1)},
    )
)
registry.product(
    registry.Product(
        subject=PayscorePlan.subject,
        name="",
        regions=frozenset({"mainland"}),
        query=query,
        not_there=_not_there,
        advance=sync,
        pause=_pause,
    )
)
