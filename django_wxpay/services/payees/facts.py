"""What WeChat Pay says of a person: applied here. It never speaks of one by itself, so it is always an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from ... import conf, signals
from ...client import Client
from ...client.answers import Answer
from ...client.texts import hide
from ...engine import queries, registry, transactions
from ...engine.facts import Applied, Fact, Known, differences, move, named, refuse
from ...models import Outcome, PayeeAuthorization, Source

State = PayeeAuthorization.State
SIGNS_WITHIN = timedelta(hours=2)  # after he was asked to; then he is asked about no more until he is asked to again
LONGEST_AUTH_ID = 32


def apply_payee(fact: Fact) -> Applied:
    """Record what WeChat Pay says of a person: a query's answer, with whom it was about (see `_query`).

    Returns `Applied`; joins the caller's transaction.
    """
    row = _locked(fact)
    if row is None:
        return Applied(Outcome.UNKNOWN_ROW, why="no such payee")
    state, auth_id = str(fact.data.get("auth_state")), fact.number("individual_auth_id")
    known = [Known("appid", row.appid, always=True), Known("individual_openid", row.openid)]
    differing = differences(fact, known)
    if state == State.AUTHORIZED and (auth_id is None or len(auth_id) > LONGEST_AUTH_ID):
        given = fact.data.get("individual_auth_id")
        differing.append(("individual_auth_id", f"a text of {LONGEST_AUTH_ID} characters at most", given))
    if differing:
        return refuse(row, fact, differing)
    applied = move(row, state, fact, {})
    if applied.outcome in (Outcome.APPLIED, Outcome.SAME):
        _learn(row, fact, auth_id if state == State.AUTHORIZED else None)
    return applied


def _learn(row: PayeeAuthorization, fact: Fact, auth_id: str | None) -> None:
    """Write what was learned of a locked row: the number he is paid by is another one after each signature."""
    values: dict[str, Any] = {
        "individual_auth_id": auth_id,
        "operation_time": fact.time("operation_time") or fact.time("signed_time"),
        "openid": row.openid or _free_openid(row, fact),
    }
    values = {name: value for name, value in values.items() if value and value != getattr(row, name)}
    if values:
        PayeeAuthorization.objects.filter(pk=row.pk).update(**values)
        for name, value in values.items():
            setattr(row, name, value)


def _free_openid(row: PayeeAuthorization, fact: Fact) -> str | None:
    """The openid that a signature in an app tells, unless this person is enrolled under it already."""
    openid = fact.number("individual_openid")
    if openid is None or len(openid) > 128:
        return None
    taken = PayeeAuthorization.objects.filter(mchid=row.mchid, appid=row.appid, openid=openid)
    return None if taken.exists() else hide(openid)


def _locked(fact: Fact) -> PayeeAuthorization | None:
    rows = PayeeAuthorization.objects.select_for_update().filter(mchid=fact.mchid)
    appid = fact.data.get("appid")
    if isinstance(appid, str) and fact.data.get("openid") is not None:
        return named(rows.filter(appid=appid), openid=fact.data["openid"])
    return named(rows, out_contract_code=fact.data.get("out_contract_code"))


def _query(client: Client, payee: PayeeAuthorization) -> Answer:
    """Ask by his openid, else by his latest attempt, and return the answer with whom it was about."""
    about = {"appid": payee.appid}
    if payee.openid:
        answer = client.payees.query(openid=payee.openid)
        about["openid"] = payee.openid
    else:
        answer = client.payees.query_by_code(out_contract_code=payee.out_contract_code or payee.payee_no)
        about["out_contract_code"] = payee.out_contract_code or ""
    return replace(answer, data=(answer.data or {}) | about)


def sync(payee: PayeeAuthorization) -> PayeeAuthorization:
    """Query WeChat Pay and record what it says; returns the refreshed row. Raises APIError, OutcomeUnknown.

    That WeChat Pay knows nobody means that he is not authorised.

    Source: APIv3 manual, "Payments to individuals", GET /v3/ecommerce/individual-contracts/{openid}.
    """
    return queries.sync(payee)


def _not_there(payee: PayeeAuthorization, begun_at: datetime) -> None:
    """Nobody is authorised under this openid, or number."""

    def work() -> None:
        row = PayeeAuthorization.objects.select_for_update().get(pk=payee.pk)
        move(row, State.UNAUTHORIZED, Fact(row.mchid, {}, Source.QUERY, begun_at=begun_at), {}, note="nobody known")

    transactions.run(work)


def expect_signature(payee: PayeeAuthorization) -> None:
    """He was just asked to sign: WeChat Pay will be asked whether he did."""
    now = timezone.now()
    first = timedelta(seconds=conf.setting("PAYEE_POLL_SECONDS"))
    values = {"offered_at": now, "recheck_after": now, "next_poll_at": now + first}
    PayeeAuthorization.objects.filter(pk=payee.pk, state=State.UNAUTHORIZED).update(**values)


def advance(payee: PayeeAuthorization) -> PayeeAuthorization:
    """Query a row that is due, and plan the next query while a signature may still come. Raises what `sync` raises."""
    try:
        return sync(payee)
    finally:
        _plan_next(payee)


def _plan_next(payee: PayeeAuthorization) -> None:
    row = PayeeAuthorization.objects.get(pk=payee.pk)
    now = timezone.now()
    if row.state != State.UNAUTHORIZED or row.offered_at is None or now - row.offered_at > SIGNS_WITHIN:
        return
    pause = max((now - row.offered_at) / 2, timedelta(seconds=conf.setting("PAYEE_POLL_SECONDS")))
    PayeeAuthorization.objects.filter(pk=row.pk, state=State.UNAUTHORIZED).update(
        recheck_after=now, next_poll_at=now + pause
    )


# What the engine must know


def _signal(old: str, new: str) -> Signal | None:
    return signals.payee_authorized if new == State.AUTHORIZED else signals.payee_withdrawn


def _pause(payee: PayeeAuthorization, state: str) -> timedelta:
    return timedelta(seconds=conf.setting("AUTHORIZED_PAYEE_POLL_SECONDS"))


registry.subject(
    registry.Subject(
        model=PayeeAuthorization,
        apply=apply_payee,
        events=(),
        signal=_signal,
        confirmed=frozenset(),
        patience={},  # he may stay authorised for ever
    )
)
registry.product(
    registry.Product(
        subject=PayeeAuthorization.subject,
        name="",
        regions=frozenset({"mainland"}),
        query=_query,
        not_there=_not_there,
        advance=advance,
        pause=_pause,
    )
)
