"""Quick pay: the cashier scans the payer's code. Did the payer pay or not?

The code lives a minute and is never stored, so the request is sent once, by its caller. From then on the row's own
clock decides the one thing that is due: query every few seconds, reverse when the time is over, confirm the reversal.
The till's page and the poller both advance it, so a closed browser or a dead process changes nothing. The end
is SUCCESS or REVOKED (or a refusal), never both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.utils import timezone

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import APIError, InvalidField, OutcomeUnknown, RequestNotSent
from ...client.texts import hide
from ...engine import commands, operations, polling, references, registry, transactions
from ...engine.facts import Applied, Fact, move
from ...engine.numbers import new_number
from ...exceptions import OperationPending
from ...models import Action, Operation, Order
from .charges import Charge
from .facts import apply_order, sync
from .products import GLOBAL_REFUNDS, OrderProduct
from .reversals import plan_reversal

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

    from ...client.orders import Limit

logger = logging.getLogger(__name__)
State = Order.State
WAITING = timedelta(minutes=5)  # while somebody may stand there, the distance of queries does not grow


def pay_by_code(
    *,
    auth_code: str,
    amount: int,
    currency: str,
    description: str,
    reference: str,
    user: User | None = None,
    attach: str = "",
    goods_tag: str = "",
    limit_pay: Limit = "",
    device_id: str = "",
    device_ip: str = "",
    operator_id: str = "",
    store_id: str = "",
    store_name: str = "",
    store_address: str = "",
    payer_client_ip: str = "",
    detail: Mapping[str, Any] | None = None,
    merchant_category_code: str = "",
    merchant: str = "default",
    sub_mchid: str | None = None,
    sub_appid: str | None = None,
    by: User | None = None,
) -> Order:
    """Charge the payer who shows this payment code: committed, sent once, answered.

    auth_code: the 18 digits under the bar code; used for this request, then forgotten. amount: int, minor units of
    currency. description: shown to the payer, at most 127 characters, none of 4 bytes. reference: the shop's own
    name for this scan; the same again (the same code, too) returns the same row, `was_known`, and charges nothing
    more. A new code is a new reference. payer_client_ip: the payer's address, device_ip the till's. detail: goods and
    receipt for promotions, {"cost_price", "receipt_id", "goods_detail"}. merchant_category_code: 4 digits, instead
    of the merchant's in the settings, when its sub-merchants differ.

    Returns the `Order`: SUCCESS; REFUSED with its `error_code` (not charged); USERPAYING (a password is asked for);
    or CREATED (no proof yet): for the last two call `advance_till` until it is final, and hand nothing over before.
    Raises InvalidField and ReferenceReused (nothing was sent), CalledInTransaction. Waits for one call at most.

    Source: APIv3 manual, "Quick pay", POST /v3/global/micropay/transactions/pay.
    """
    auth_code = hide(auth_code)
    asked = dict(locals())
    fields.auth_code("auth_code", auth_code, conf.setting("AUTH_CODE_PREFIXES"))
    transactions.refuse_inside("orders.pay_by_code outside of atomic()")
    planned: list[Order] = []

    def plan_payment() -> Order:
        planned[:] = [_plan_payment(**asked)]
        return planned[0]

    try:
        return operations.carry_out(plan_payment)
    except InvalidField:
        raise
    except (APIError, OutcomeUnknown, RequestNotSent) as error:
        logger.info("quick payment reference=%s has no success: %s", reference, type(error).__name__)
        order = planned[0]
        order.refresh_from_db()
        return order


def _plan_payment(
    *,
    auth_code: str,
    amount: int,
    currency: str,
    description: str,
    reference: str,
    user: User | None,
    attach: str,
    merchant_category_code: str,
    merchant: str,
    sub_mchid: str | None,
    sub_appid: str | None,
    by: User | None,
    **more: Any,
) -> Order:
    config = conf.merchant(merchant)
    sub_mchid, sub_appid = config.sub_of(sub_mchid, sub_appid)
    fields.amount("amount", amount)
    fields.currency("currency", currency)
    fields.text("description", description, 127)
    fields.text("attach", attach, 127, required=False)
    fields.text("reference", reference, 64)
    code = config.category_code(merchant_category_code)
    more["merchant_category_code"] = fields.category_code("merchant_category_code", code)
    on_row = {
        "product": Order.Product.MICROPAY, "amount_total": amount, "currency": currency,
        "description": description, "attach": attach, "sub_mchid": sub_mchid, "sub_appid": sub_appid,
        "user_id": user.pk if user else None,
    }  # fmt: skip

    def asked_before() -> Order | None:
        known = Order.objects.filter(mchid=config.mchid, sub_mchid=sub_mchid, reference=reference).first()
        if known is None:
            return None
        return references.refuse_reuse(known, reference, Action.PAY, on_row=on_row, sent=more, secret=auth_code)

    now = timezone.now()
    try:
        with transactions.atomic():
            if known := asked_before():
                return known
            order = Order.objects.create(
                **on_row,
                merchant=config.alias,
                mchid=config.mchid,
                appid=config.appid,
                reference=reference,
                out_trade_no=new_number(),
                next_poll_at=now + timedelta(seconds=conf.setting("TILL_QUERY_SECONDS")),
            )
            to_send = {
                "out_trade_no": order.out_trade_no,
                "amount_total": amount,
                "currency": currency,
                "description": description,
                "attach": attach,
                "sub_mchid": sub_mchid,
                "sub_appid": sub_appid,
                **{name: value for name, value in more.items() if value is not None},
            }
            operation = operations.plan(order, Action.PAY, to_send, by=by, secret=auth_code).operation
            assert operation is not None
            operation.auth_code = auth_code  # in memory only: its caller is the one who can send it
            return order
    except IntegrityError:
        if known := asked_before():  # somebody used the reference at this very moment
            return known
        raise


@registry.command
class Pay(Charge):
    action = Action.PAY
    resend = False
    needs_caller = True

    def send(self, client: Client, operation: Operation, row: Order) -> Answer:
        prefixes = conf.setting("AUTH_CODE_PREFIXES")
        return client.orders.pay_by_code(**operation.fields, auth_code=operation.auth_code, auth_code_prefixes=prefixes)

    def answered(self, row: Order, fact: Fact, operation: Operation) -> Applied:
        if "trade_state" in fact.data:
            return apply_order(fact)
        return move(row, State.USERPAYING, fact, {})  # an error object that says so, in place of an order


# Afterwards


def advance_till(order: Order) -> Order:
    """Do the ONE thing that is due now for a quick payment, if any and if nobody else is at it; returns the row.

    Safe to call as often as a till likes. Waits for one call at most, never raises because of the network.
    """
    now = timezone.now()
    due = Order.objects.filter(pk=order.pk, next_poll_at__lte=now)
    if due.update(next_poll_at=now + polling.LEASE):
        polling.quietly(advance, order)
    order.refresh_from_db()
    return order


def advance(order: Order) -> Order:
    """Do what is due: query while the payer has time and once after it, then reverse, then see to the reversal.

    Called by whoever holds the row (its `next_poll_at`). Raises what the call raises.
    """
    order.refresh_from_db()
    held_until = order.next_poll_at
    try:
        pending = commands.open_of(order)
        if pending is not None and pending.action == Action.REVERSE:
            _see_to(pending, order)
        elif _time_is_over(order):
            _give_up(order)
        else:
            sync(order)
    finally:
        _schedule(order, held_until)
    return order


def _time_is_over(order: Order) -> bool:
    """After the payer's time, and once a query that was begun after it was answered.

    What was paid in time is not sent back: a query that failed, or was begun before, has not looked.
    """
    give_up_at = order.created_at + timedelta(seconds=conf.setting("TILL_GIVE_UP_SECONDS"))
    return not order.is_final and order.synced_at is not None and order.synced_at >= give_up_at


def _give_up(order: Order) -> None:
    """Reverse, unless the payment's own request may still be under way: then it is queried once more."""
    try:
        operations.carry_out(plan_reversal, order)
    except OperationPending:
        sync(order)


