"""Signing: a session is opened in which the user may sign a contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from django.db import IntegrityError
from django.utils import timezone

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.contracts import for_channel
from ...client.errors import WxPayError
from ...client.texts import hide
from ...engine import commands, operations, references, registry, transactions
from ...engine.facts import Applied, Fact, differences, move, number_of
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...models import Action, Contract, Operation, Outcome
from .facts import State

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

CHINA = ZoneInfo("Asia/Shanghai")
MAY_BE_LEFT_OUT = ("openid", "return_url", "return_appid", "user_client_ip")


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
