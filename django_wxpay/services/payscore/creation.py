"""Creating plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField, WxPayError
from ...client.payscore import NAME_LENGTH, plan_details
from ...engine import commands, operations, references, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...models import Action, Operation, PayscorePlan, PayscorePlanDetail
from .facts import State, apply_payscore_plan

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User


@dataclass(frozen=True)
class Detail:
    """One service of a plan: what it usually costs and what it costs here, in fen; the latter may be 0."""

    name: str
    original_price: int
    actual_price: int
    discount_description: str = ""


def plan_creation(
    *,
    name: str,
    details: Sequence[Detail | Mapping[str, Any]],
    duration_days: int,
    reference: str,
    merchant: str = "default",
    sub_mchid: str | None = None,
    sub_appid: str | None = None,
    by: User | None = None,
) -> PayscorePlan:
    """Write down a plan; `send_operations` asks WeChat Pay to create it.

    name: at most 20 characters. details: a `Detail` (or a dict of its values) for each service, in the order in which
    they are used; none costs more than the one before. duration_days: from the day of a signature. reference: the
    shop's own name for this plan; the same again, with the same values, returns the same row.

    Returns the `PayscorePlan` (PLANNED). Joins the caller's transaction; nothing is sent here. Raises InvalidField,
    ReferenceReused, ImproperlyConfigured (no SERVICE_ID, or a merchant of another region).
    """
    config = conf.merchant(merchant)
    sub_mchid, sub_appid = config.sub_of(sub_mchid, sub_appid)
    fields.text("plan_name", name, NAME_LENGTH)
    fields.text("reference", reference, 64)
    _at_most("plan_duration", fields.whole("plan_duration", duration_days, 1), config, "PLAN_DURATION_MAX")
    listed = plan_details([_as_sent(detail) for detail in details])
    if not listed:
        raise InvalidField("plan_detail_list must have one service at least.", field="plan_detail_list")
    _at_most("deduction_quantity", len(listed), config, "DEDUCTION_QUANTITY_MAX")
    for place, one in enumerate(listed):
        _at_most(f"plan_detail_list[{place}].actual_price", one["actual_price"], config, "RISK_AMOUNT_MAX")
    wanted = {
        "service_id": config.service_id,
        "plan_name": name,
        "plan_duration": duration_days,
        "deduction_quantity": len(listed),
        "total_original_price": sum(one["original_price"] for one in listed),
        "total_actual_price": sum(one["actual_price"] for one in listed),
        "sub_mchid": sub_mchid,
        "sub_appid": sub_appid,
    }
    said = {"plan_detail_list": listed}
    try:
        with transactions.atomic():
            if known := _asked_as(config, reference, wanted, said):
                return known
            plan = PayscorePlan.objects.create(
                **cast(Any, wanted), merchant=config.alias, mchid=config.mchid, appid=config.appid,
                reference=reference, merchant_plan_no=new_number(),
            )  # fmt: skip
            PayscorePlanDetail.objects.bulk_create(
                PayscorePlanDetail(plan=plan, plan_detail_no=place, **one) for place, one in enumerate(listed, 1)
            )
            to_send = wanted | said | {"merchant_plan_no": plan.merchant_plan_no}
            return operations.plan(plan, Action.CREATE_PLAN, to_send, by=by)
    except IntegrityError:
        if known := _asked_as(config, reference, wanted, said):  # somebody used the reference at this very moment
            return known
        raise


@takes_what(plan_creation)
def create_plan(**asked: Any) -> PayscorePlan:
    """Create a plan now. Takes what `plan_creation` takes.

    Returns the `PayscorePlan` (NORMAL: users can sign it). Raises what `plan_creation` raises (nothing was sent),
    APIError (refused), OutcomeUnknown (it may exist: polling finds out; no money moves by a plan), CalledInTransaction
    (use `plan_creation`).

    Source: APIv3 manual, PayScore plan, "Create payscore plan", POST /v3/payscore/plan/payscore-plans.
    """
    return operations.carry_out(plan_creation, **asked)


def _as_sent(detail: Detail | Mapping[str, Any]) -> dict[str, Any]:
    one = detail if isinstance(detail, Detail) else Detail(**detail)
    return {
        "plan_detail_name": one.name,
        "original_price": one.original_price,
        "actual_price": one.actual_price,
        "plan_discount_description": one.discount_description,
    }


def _at_most(name: str, value: int, config: conf.Merchant, setting: str) -> None:
    most = config.options[setting]
    if most and value > most:
        raise InvalidField(f"{name} is {value}, the service allows {most} ({setting}).", field=name)


def _asked_as(
    config: conf.Merchant, reference: str, wanted: Mapping[str, Any], said: Mapping[str, Any]
) -> PayscorePlan | None:
    rows = PayscorePlan.objects.filter(mchid=config.mchid, sub_mchid=wanted["sub_mchid"], reference=reference)
    known = rows.first()
    if known is None:
        return None
    return references.refuse_reuse(known, reference, Action.CREATE_PLAN, on_row=wanted, sent=said)


@registry.command
class CreatePlan(commands.Command):
    action = Action.CREATE_PLAN

    def send(self, client: Client, operation: Operation, row: PayscorePlan) -> Answer:
        return client.payscore.create(**operation.fields)

    def answered(self, row: PayscorePlan, fact: Fact, operation: Operation) -> Applied:
        return apply_payscore_plan(fact)

    def refused(self, row: PayscorePlan, error: WxPayError, operation: Operation) -> str:
        if row.state == State.PLANNED:
            changes = {"error_code": error.code[:64]}
            move(row, State.REFUSED, commands.refusal(row, operation, error), changes, note=str(error)[:256])
        return Operation.State.REFUSED

    def verdict(self, row: PayscorePlan, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.PLANNED else Operation.State.DONE
