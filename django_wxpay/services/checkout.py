"""What customers do by themselves: sign what the shop offers, once; end it. Asked twice, it happens once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.utils import timezone

from .. import conf
from ..client.errors import InvalidField, OutcomeUnknown, RateLimited, RequestNotSent
from ..engine import commands, operations
from ..exceptions import ContractNotSigned, OperationPending, ReferenceReused
from ..models import Action, Contract, Operation, WireObject
from . import contracts

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

    from ..checkout import ContractOffer

State = Contract.State
STILL_USEFUL = timedelta(seconds=30)  # a session about to end is no use to a customer


def open_contract(user: User, offer: ContractOffer) -> Contract:
    """Let a customer sign an offer (a `ContractOffer`): the contract they have, else a session, new or still open.

    Returns the `Contract`: SIGNED when this user has signed the same plan already; else PENDING, and its
    `launch_params()` are None while a worker still tries to open the session (WeChat Pay did not answer, asked to
    slow down, or another request of this customer is opening it right now).

    Raises InvalidField, ReferenceReused (nothing was sent), APIError (WeChat Pay refused).
    """
    asked = vars(offer) | {"user": user, "by": user}
    planned: list[Contract] = []

    def plan_contract() -> Contract:
        # Two requests of one customer come one after the other, so that the second finds what the first wrote.
        get_user_model()._base_manager.select_for_update().get(pk=user.pk)
        row = _at_hand(user, offer) or contracts.plan_signing(**asked)
        if row.user_id != user.pk:
            raise ReferenceReused(offer.reference, ["user"])
        planned[:] = [row]
        return row

    try:
        return operations.carry_out(plan_contract)
    except InvalidField:
        raise
    except (OutcomeUnknown, RateLimited, RequestNotSent):
        return _fresh(planned[0])  # it is written down: a worker goes on


def end_contract(contract: Contract, *, by: User | None) -> Contract:
    """Terminate a customer's contract; one that is terminated, or being terminated, is left as it is.

    Returns the `Contract`, still SIGNED when the outcome is not known yet: it is being found out.
    Raises DeductionPending (a payment must end first), ContractNotSigned (never signed), APIError (refused).
    """
    try:
        return contracts.terminate(contract, by=by)
    except (OutcomeUnknown, RateLimited, RequestNotSent):
        return _fresh(contract)
    except OperationPending:
        pending = commands.open_of(contract)
        if pending is None or pending.action != Action.TERMINATE:
            raise
        return _fresh(contract)
    except ContractNotSigned:
        if _fresh(contract).state != State.TERMINATED:
            raise
        return contract


def pending_actions(rows: Iterable[WireObject]) -> dict[int, str]:
    """What is being asked of WeChat Pay for these rows of one kind right now: {pk: action}."""
    rows = list(rows)
    if not rows:
        return {}
    pending = Operation.objects.open().filter(subject=rows[0].subject, object_id__in=[row.pk for row in rows])
    return dict(pending.values_list("object_id", "action"))


def _at_hand(user: User, offer: ContractOffer) -> Contract | None:
    """The contract this user has for the offer: signed, else waiting to be signed for long enough."""
    merchant = conf.merchant(offer.merchant)
    sub_mchid, sub_appid = merchant.sub_of(offer.sub_mchid, offer.sub_appid)
    own = Contract.objects.filter(user_id=user.pk, mchid=merchant.mchid, sub_mchid=sub_mchid, plan_id=offer.plan_id)
    signed = own.filter(state=State.SIGNED).first()
    if signed is not None:
        return signed
    sessions = own.filter(
        state=State.PENDING,
        expired_time__gt=timezone.now() + STILL_USEFUL,
        openid=offer.openid,
        channel=offer.channel,
        user_display_name=offer.user_display_name,
        appid=merchant.appid,
        sub_appid=sub_appid,
    )
    return next((row for row in sessions if row.can_launch or commands.open_of(row)), None)


def _fresh(row: Contract) -> Contract:
    row.refresh_from_db()
    return row
