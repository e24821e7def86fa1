"""Starting the next service of a signed plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError
from django.utils import timezone

from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField, OutcomeUnknown, WxPayError
from ...engine import commands, operations, queries, references, registry, remote, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, OperationPending
from ...models import Action, Operation, ServiceOrder, SignPlan, SignPlanDetail, Source
from ..sign_plans import renewals, signing
from . import times
from .facts import apply_service_order

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = ServiceOrder.State
Unused = SignPlanDetail.State.NOT_USED


def plan_start(
    sign_plan: SignPlan,
    *,
    reference: str,
    detail: SignPlanDetail | None = None,
    start_time: datetime | None = None,
    introduction: str = "",
    location: str = "",
    attach: str = "",
    by: User | None = None,
) -> ServiceOrder:
    """Write down that the next service of a sign plan begins; `send_operations` asks WeChat Pay for it.

    reference: the shop's own name for this use, at most 64 characters; the same again, with the same values, returns
    the same row, so that a task which runs twice starts one service. detail: the service that is meant, the next one
    by default; none can be skipped. start_time: aware, now by default. introduction: what the user sees, at most 20
    characters, the service's name by default. location: where it begins, at most 50 characters. attach: comes back in
    messages, at most 256 characters once percent-encoded.

    Returns the `ServiceOrder` (PLANNED); its number is the one that the user signed for this service. One that was
    refused is tried again under another reference. Joins the caller's transaction; nothing is sent here. Raises
    InvalidField, ReferenceReused, NotAllowedNow (not signed, superseded by a renewal, nothing left, or an earlier
    service is not cancelled or paid yet), OperationPending.
    """
    fields.text("reference", reference, 64)
    fields.text("service_introduction", introduction, 20, required=False)
    fields.text("location.start_location", location, 50, required=False)
    said: dict[str, Any] = {"attach": attach, "location": {"start_location": location} if location else None}
    if introduction:
        said["service_introduction"] = introduction
    if start_time is not None:
        if timezone.is_naive(start_time):
            raise InvalidField("start_time must be aware.", field="time_range.start_time")
        said["time_range"] = {"start_time": times.written(start_time)}
    on_row = {"sign_plan_id": sign_plan.pk} | ({"detail_id": detail.pk} if detail else {})
    try:
        with transactions.atomic():
            locked = renewals.lock(sign_plan)
            if known := _asked_as(locked, reference, on_row, said):
                return known
            _refuse_unusable(locked)
            wanted = _next(locked, detail)
            begins = (start_time or timezone.now()).replace(microsecond=0)
            row = _row(locked, wanted, reference, by)
            values = {
                "service_introduction": introduction or wanted.plan_detail_name,
                "start_location": location,
                "attach": attach,
                "start_time": begins,
            }
            ServiceOrder.objects.filter(pk=row.pk).update(**values)
            row.refresh_from_db()
            to_send = said | {
                "service_id": row.service_id,
                "sign_plan_id": locked.sign_plan_id,
                "plan_detail_no": wanted.plan_detail_no,
                "out_order_no": row.out_order_no,
                "notify_url": remote.merchant_of(row).notify_url,
                "service_introduction": row.service_introduction,
                "time_range": {"start_time": times.written(begins)},
                **signing.signer(locked),
                "sub_mchid": row.sub_mchid,
                "sub_appid": row.sub_appid,
            }
            return operations.plan(row, Action.START, to_send, by=by)
    except IntegrityError:
        if known := _asked_as(sign_plan, reference, on_row, said):  # somebody used the reference at this very moment
            return known
        raise


@takes_what(plan_start)
def start(sign_plan: SignPlan, **asked: Any) -> ServiceOrder:
    """Start the next service now. Takes what `plan_start` takes.

    The sign plan is queried first: what was cancelled, or used elsewhere, is not started. Returns the `ServiceOrder`
    (DOING). Raises what `plan_start` raises (nothing was sent), InvalidField (the sign plan turned out not to allow it,
    nothing was sent), APIError (refused), OutcomeUnknown (it may have begun: polling finds out; nothing is charged
    before it is completed), CalledInTransaction (use `plan_start`).

    Source: APIv3 manual, PayScore plan, "Create service order", POST /v3/payscore/sign-plan/serviceorder.
    """
    return operations.carry_out(plan_start, sign_plan, **asked)


def _asked_as(
    sign_plan: SignPlan, reference: str, on_row: Mapping[str, Any], said: Mapping[str, Any]
) -> ServiceOrder | None:
    rows = ServiceOrder.objects.filter(mchid=sign_plan.mchid, sub_mchid=sign_plan.sub_mchid, reference=reference)
    known = rows.first()
    return references.refuse_reuse(known, reference, Action.START, on_row=on_row, sent=said) if known else None


def _refuse_unusable(sign_plan: SignPlan) -> None:
    if sign_plan.state != SignPlan.State.SIGNED:
        raise NotAllowedNow(
            f"Sign plan {sign_plan.number} is {sign_plan.state}: none of its services can begin. Nothing was sent."
        )
    if renewals.is_superseded(sign_plan):
        raise NotAllowedNow(
            f"The user signed twice, and not sign plan {sign_plan.number} is used but another: start the services of "
            "that one. Nothing was sent."
        )
    operations.refuse_if_pending(sign_plan)
    if sign_plan.contradicted_at is not None:
        raise OperationPending(f"Sign plan {sign_plan.number} is in doubt and is being queried. Nothing was sent.")


def _next(sign_plan: SignPlan, wanted: SignPlanDetail | None) -> SignPlanDetail:
    """The service that can begin. One after the other: WeChat Pay lets none be skipped, and two never run at once."""
    running = sign_plan.service_orders.open().first()
    if running is not None:
        raise NotAllowedNow(
            f"Service order {running.number} is {running.state}: it must be paid or cancelled before the next service "
            "begins. Nothing was sent."
        )
    after = sign_plan.next_detail()
    if after is None:
        raise NotAllowedNow(f"Sign plan {sign_plan.number} has no service left that could begin. Nothing was sent.")
    if wanted is not None and wanted.pk != after.pk:
        raise NotAllowedNow(
            f"The next service of sign plan {sign_plan.number} is {after}, not {wanted}. Nothing was sent."
        )
    return after


def _row(sign_plan: SignPlan, detail: SignPlanDetail, reference: str, by: User | None) -> ServiceOrder:
    """A new row, or that of an earlier try which was refused: the number is the service's, there is no other."""
    before = ServiceOrder.objects.select_for_update().filter(detail=detail).first()
    if before is None:
        return ServiceOrder.objects.create(
            merchant=sign_plan.merchant, mchid=sign_plan.mchid, sub_mchid=sign_plan.sub_mchid, appid=sign_plan.appid,
            sub_appid=sign_plan.sub_appid, user=cast(Any, sign_plan.user), sign_plan=sign_plan, detail=detail,
            reference=reference, out_order_no=detail.merchant_plan_detail_no, service_id=sign_plan.service_id,
            service_introduction=detail.plan_detail_name,
        )  # fmt: skip
    if before.state != State.REFUSED:
        raise NotAllowedNow(f"Service order {before.number} of this service is {before.state}. Nothing was sent.")
    operations.refuse_if_pending(before)
    move(before, State.PLANNED, Fact(before.mchid, {}, Source.STAFF, user=by), {}, note="tried again")
    ServiceOrder.objects.filter(pk=before.pk).update(reference=reference, error_code="")
    return before


