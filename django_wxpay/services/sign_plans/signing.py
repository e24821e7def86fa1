"""Signing: a plan is made ready for one user, who has two hours to sign it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError
from django.utils import timezone

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField, WxPayError
from ...client.texts import hide
from ...engine import commands, operations, queries, references, registry, remote, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow
from ...models import Action, Operation, Outcome, PayscorePlan, SignPlan, SignPlanDetail

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = SignPlan.State
PACKAGE_LIVES = timedelta(hours=2) - timedelta(minutes=1)  # less the time until it is used


def plan_signing(
    plan: PayscorePlan,
    *,
    openid: str,
    openid_appid: str = "",
    user: User | None = None,
    reference: str | None = None,
    by: User | None = None,
) -> SignPlan:
    """Write down a sign plan for one user; `send_operations` opens the signing.

    openid: the only user who can sign. openid_appid: the appid it is under: the plan's appid when empty, else a
    partner's sub_appid. reference: the shop's own name for this sign plan; the same again, with the same values,
    returns the same row, or what was made in its place since.

    Returns the `SignPlan` (PLANNED). Joins the caller's transaction; nothing is sent here. Raises InvalidField,
    NotAllowedNow (the plan is not NORMAL), ReferenceReused.
    """
    openid = hide(openid)
    fields.identifier("openid", openid, 128)
    if openid_appid not in ("", plan.appid) and (openid_appid != plan.sub_appid):
        raise InvalidField("openid_appid must be the plan's appid or sub_appid.", field="openid_appid")
    if reference is not None:
        fields.text("reference", reference, 64)
    said = {"openid": openid, "openid_appid": openid_appid, "user_id": user.pk if user else None, "plan_id": plan.pk}
    try:
        with transactions.atomic():
            if known := _asked_as(plan, reference, said):
                return known
            return written(
                plan, openid=openid, openid_appid=openid_appid, user=user, reference=reference, by=by
            )  # fmt: skip
    except IntegrityError:
        if known := _asked_as(plan, reference, said):  # somebody used the reference at this very moment
            return known
        raise


@takes_what(plan_signing)
def sign(plan: PayscorePlan, **asked: Any) -> SignPlan:
    """Open the signing of a plan for one user now. Takes what `plan_signing` takes.

    The plan is queried first: one that was stopped elsewhere is not signed. Returns the `SignPlan` (UNSIGNED); its
    `launch_params()` are what the front end needs. The signature comes as a notification or by polling. Raises what
    `plan_signing` raises (nothing was sent), InvalidField (the plan turned out not to be NORMAL, nothing was sent),
    APIError (refused), OutcomeUnknown (a sign plan may exist, nothing is charged by it: `renew` it), and
    CalledInTransaction (use `plan_signing`).

    Source: APIv3 manual, PayScore plan, "Create user sign plan", POST /v3/payscore/sign-plan/user-sign-plans.
    """
    asked = hide(asked)
    return operations.carry_out(plan_signing, plan, **asked)


def written(
    plan: PayscorePlan,
    *,
    openid: str,
    openid_appid: str,
    user: User | None,
    reference: str | None,
    by: User | None,
    attempt: int = 1,
    renews: SignPlan | None = None,
) -> SignPlan:
    """Write down a sign plan, with a number of its own for each service, and what to ask for it."""
    plan = PayscorePlan.objects.get(pk=plan.pk)
    if plan.state != PayscorePlan.State.NORMAL:
        raise NotAllowedNow(f"Plan {plan.number} is {plan.state}: nobody can sign it. Nothing was sent.")
    row = SignPlan.objects.create(
        merchant=plan.merchant, mchid=plan.mchid, sub_mchid=plan.sub_mchid, appid=plan.appid, sub_appid=plan.sub_appid,
        plan=plan, user=cast(Any, user), openid=openid, openid_appid=openid_appid, reference=reference,
        attempt=attempt, renews=renews, merchant_sign_plan_no=new_number(), service_id=plan.service_id,
        plan_name=plan.plan_name, deduction_quantity=plan.deduction_quantity,
        total_original_price=plan.total_original_price, total_actual_price=plan.total_actual_price,
    )  # fmt: skip
    details = SignPlanDetail.objects.bulk_create(
        SignPlanDetail(
            sign_plan=row, mchid=row.mchid, plan_detail_no=one.plan_detail_no, merchant_plan_detail_no=new_number(),
            plan_detail_name=one.plan_detail_name, original_price=one.original_price, actual_price=one.actual_price,
            plan_discount_description=one.plan_discount_description,
        )
        for one in plan.details.all()
    )  # fmt: skip
    to_send = {
        "service_id": row.service_id,
        "plan_id": plan.plan_id,
        "merchant_sign_plan_no": row.merchant_sign_plan_no,
        "notify_url": remote.merchant_of(row).notify_url,
        "sign_plan_detail": [
            {"plan_detail_no": one.plan_detail_no, "merchant_plan_detail_no": one.merchant_plan_detail_no}
            for one in details
        ],
        **signer(row),
        "sub_mchid": row.sub_mchid,
        "sub_appid": row.sub_appid,
    }
    return operations.plan(row, Action.SIGN_PLAN, to_send, by=by)


def signer(row: SignPlan) -> dict[str, str]:
    """Who signs, as WeChat Pay wants to be told: `openid` under appid, `sub_openid` under sub_appid."""
    return {"openid" if row.openid_under == row.appid else "sub_openid": row.openid}


def _asked_as(plan: PayscorePlan, reference: str | None, said: dict[str, Any]) -> SignPlan | None:
    if reference is None:
        return None
    rows = SignPlan.objects.filter(mchid=plan.mchid, sub_mchid=plan.sub_mchid, reference=reference)
    known = rows.order_by("-attempt").first()
    return references.refuse_reuse(known, reference, Action.SIGN_PLAN, on_row=said) if known else None


@registry.command
class SignThePlan(commands.Command):
    action = Action.SIGN_PLAN

    def send(self, client: Client, operation: Operation, row: SignPlan) -> Answer:
        plan = row.plan
        queries.query(plan)
        plan.refresh_from_db()
        if plan.state != PayscorePlan.State.NORMAL:
            raise InvalidField(f"Plan {plan.number} is {plan.state}: nobody can sign it.", field="plan_id")
        return client.sign_plans.create(**operation.fields)

    def answered(self, row: SignPlan, fact: Fact, operation: Operation) -> Applied:
        told = fact.data.get("sign_plan")
        subject = registry.subject_of(row)
        applied = subject.apply(replace(fact, data=told if isinstance(told, dict) else {}))
        package = fact.number("package")
        if applied.outcome in (Outcome.APPLIED, Outcome.SAME, Outcome.STALE) and package and len(package) <= 2048:
            values = {"package": package, "package_expires": (operation.sent_at or timezone.now()) + PACKAGE_LIVES}
            SignPlan.objects.filter(pk=row.pk).update(**values)
        return applied

    def refused(self, row: SignPlan, error: WxPayError, operation: Operation) -> str:
        if row.state == State.PLANNED:
            changes = {"error_code": error.code[:64]}
            move(row, State.REFUSED, commands.refusal(row, operation, error), changes, note=str(error)[:256])
        return Operation.State.REFUSED

    def verdict(self, row: SignPlan, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.PLANNED else Operation.State.DONE
