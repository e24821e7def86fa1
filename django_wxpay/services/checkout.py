"""What customers do by themselves: sign what the shop offers, once; end it. Asked twice, it happens once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from django.contrib.auth import get_user_model
from django.utils import timezone

from .. import conf
from ..client.errors import InvalidField, OutcomeUnknown, RateLimited, RequestNotSent
from ..engine import commands, operations
from ..exceptions import ContractNotSigned, OperationPending, ReferenceReused
from ..models import Action, CombineOrder, Contract, Operation, SignPlan, WireObject
from . import combine_orders, contracts, sign_plans

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

    from ..checkout import CombineOffer, ContractOffer, SignPlanOffer

State = Contract.State
Row = TypeVar("Row", CombineOrder, Contract, SignPlan)
# Of these one is at hand already: signed, to be signed, or to be renewed.
AT_HAND = (SignPlan.State.SIGNED, SignPlan.State.PLANNED, SignPlan.State.UNSIGNED, SignPlan.State.LAPSED)
ENDED = (SignPlan.State.SIGN_PLAN_CANCEL, SignPlan.State.COMPLETE, SignPlan.State.EXPIRE)
STILL_USEFUL = timedelta(seconds=30)  # a session about to end is no use to a customer


def open_contract(user: User, offer: ContractOffer) -> Contract:
    """Let a customer sign an offer (a `ContractOffer`): the contract they have, else a session, new or still open.

    Returns the `Contract`: SIGNED when this user has signed the same plan already; else PENDING, and its
    `launch_params()` are None while a worker still tries to open the session (WeChat Pay did not answer, asked to
    slow down, or another request of this customer is opening it right now).

    Raises InvalidField, ReferenceReused (nothing was sent), APIError (WeChat Pay refused).
    """
    asked = vars(offer) | {"user": user, "by": user}
    return _open(user, lambda: _at_hand(user, offer) or contracts.plan_signing(**asked), offer.reference)


def open_sign_plan(user: User, offer: SignPlanOffer) -> SignPlan:
    """Let a customer sign an offer (a `SignPlanOffer`): the sign plan they have, else one to sign, new or renewed.

    Returns the `SignPlan`: SIGNED when this user has signed the same plan and its services are not over; else to be
    signed, and its `launch_params()` are None while a worker still tries to open it.

    Raises InvalidField, NotAllowedNow (the plan cannot be signed), ReferenceReused (nothing was sent), APIError.
    """

    def plan() -> SignPlan:
        own = list(
            SignPlan.objects.filter(user_id=user.pk, plan=offer.plan, openid=offer.openid, state__in=AT_HAND).order_by(
                "-pk"
            )
        )
        signed = next((row for row in own if row.state == SignPlan.State.SIGNED), None)
        if signed is not None:
            return sign_plans.kept(signed) or signed
        latest = own[0] if own else None
        if latest is None:
            return sign_plans.plan_signing(
                offer.plan, openid=offer.openid, openid_appid=offer.openid_appid, reference=offer.reference, user=user,
                by=user,
            )  # fmt: skip
        useful = latest.package_expires is not None and latest.package_expires > timezone.now() + STILL_USEFUL
        if commands.open_of(latest) is not None or (latest.can_launch and useful):
            return latest
        return sign_plans.plan_renewal(latest, by=user)

    return _open(user, plan, offer.reference)


def open_combine_order(user: User, offer: CombineOffer) -> CombineOrder:
    """Let a customer pay an offer (a `CombineOffer`): the payment that is there, else a new one; another attempt of one
    that was closed.

    Returns the `CombineOrder`: NOTPAY when it can be paid, SUCCESS when it is paid already; CREATED while a worker
    still tries to place it, PAYERROR while a failed one is being closed.

    Raises InvalidField, ReferenceReused (nothing was sent), APIError.
    """

    def plan() -> CombineOrder:
        row = combine_orders.plan_order(**vars(offer), user=user, by=user)
        if row.was_known and row.state in (CombineOrder.State.CLOSED, CombineOrder.State.REFUSED):
            return combine_orders.plan_another(row, by=user)
        return row

    return _open(user, plan, offer.reference)


def payment_of(order: CombineOrder) -> dict[str, str] | None:
    """What lets a customer pay now; None when it cannot be paid, or WeChat Pay gave no answer."""
    try:
        return combine_orders.payment_params(order)
    except (OutcomeUnknown, RateLimited, RequestNotSent, OperationPending):
        return None


def close_combine_order(order: CombineOrder, *, by: User | None) -> CombineOrder:
    """Close a customer's combined order; one that is closed, or being closed, is left as it is.

    Returns the `CombineOrder`, not yet CLOSED when the outcome is not known: it is being found out. Raises OrderPaid,
    NotAllowedNow (it was refused), APIError.
    """
    try:
        return combine_orders.close(order, by=by)
    except (OutcomeUnknown, RateLimited, RequestNotSent):
        return _fresh(order)
    except OperationPending:
        pending = commands.open_of(order)
        if pending is None or pending.action != Action.CLOSE:
            raise
        return _fresh(order)


def _open(user: User, plan: Callable[[], Row], reference: str | None) -> Row:
    """Do what `plan` writes down, for one customer at a time; what is not answered, a worker goes on with."""
    planned: list[Row] = []

    def plan_for_user() -> Row:
        # Two requests of one customer come one after the other, so that the second finds what the first wrote.
        get_user_model()._base_manager.select_for_update().get(pk=user.pk)
        row = plan()
        if row.user_id != user.pk:
            raise ReferenceReused(reference, ["user"])
        planned[:] = [row]
        return row

    try:
        return operations.carry_out(plan_for_user)
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


def end_sign_plan(sign_plan: SignPlan, *, reason: str, by: User | None) -> SignPlan:
    """Cancel a customer's sign plan; one that is over, or being cancelled, is left as it is.

    Returns the `SignPlan`, still SIGNED when the outcome is not known yet: it is being found out.
    Raises InvalidField, NotAllowedNow (never signed), OperationPending (a service is being started), APIError.
    """
    if _fresh(sign_plan).state in ENDED:
        return sign_plan
    try:
        return sign_plans.cancel(sign_plan, reason=reason, by=by)
    except InvalidField:
        raise
    except (OutcomeUnknown, RateLimited, RequestNotSent):
        return _fresh(sign_plan)
    except OperationPending:
        pending = commands.open_of(sign_plan)
        if pending is None or pending.action != Action.CANCEL_SIGN_PLAN:
            raise
        return _fresh(sign_plan)


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


def _fresh(row: Row) -> Row:
    row.refresh_from_db()
    return row
