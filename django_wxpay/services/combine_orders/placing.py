"""Placing a combined order, and what lets its payer pay it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast
from zoneinfo import ZoneInfo

from django.db import IntegrityError
from django.utils import timezone

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import InvalidField, WxPayError
from ...client.texts import hide
from ...engine import commands, operations, queries, references, registry, remote, transactions
from ...engine.facts import Applied, Fact
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...exceptions import NotAllowedNow, ReferenceReused
from ...models import Action, CombineOrder, Operation, Order, Outcome, PayeeAuthorization
from .facts import State, end_together

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

CHINA = ZoneInfo("Asia/Shanghai")
PREPAY_LIVES = timedelta(hours=2) - timedelta(minutes=1)  # less the time until it is used
MOST_PARTS = 10
LEAST_EXPIRY, MOST_EXPIRY = 60, 7 * 24 * 3600  # seconds; WeChat Pay closes it after seven days at most
CLOSE_AFTER = timedelta(minutes=1)  # a payment of the last second may still be on its way
QUERY_FIRST = ("OUT_TRADE_NO_USED", "ORDER_PAID", "ORDER_CLOSED")  # the number is known there
PayingClient = Literal["mini_program", "app"]


@dataclass(frozen=True)
class Part:
    """What one payee gets: amount in fen, description as the payer sees it (127 characters).

    attach comes back in messages (128 characters). individual_name: the payee's nickname on your platform. more: fields
    that only the guide names: transfer_scene, goods_tag, detail, settle_info.
    """

    payee: PayeeAuthorization
    amount: int
    description: str
    attach: str = ""
    individual_name: str = ""
    order_service_type: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def plan_order(
    *,
    parts: Sequence[Part | Mapping[str, Any]],
    openid: str,
    reference: str,
    user: User | None = None,
    client: PayingClient = "mini_program",
    trade_scenario: str = "",
    expires_in_seconds: int | None = None,
    payer_client_ip: str = "",
    device_id: str = "",
    merchant: str = "default",
    by: User | None = None,
) -> CombineOrder:
    """Write down a combined order; `send_operations` asks WeChat Pay for it.

    parts: 1 to 10 (a `Part` or a dict of its values), each with an authorised payee of this merchant. openid: the
    payer's, under the merchant's appid. reference: the shop's own name for this payment, at most 64 characters; the
    same again, with the same values, returns the same row. trade_scenario: RECOMMERCE, TIP, or what WeChat Pay names
    next. expires_in_seconds: how long it can be paid, COMBINE_ORDER_EXPIRES_SECONDS by default; then it is closed.
    payer_client_ip, device_id: of the scene.

    Returns the `CombineOrder` (CREATED) with its `orders`. Joins the caller's transaction; nothing is sent here. Raises
    InvalidField (parts, amounts, a payee who is not authorised), ReferenceReused, ImproperlyConfigured.
    """
    config = conf.merchant(merchant)
    listed = [part if isinstance(part, Part) else Part(**part) for part in parts]
    openid = hide(openid)
    fields.identifier("openid", openid, 128)
    fields.text("reference", reference, 64)
    fields.choice("client", client, ("mini_program", "app"))
    fields.text("trade_scenario", trade_scenario, 32, required=False)
    fields.ip("payer_client_ip", payer_client_ip, required=bool(device_id))
    fields.text("device_id", device_id, 16, required=False)
    seconds = conf.setting("COMBINE_ORDER_EXPIRES_SECONDS") if expires_in_seconds is None else expires_in_seconds
    fields.whole("expires_in_seconds", seconds, LEAST_EXPIRY, MOST_EXPIRY)
    total = _checked(listed, config)
    on_row = {
        "openid": openid, "trade_scenario": trade_scenario, "amount_total": total,
        "user_id": user.pk if user else None,
    }  # fmt: skip
    said = {"client": client, "payer_client_ip": payer_client_ip, "device_id": device_id}
    try:
        with transactions.atomic():
            if known := _asked_as(config, reference, listed, on_row, said):
                return known
            return _written(config, reference, 1, listed, on_row, said, seconds, by)
    except IntegrityError:
        if known := _asked_as(config, reference, listed, on_row, said):  # somebody used it at this very moment
            return known
        raise


@takes_what(plan_order)
def place(**asked: Any) -> CombineOrder:
    """Place a combined order now. Takes what `plan_order` takes.

    Each payee is queried first: one who withdrew, or signed anew, is not ordered for. Returns the `CombineOrder`
    (NOTPAY): `payment_params` lets the payer pay it. Raises what `plan_order` raises (nothing was sent), InvalidField
    (a payee is not authorised any more, nothing was sent), APIError (refused), OutcomeUnknown (it may be there, unpaid:
    polling finds out), CalledInTransaction (use `plan_order`).

    Source: APIv3 manual, "Payments to individuals", POST /v3/combine-transactions/miniprogram.
    """
    asked = hide(asked)
    return operations.carry_out(plan_order, **asked)


def plan_another(order: CombineOrder, *, by: User | None = None) -> CombineOrder:
    """Write down another attempt of a combined order that is closed or was refused, under numbers of its own.

    Of the same parts, to the payees as they are authorised now. Another attempt that is there already is returned
    instead. Returns the new `CombineOrder`. Joins the caller's transaction; nothing is sent here. Raises NotAllowedNow
    (it is not over, or paid), InvalidField (a payee is not authorised).
    """
    with transactions.atomic():
        row = CombineOrder.objects.select_for_update().get(pk=order.pk)
        latest = _of_reference(row.mchid, row.reference)
        if latest is not None and latest.pk != row.pk:
            return latest
        if row.state not in (State.CLOSED, State.REFUSED):
            raise NotAllowedNow(f"Combined order {row.number} is {row.state}: only one that is closed is placed again.")
        sent = _first_fields(row)
        parts = [_part(one, sub) for one, sub in zip(row.orders.order_by("pk"), sent["sub_orders"], strict=True)]
        config = remote.merchant_of(row)
        _checked(parts, config)
        on_row = {name: getattr(row, name) for name in ("openid", "trade_scenario", "amount_total", "user_id")}
        said = {name: sent.get(name, "") for name in ("client", "payer_client_ip", "device_id")}
        lasted = row.time_expire - row.created_at if row.time_expire else timedelta(seconds=MOST_EXPIRY)
        seconds = max(int(lasted.total_seconds()), LEAST_EXPIRY)
        return _written(config, row.reference, row.attempt + 1, parts, on_row, said, seconds, by)


@takes_what(plan_another)
def place_again(order: CombineOrder, **asked: Any) -> CombineOrder:
    """Place another attempt now. Takes what `plan_another` takes; raises what `plan_another` and `place` raise."""
    return operations.carry_out(plan_another, order, **asked)


def plan_prepay(order: CombineOrder, *, by: User | None = None) -> CombineOrder:
    """Write down that the identical request is made once more, for another prepay_id; `send_operations` does it.

    Returns the `CombineOrder`. Joins the caller's transaction; nothing is sent here. Raises NotAllowedNow (it cannot be
    paid any more), OperationPending.
    """
    with transactions.atomic():
        row = CombineOrder.objects.select_for_update().get(pk=order.pk)
        if not row.can_be_paid:
            raise NotAllowedNow(f"Combined order {row.number} is {row.state} or expired: it cannot be paid any more.")
        return operations.plan(row, Action.PREPAY, _first_fields(row), by=by)


def payment_params(order: CombineOrder, *, by: User | None = None) -> dict[str, str] | None:
    """What ``wx.requestPayment`` takes, signed now, for one use; None for what is paid, closed or expired.

    A prepay_id that is older than two hours is renewed first, by the identical request. What the mini program is told
    when the payer comes back proves nothing: `status`. Raises OperationPending (it is being placed at this moment),
    and, when it is renewed, what `place` raises.

    Source: APIv3 manual, "Mini program: open payment".
    """
    order.refresh_from_db()
    if not order.can_be_paid:
        return None
    if not order.prepay_id or order.prepay_expires is None or order.prepay_expires <= timezone.now():
        operations.carry_out(plan_prepay, order, by=by)
        order.refresh_from_db()
        if not order.can_be_paid or not order.prepay_id:
            return None
    with remote.client_of(order) as client:
        return client.combine_orders.payment_params(prepay_id=order.prepay_id)


def _checked(parts: Sequence[Part], config: conf.Merchant) -> int:
    """The sum of all parts. Raises InvalidField, with the field of the part that cannot be."""
    if not 1 <= len(parts) <= MOST_PARTS:
        raise InvalidField(f"There are {len(parts)} parts; 1 to {MOST_PARTS} are possible.", field="parts")
    for place, part in enumerate(parts):
        where = f"parts[{place}]"
        fields.amount(f"{where}.amount", part.amount)
        fields.text(f"{where}.description", part.description, 127)
        fields.text(f"{where}.attach", part.attach, 127, required=False)
        fields.text(f"{where}.individual_name", part.individual_name, 64, required=False)
        fields.text(f"{where}.order_service_type", part.order_service_type, 32, required=False)
        if (part.payee.mchid, part.payee.appid) != (config.mchid, config.appid):
            raise InvalidField(f"{where}.payee is of another merchant or appid.", field=f"{where}.payee")
        if not part.payee.is_authorized:
            raise InvalidField(f"{where}.payee is not authorised: nothing can be paid to him.", field=f"{where}.payee")
    return sum(part.amount for part in parts)


def _sub_order(part: Part) -> dict[str, Any]:
    """A part as it is sent, but for its own number."""
    sub = {
        "individual_auth_id": part.payee.individual_auth_id, "amount": part.amount, "currency": CombineOrder.currency,
        "description": part.description, "attach": part.attach, "individual_name": part.individual_name,
        "order_service_type": part.order_service_type, **part.more,
    }  # fmt: skip
    return {name: value for name, value in sub.items() if value not in ("", None)}


def _part(order: Order, sub: Mapping[str, Any]) -> Part:
    """A part as it was ordered, to its payee as he is now."""
    own = {name: sub.get(name, "") for name in ("description", "attach", "individual_name", "order_service_type")}
    known = {"out_trade_no", "individual_auth_id", "amount", "currency", *own}
    more = {name: value for name, value in sub.items() if name not in known}
    return Part(payee=cast(PayeeAuthorization, order.payee), amount=order.amount_total, **own, more=more)


def _written(
    config: conf.Merchant,
    reference: str,
    attempt: int,
    parts: Sequence[Part],
    on_row: Mapping[str, Any],
    said: Mapping[str, Any],
    seconds: int,
    by: User | None,
) -> CombineOrder:
    expires = (timezone.now() + timedelta(seconds=seconds)).replace(microsecond=0)
    known = {"merchant": config.alias, "mchid": config.mchid, "appid": config.appid}
    row = CombineOrder(
        **known, **on_row, reference=reference, attempt=attempt, combine_out_trade_no=new_number(), time_expire=expires,
        close_after=expires + CLOSE_AFTER,
    )  # fmt: skip
    registry.refuse_other_region(row, config.region)
    row.save()
    listed = []
    for part in parts:
        number = new_number()
        Order.objects.create(
            **known, product=Order.Product.COMBINE, combine_order=row, payee=part.payee, user_id=row.user_id,
            individual_auth_id=part.payee.individual_auth_id or "", reference=number, out_trade_no=number,
            description=part.description, attach=part.attach, amount_total=part.amount, currency=row.currency,
            next_poll_at=timezone.now() + timedelta(days=1), close_after=None,
        )  # fmt: skip
        listed.append({"out_trade_no": number} | _sub_order(part))
    to_send = dict(said) | {
        "combine_out_trade_no": row.combine_out_trade_no,
        "openid": row.openid,
        "sub_orders": listed,
        "notify_url": config.notify_url,
        "time_expire": timezone.localtime(expires, CHINA).isoformat(),
        "trade_scenario": row.trade_scenario,
    }
    return operations.plan(row, Action.PREPAY, to_send, by=by)


def _of_reference(mchid: str, reference: str) -> CombineOrder | None:
    return CombineOrder.objects.filter(mchid=mchid, reference=reference).order_by("-attempt").first()


def _first_fields(row: CombineOrder) -> dict[str, Any]:
    asked = Operation.objects.of(row).filter(action=Action.PREPAY).order_by("pk")
    first: dict[str, Any] = asked.values_list("fields", flat=True)[0]
    return first


def _asked_as(
    config: conf.Merchant,
    reference: str,
    parts: Sequence[Part],
    on_row: Mapping[str, Any],
    said: Mapping[str, Any],
) -> CombineOrder | None:
    known = _of_reference(config.mchid, reference)
    if known is None:
        return None
    references.refuse_reuse(known, reference, Action.PREPAY, on_row=on_row, sent=said)
    own = ("out_trade_no", "individual_auth_id")
    before = [{name: sub[name] for name in sub if name not in own} for sub in _first_fields(known)["sub_orders"]]
    wanted = [{name: sub[name] for name in sub if name not in own} for sub in map(_sub_order, parts)]
    payees = list(known.orders.order_by("pk").values_list("payee_id", flat=True))
    if before != wanted or payees != [part.payee.pk for part in parts]:
        raise ReferenceReused(reference, ["parts"])
    return known


@registry.command
class Prepay(commands.Command):
    action = Action.PREPAY
    harmless = True  # the identical request gives the prepay_id anew

    def send(self, client: Client, operation: Operation, row: CombineOrder) -> Answer:
        if row.is_expired:
            raise InvalidField(f"Combined order {row.number} is expired.", field="time_expire")
        for place, order in enumerate(row.orders.select_related("payee").order_by("pk")):
            payee: Any = order.payee
            queries.query(payee)
            payee.refresh_from_db()
            if not payee.is_authorized or payee.individual_auth_id != order.individual_auth_id:
                raise InvalidField(
                    f"Payee {payee.number} withdrew, or signed anew, since this was ordered: nothing was sent.",
                    field=f"sub_orders[{place}].individual_auth_id",
                )
        return client.combine_orders.create(**operation.fields)

    def answered(self, row: CombineOrder, fact: Fact, operation: Operation) -> Applied:
        prepay_id = fact.number("prepay_id")
        if prepay_id is None or len(prepay_id) > 64:
            return Applied(Outcome.REFUSED, row, "no prepay_id")
        applied = end_together(row, State.NOTPAY, fact)
        begun: datetime = operation.sent_at or timezone.now()
        values = {"prepay_id": prepay_id, "prepay_expires": begun + PREPAY_LIVES}
        CombineOrder.objects.filter(pk=row.pk).update(**values)
        return applied

    def refused(self, row: CombineOrder, error: WxPayError, operation: Operation) -> str:
        if error.means(*QUERY_FIRST):
            return Operation.State.UNKNOWN
        if row.state == State.CREATED:
            fact = commands.refusal(row, operation, error)
            end_together(row, State.REFUSED, fact, note=str(error)[:256], error_code=error.code[:64])
        return Operation.State.REFUSED

    def verdict(self, row: CombineOrder, operation: Operation) -> str | None:
        if row.state == State.REFUSED:
            return Operation.State.REFUSED
        return None if row.state == State.CREATED else Operation.State.DONE