def _see_to(reversal: Operation, order: Order) -> None:
    if reversal.next_try_at is None or reversal.next_try_at <= timezone.now():
        operations.advance(reversal, send_again=False)
    else:
        sync(order)


def _schedule(order: Order, held_until: datetime | None) -> None:
    """However it ended, an open row is due again: nobody waits until the hold runs out."""
    order.refresh_from_db()
    if order.next_poll_at is not None and order.next_poll_at == held_until:
        polling.put_off(order)


def wait_until_final(order: Order, *, timeout_seconds: float = 180) -> Order:
    """For scripts: advance until the order is final or the time is over; returns the row as it is then."""
    ends = time.monotonic() + timeout_seconds
    while not advance_till(order).is_final and time.monotonic() < ends:
        time.sleep(1)
    return order


def _pause(order: Order, state: str) -> timedelta:
    if timezone.now() - order.created_at < WAITING:
        return timedelta(seconds=conf.setting("TILL_QUERY_SECONDS"))
    return polling.growing("ORDER_POLL_SECONDS")(order, state)


registry.product(
    OrderProduct(
        name=Order.Product.MICROPAY,
        regions=frozenset({"global"}),
        query=lambda client, order: client.orders.query_payment(
            out_trade_no=order.out_trade_no, sub_mchid=order.sub_mchid
        ),
        not_there=polling.not_there,
        advance=advance,
        pause=_pause,
        status=advance_till,
        reverse=lambda client, fields: client.orders.reverse_payment(**fields),
        reversed_to=State.REVOKED,
        reversal_pays_back=True,
        can_be_retried=False,  # its code is gone
        queried_first=False,
        expires=None,  # `advance` has its own, shorter clock
        refunds=GLOBAL_REFUNDS,
    )
)
