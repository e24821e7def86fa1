"""Signing anew when nobody signed in time, and what happens when the user signs both.

A package lives for two hours and cannot be had again, so the new sign plan has a number of its own, and so has each of
its services. Should the user sign both after all, one of them is kept: the one that is in use, else the one that was
signed first; one that has ended only while one of its service orders is open. The other is cancelled at once while
nothing of it is used, nothing of it is ever started, and a person is told (SIGNED_TWICE).
"""

from __future__ import annotations

from datetime import datetime
from datetime import timezone as offsets
from typing import TYPE_CHECKING, Any

from ...engine import discrepancies, operations, transactions
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, OperationPending
from ...models import Action, Discrepancy, SignPlan, SignPlanDetail
from . import signing

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = SignPlan.State
RENEWED, TWICE = "Not signed in time, replaced", "Signed twice"  # what WeChat Pay is told as the reason
NEVER = datetime.max.replace(tzinfo=offsets.utc)


def plan_renewal(sign_plan: SignPlan, *, by: User | None = None) -> SignPlan:
    """Write down another sign plan in place of one that was not signed in time; `send_operations` opens it.

    The one that is given up is asked to be cancelled, too; whether WeChat Pay does so changes nothing here. A renewal
    that is there already, and can still be signed, is returned instead. Returns the new `SignPlan` (PLANNED). Joins the
    caller's transaction; nothing is sent here. Raises NotAllowedNow (one of them is signed, or this one can still be),
    OperationPending.
    """
    with transactions.atomic():
        row = lock(sign_plan)
        chain = list(row.chain())
        latest = chain[-1]
        if signed := [one for one in chain if one.sign_time or one.state in (State.SIGNED, State.COMPLETE)]:
            raise NotAllowedNow(f"Sign plan {signed[0].number} is signed ({signed[0].state}): nothing was sent.")
        if latest.can_launch or latest.state == State.PLANNED:
            if latest.pk != row.pk:
                return latest
            raise NotAllowedNow(f"Sign plan {row.number} can still be signed: nothing was sent.")
        operations.refuse_if_pending(latest)
        if latest.state == State.UNSIGNED:
            to_send = {"merchant_sign_plan_no": latest.number, "stop_reason": RENEWED, "sub_mchid": latest.sub_mchid}
            operations.plan(latest, Action.CANCEL_SIGN_PLAN, to_send, by=by)
        first: Any = chain[0]
        return signing.written(
            latest.plan, openid=latest.openid, openid_appid=latest.openid_appid, user=latest.user,
            reference=latest.reference, attempt=latest.attempt + 1, renews=first, by=by,
        )  # fmt: skip


@takes_what(plan_renewal)
def renew(sign_plan: SignPlan, **asked: Any) -> SignPlan:
    """Open another signing in place of one that was not signed in time. Takes what `plan_renewal` takes.

    Returns the new `SignPlan` (UNSIGNED). Raises what `plan_renewal` and `sign` raise.

    Source: APIv3 manual, PayScore plan, "Create user sign plan", POST /v3/payscore/sign-plan/user-sign-plans.
    """
    return operations.carry_out(plan_renewal, sign_plan, **asked)


def lock(sign_plan: SignPlan) -> SignPlan:
    """The sign plan, locked afresh with all that it renews or is renewed by, the first one first."""
    locked = {one.pk: one for one in sign_plan.chain().select_for_update()}
    return locked[sign_plan.pk]


def kept(row: SignPlan) -> SignPlan | None:
    """The one that may be used, of those that were signed: in use, else signed first. None when none was signed."""
    chain = [one for one in row.chain() if one.state in (State.SIGNED, State.COMPLETE) or one.sign_time]
    alive = [one for one in chain if one.state in (State.SIGNED, State.COMPLETE) or one.service_orders.open().exists()]
    return min(alive, key=lambda one: (not _is_used(one), one.sign_time or NEVER, one.pk), default=None)


def is_superseded(row: SignPlan) -> bool:
    """Whether another one of its renewals is the one that may be used."""
    if row.renews_id is None and not row.renewals.exists():
        return False
    used = kept(row)
    return used is not None and used.pk != row.pk


def end_all_but_one(row: SignPlan) -> None:
    """After a signature, with all of them locked: tell a person if the user signed twice, and cancel what is unused."""
    if row.renews_id is None and not row.renewals.exists():
        return
    used = kept(row)
    for one in row.chain().filter(state=State.SIGNED):
        if used is None or one.pk == used.pk:
            continue
        ours = f"{used.number} is kept"
        discrepancies.record(Discrepancy.Kind.SIGNED_TWICE, one, ours=ours, theirs=f"{one.number} is signed, too")
        if _is_used(one):
            continue
        to_send = {"merchant_sign_plan_no": one.number, "stop_reason": TWICE, "sub_mchid": one.sub_mchid}
        try:
            operations.plan(one, Action.CANCEL_SIGN_PLAN, to_send)
        except OperationPending:
            pass  # it is being cancelled already


def _is_used(row: SignPlan) -> bool:
    in_use = row.details.exclude(state=SignPlanDetail.State.NOT_USED).exists()
    return in_use or row.service_orders.exclude(state="REFUSED").exists()
