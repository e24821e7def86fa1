"""What WeChat Pay says of a contract: applied here, whoever brought it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.dispatch import Signal

from ... import conf, signals
from ...client import Client
from ...client.answers import Answer
from ...engine import polling, queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, identity, move, named, number_of, openid_appid, refuse
from ...models import Contract, Outcome, Source

State = Contract.State
EVENT_STATES = {"PAPAY.SIGN": State.SIGNED, "PAPAY.TERMINATE": State.TERMINATED}
EXPIRY_GRACE = timedelta(minutes=5)  # a signature given in the last second may still be on its way


def apply_contract(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a contract: a query's answer, or a notification of signing or terminating.

    Returns `Applied`; joins the caller's transaction.
    """
    rows = Contract.objects.select_for_update().filter(mchid=fact.mchid)
    row = named(rows, out_contract_code=fact.data.get("out_contract_code"))
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such contract")
    known = identity(row) + [
        Known("out_contract_code", row.out_contract_code, always=True),
        number_of(row, "contract_id"),
        Known("plan_id", row.plan_id, always=True),
    ]
    under = openid_appid(row, fact)
    is_comparable = not row.openid or under == row.openid_under
    if is_comparable:
        known.append(number_of(row, "openid"))
    if differing := differences(fact, known):
        return refuse(row, fact, differing)
    state = EVENT_STATES.get(fact.event_type) or str(fact.data.get("state"))
    operated = fact.time("operate_time")
    changes = {
        "contract_id": fact.number("contract_id"),
        "contract_expire_time": fact.time("contract_expire_time"),
        "signed_time": fact.time("signed_time") or (operated if state == State.SIGNED else None),
        "terminated_time": fact.time("terminated_time") or (operated if state == State.TERMINATED else None),
        "termination_mode": fact.words("termination_mode", 32) or fact.words("contract_termination_mode", 32),
        "termination_note": fact.words("termination_note", 256),
    }
    if not row.openid:
        changes |= {"openid": fact.number("openid"), "openid_appid": under}
    is_other = not is_comparable and fact.get("openid") not in (None, "", row.openid)
    return move(row, state, fact, changes, note=f"openid under {under}: not compared" if is_other else "")


def query(client: Client, contract: Contract) -> Answer:
    sub = {"sub_mchid": contract.sub_mchid, "sub_appid": contract.sub_appid}
    if contract.contract_id:
        return client.contracts.query(contract_id=contract.contract_id, **sub)
    return client.contracts.query_by_code(out_contract_code=contract.out_contract_code, plan_id=contract.plan_id, **sub)


def sync(contract: Contract) -> Contract:
    """Query WeChat Pay and record what it says; returns the refreshed row.

    Raises APIError, OutcomeUnknown. A contract that nobody signed in time becomes EXPIRED.

    Source: APIv3 manual, auto-debit, "Query contract", GET /v3/global/papay/contracts/….
    """
    return queries.sync(contract)


def _not_there(contract: Contract, begun_at: datetime) -> None:
    """WeChat Pay has no such contract: not signed. After the session's end that is how it stays."""

    def work() -> None:
        row = Contract.objects.select_for_update().get(pk=contract.pk)
        if row.state == State.PENDING and (row.expired_time is None or row.expired_time + EXPIRY_GRACE < begun_at):
            move(row, State.EXPIRED, Fact(row.mchid, {}, Source.CLOCK), {})
        else:
            polling.not_there(row, begun_at)

    transactions.run(work)


# What the engine must know


SIGNALS: dict[str, Signal] = {
    State.SIGNED: signals.contract_signed, State.TERMINATED: signals.contract_terminated,
}  # fmt: skip


def _signal(old: str, new: str) -> Signal | None:
    return SIGNALS.get(new)


def _pause(contract: Contract, state: str) -> timedelta:
    if state == State.SIGNED:
        return timedelta(seconds=conf.setting("SIGNED_CONTRACT_POLL_SECONDS"))
    return polling.growing("CONTRACT_POLL_SECONDS")(contract, state)


registry.subject(
    registry.Subject(
        model=Contract,
        apply=apply_contract,
        events=tuple(registry.Event(event_type, "out_contract_code") for event_type in EVENT_STATES),
        signal=_signal,
        confirmed=frozenset({State.TERMINATED}),  # the answer to our termination has no particulars
        patience={State.PENDING: timedelta(days=7)},
    )
)
registry.product(
    registry.Product(
        subject=Contract.subject,
        name="",
        regions=frozenset({"global"}),
        query=query,
        not_there=_not_there,
        advance=sync,
        pause=_pause,
    )
)
