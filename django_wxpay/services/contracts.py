"""Auto-debit contracts: sign, adopt, confirm, terminate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from django.db import IntegrityError
from django.dispatch import Signal
from django.utils import timezone

from .. import conf, signals
from ..client import Client, fields
from ..client.answers import Answer
from ..client.contracts import for_channel
from ..client.errors import WxPayError
from ..client.texts import hide
from ..engine import (
    commands,
    discrepancies,
    operations,
    polling,
    queries,
    references,
    registry,
    remote,
    transactions,
)
from ..engine.facts import Applied, Fact, Known, differences, identity, move, named, number_of, openid_appid, refuse
from ..engine.numbers import new_number
from ..engine.signatures import takes_what
from ..exceptions import ContractNotSigned, DeductionPending, NotAllowedNow
from ..models import Action, Contract, Discrepancy, Operation, Outcome, Source

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = Contract.State
CHINA = ZoneInfo("Asia/Shanghai")
DEFAULT_NOTE = "Terminated by the merchant"
MAY_BE_LEFT_OUT = ("openid", "return_url", "return_appid", "user_client_ip")
EVENT_STATES = {"PAPAY.SIGN": State.SIGNED, "PAPAY.TERMINATE": State.TERMINATED}
EXPIRY_GRACE = timedelta(minutes=5)  # a signature given in the last second may still be on its way


# Signing


def plan_signing(
    *,
    plan_id: int,
    user_display_name: str,
    openid: str = "",
    user: User | None = None,
    channel: Contract.ChannelWord = "mini_program",
    return_url: str = "",
    return_appid: str = "",
    user_client_ip: str = "",
    expires_in_seconds: int | None = None,
    reference: str | None = None,
    merchant: str = "default",
    sub_mchid: str | None = None,
    sub_appid: str | None = None,
    by: User | None = None,
) -> Contract:
    """Write down a contract and the signing session to open for it; `send_operations` opens it.

    channel: decides which of openid, return_url, return_appid and user_client_ip may be given. plan_id: the
    template's number. openid: under sub_appid or appid; if given, only this user can sign.
    user_display_name: at most 32 characters, none of 4 bytes. return_url: jsapi, h5, web; its prefix is registered
    with WeChat Pay. expires_in_seconds: SESSION_EXPIRES_SECONDS by default. reference: the shop's own name for this
    contract; the same again, with the same values, returns the same row.

    Returns the `Contract` (PENDING, no session yet). Joins the caller's transaction; nothing is sent here.
    Raises InvalidField, ReferenceReused.
    """
    openid = hide(openid)
    config = conf.merchant(merchant)
    sub_mchid, sub_appid = config.sub_of(sub_mchid, sub_appid)
    fields.whole("plan_id", plan_id, 1)
    fields.text("user_display_name", user_display_name, 32)
    if reference is not None:
        fields.text("reference", reference, 64)
    optional = for_channel(
        channel, openid=openid, user_client_ip=user_client_ip, return_url=return_url, return_appid=return_appid
    )
    wanted = {
        "plan_id": plan_id, "openid": openid, "user_display_name": user_display_name, "channel": channel,
        "sub_mchid": sub_mchid, "sub_appid": sub_appid,
    }  # fmt: skip
    now = timezone.now()
    expired_time = now + timedelta(seconds=expires_in_seconds or conf.setting("SESSION_EXPIRES_SECONDS"))
    try:
        with transactions.atomic():
            if known := _asked_as(config, reference, user, wanted | optional):
                return known
            contract = Contract.objects.create(
                **wanted,
                merchant=config.alias,
                mchid=config.mchid,
                appid=config.appid,
                user=cast(Any, user),  # of the shop's own class
                reference=reference,
                out_contract_code=new_number(),
                expired_time=expired_time,
                next_poll_at=now + timedelta(seconds=conf.setting("CONTRACT_POLL_SECONDS")),
            )
            to_send = (
                wanted
                | optional
                | {
                    "out_contract_code": contract.out_contract_code,
                    "success_notify_url": config.notify_url,
                    "expired_time": timezone.localtime(expired_time, CHINA).isoformat(timespec="seconds"),
                }
            )
            return operations.plan(contract, Action.SIGN, to_send, by=by)
    except IntegrityError:
        if known := _asked_as(
            config, reference, user, wanted | optional
        ):  # somebody used the reference at this very moment
            return known
        raise


@takes_what(plan_signing)
def sign(**asked: Any) -> Contract:
    """Open a signing session now. Takes what `plan_signing` takes.

    Returns the `Contract` (PENDING) with its `session_id` or `sign_url`; `contract.launch_params()` is what the
    front end needs. The signature comes as a notification or by polling. Raises what `plan_signing` raises (nothing
    was sent), APIError (refused), OutcomeUnknown (a session may exist, nothing is charged; a worker tries again),
    CalledInTransaction (use `plan_signing`).

    Source: APIv3 manual, auto-debit, "Pre-entrust sign", POST /v3/global/papay/contracts/{…}-pre-entrust-sign.
    """
    asked = hide(asked)
    return operations.carry_out(plan_signing, **asked)


def _asked_as(
    config: conf.Merchant, reference: str | None, user: User | None, said: Mapping[str, Any]
) -> Contract | None:
    if reference is None:
        return None
    rows = Contract.objects.filter(mchid=config.mchid, sub_mchid=said["sub_mchid"], reference=reference)
    known = rows.first()
    if known is None:
        return None
    on_row = {"user_id": user.pk if user else None}
    # The row learns an openid when its user signs: what the shop said stands in what was sent.
    said = {**dict.fromkeys(MAY_BE_LEFT_OUT, ""), **said}
    return references.refuse_reuse(known, reference, Action.SIGN, on_row=on_row, sent=said)


@registry.command
class Sign(commands.Command):
    action = Action.SIGN
    harmless = True  # another session under the same number

    def send(self, client: Client, operation: Operation, row: Contract) -> Answer:
        return client.contracts.pre_sign(**operation.fields)

    def answered(self, row: Contract, fact: Fact, operation: Operation) -> Applied:
        opened = [number_of(Contract(), "session_id"), number_of(Contract(), "sign_url")]
        session_id, sign_url = fact.number("session_id") or "", fact.number("sign_url") or ""
        if differences(fact, opened) or not (session_id or sign_url):
            return Applied(Outcome.REFUSED, row, "no session in the answer")
        row.session_id, row.sign_url = session_id, sign_url
        Contract.objects.filter(pk=row.pk).update(session_id=session_id, sign_url=sign_url)
        return Applied(Outcome.APPLIED, row)

    def refused(self, row: Contract, error: WxPayError, operation: Operation) -> str:
        if row.state == State.PENDING:
            move(row, State.EXPIRED, commands.refusal(row, operation, error), {}, note=f"{error}"[:256])
        return Operation.State.REFUSED

    def verdict(self, row: Contract, operation: Operation) -> str | None:
        if row.state == State.EXPIRED:
            return Operation.State.REFUSED
        return Operation.State.DONE if row.session_id or row.sign_url or row.contract_id else None


# Adopting what another system made


def adopt(
    *,
    out_contract_code: str,
    plan_id: int,
    user: User | None = None,
    merchant: str = "default",
    sub_mchid: str | None = None,
    sub_appid: str | None = None,
    by: User | None = None,
) -> Contract:
    """Take over a contract that another system signed: query it, then keep a verified row.

    Returns the `Contract`; the known row when we have it. Receivers hear of it as of any signature: the transition's
    note is "adopted". Raises APIError (NotFound: not signed there), OutcomeUnknown, InvalidField, NotAllowedNow (it
    is not what you say: nothing is kept). Only reads from WeChat Pay.

    Source: APIv3 manual, auto-debit, "Query contract", GET /v3/global/papay/contracts/out-contract-code/{…}.
    """
    config = conf.merchant(merchant)
    sub_mchid, sub_appid = config.sub_of(sub_mchid, sub_appid)
    contract = Contract(
        merchant=config.alias, mchid=config.mchid, appid=config.appid, sub_mchid=sub_mchid, sub_appid=sub_appid,
        user=cast(Any, user), out_contract_code=out_contract_code, plan_id=plan_id,
    )  # fmt: skip
    transactions.refuse_inside("contracts.adopt outside of atomic()")
    begun_at = timezone.now()
    with remote.client_of(contract) as client:
        answer = _query(client, contract)

    def work() -> Contract:
        known = named(Contract.objects.filter(mchid=config.mchid), out_contract_code=out_contract_code)
        fact = Fact.from_answer(contract, answer, source=Source.QUERY, begun_at=begun_at, user=by, note="adopted")
        if known is None:
            contract.pk = None  # this may be the second try
            contract.user_display_name = fact.words("user_display_name", 32)
            contract.save(force_insert=True)
        applied = apply_contract(fact)
        if known is None and applied.outcome != Outcome.APPLIED:
            raise NotAllowedNow(f"Contract {out_contract_code} at WeChat Pay {applied.why}: it was not adopted.")
        adopted: Contract = applied.row
        return adopted

    try:
        return transactions.run(work)
    except IntegrityError:  # somebody adopted it at this very moment
        return transactions.run(work)


# Confirming


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


def _query(client: Client, contract: Contract) -> Answer:
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


def status(contract: Contract) -> Contract:
    """The contract, confirmed with WeChat Pay unless that was done in the last seconds (STATUS_QUERY_SECONDS).

    For a customer's page: never raises because WeChat Pay is out of reach, the row is then as it was.
    """
    if contract.is_final or not polling.may_ask(contract):
        contract.refresh_from_db()
        return contract
    return polling.quietly(sync, contract)


def poll(limit: int = 100) -> int:
    """Query contracts that are due; returns how many."""
    return polling.poll(Contract.objects.all(), sync, limit)


# Terminating


def plan_termination(
    contract: Contract, *, note: str = "", reference: str | None = None, by: User | None = None
) -> Contract:
    """Write down that a signed contract shall end; `send_operations` asks WeChat Pay for it.

    note: at most 256 characters, a default is sent when empty. reference: a form's token; the same again plans
    nothing. Returns the `Contract`. Joins the caller's transaction; nothing is sent here.
    Raises ContractNotSigned, DeductionPending (a deduction's outcome must be known first), OperationPending.
    """
    note = note or DEFAULT_NOTE
    fields.text("termination_note", note, 256)
    with transactions.atomic():
        row = Contract.objects.select_for_update().get(pk=contract.pk)
        if operations.asked_before(row, Action.TERMINATE, reference):
            return row
        if row.state != State.SIGNED:
            raise ContractNotSigned(f"Contract {row.out_contract_code} is {row.state}: there is nothing to terminate.")
        pending = row.orders.open().first()
        if pending is not None:
            raise DeductionPending(
                f"The deduction {pending.out_trade_no} of contract {row.out_contract_code} has no outcome yet "
                f"({pending.state}). Nothing was sent. Wait until it is known, or reverse it first."
            )
        to_send = {
            "contract_id": row.contract_id, "termination_note": note,
            "sub_mchid": row.sub_mchid, "sub_appid": row.sub_appid,
        }  # fmt: skip
        return operations.plan(row, Action.TERMINATE, to_send, reference=reference, by=by)


@takes_what(plan_termination)
def terminate(contract: Contract, **asked: Any) -> Contract:
    """Terminate a contract now. Takes what `plan_termination` takes.

    Returns the `Contract` (TERMINATED). Raises what `plan_termination` raises (nothing was sent), APIError
    (refused), OutcomeUnknown (it may be terminated; polling finds out), CalledInTransaction.

    Source: APIv3 manual, auto-debit, "Terminate contract", POST /v3/global/papay/contracts/{contract_id}/terminate.
    """
    return operations.carry_out(plan_termination, contract, **asked)


@registry.command
class Terminate(commands.Command):
    action = Action.TERMINATE
    harmless = True

    def send(self, client: Client, operation: Operation, row: Contract) -> Answer:
        return client.contracts.terminate(**operation.fields)

    def answered(self, row: Contract, fact: Fact, operation: Operation) -> Applied:
        if fact.data:  # only an empty answer means done
            return Applied(Outcome.REFUSED, row, "not proved by the answer")
        note = operation.fields["termination_note"]
        return move(row, State.TERMINATED, fact, {"termination_note": note, "terminated_time": timezone.now()})

    def refused(self, row: Contract, error: WxPayError, operation: Operation) -> str:
        # "None, or terminated already": a query tells.
        return Operation.State.UNKNOWN if error.means("CONTRACT_NOT_EXIST") else Operation.State.REFUSED

    def missing(self, row: Contract, operation: Operation) -> str:
        """Neither here nor terminated: there is nothing to end, and our SIGNED is not WeChat Pay's."""
        theirs = "CONTRACT_NOT_EXIST: WeChat Pay knows no such contract."
        discrepancies.record(Discrepancy.Kind.MISMATCH, row, ours=row.state, theirs=theirs)
        return Operation.State.REFUSED

    def verdict(self, row: Contract, operation: Operation) -> str | None:
        return Operation.State.DONE if row.state == State.TERMINATED else None


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
        query=_query,
        not_there=_not_there,
        advance=sync,
        pause=_pause,
    )
)