@registry.command
class Start(commands.Command):
    action = Action.START

    def send(self, client: Client, operation: Operation, row: ServiceOrder) -> Answer:
        queries.query(row.sign_plan)
        sign_plan = SignPlan.objects.get(pk=row.sign_plan_id)
        details = {one.pk: one for one in sign_plan.details.all()}
        mine = details[row.detail_id]
        if mine.state != Unused:  # by this very number: whatever WeChat Pay has under it, a query tells
            raise OutcomeUnknown(f"Service {mine} is {mine.state} at WeChat Pay already.")
        if sign_plan.state != SignPlan.State.SIGNED or sign_plan.next_detail() != mine:
            raise InvalidField(
                f"Sign plan {sign_plan.number} is {sign_plan.state}, and {mine} is not its next service: it was not "
                "started.",
                field="plan_detail_no",
            )
        return client.service_orders.create(**operation.fields)

    def answered(self, row: ServiceOrder, fact: Fact, operation: Operation) -> Applied:
        return apply_service_order(fact)

    def refused(self, row: ServiceOrder, error: WxPayError, operation: Operation) -> str:
        if row.state == State.PLANNED:
            changes = {"error_code": error.code[:64]}
            move(row, State.REFUSED, commands.refusal(row, operation, error), changes, note=str(error)[:256])
        return Operation.State.REFUSED

    def verdict(self, row: ServiceOrder, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.PLANNED else Operation.State.DONE
