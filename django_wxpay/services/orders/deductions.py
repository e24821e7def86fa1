"""Deductions: charging a signed contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError
from django.utils import timezone

from ... import conf
from ...client import Client, fields
from ...client.answers import Answer
from ...client.errors import WxPayError
from ...engine import commands, operations, outcomes, polling, references, registry, remote, transactions
from ...engine.facts import Applied, Fact
from ...engine.numbers import new_number
from ...engine.signatures import takes_what
from ...exceptions import ContractNotSigned, OperationPending, OrderNotDead, OrderPaid
from ...models import Action, Contract, Operation, Order
from .charges import Charge
from .facts import apply_order, sync
from .polls import confirmed
from .products import GLOBAL_REFUNDS, OrderProduct
from .reversals import reverse

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser as User

State = Order.State
MORE = ("goods_tag", "device_id", "device_ip", "merchant_category_code")  # beside what the row keeps
CONTRACT_GONE = ("CONTRACT_NOT_EXIST", "NO_AUTH")  # missing or terminated: a query of the contract tells


def plan_deduction(
    contract: Contract,
    *,
    amount: int,
    currency: str,
    description: str,
    reference: str,
    attach: str = "",
    goods_tag: str = "",
    device_id: str = "",
    device_ip: str = "",
    merchant_category_code: str = "",
    by: User | None = None,
) -> Order:
    """Write down a deduction from a signed contract; `send_operations` asks WeChat Pay for it.

    amount: int, minor units of currency. description: shown to the payer, at most 128 characters, none of 4 bytes.
    attach: at most 127 characters, comes back as it is. reference: the shop's own name for this charge, at most 64
    characters; the same again returns the same row and charges nothing more. device_id, device_ip: where the charge
    comes from, for WeChat Pay's risk control. merchant_category_code: 4 digits, instead of the merchant's in the
    settings, when its sub-merchants differ.

    Returns the `Order` (CREATED). Joins the caller's transaction; nothing is sent here.
    Raises InvalidField, ContractNotSigned, OperationPending (the contract is being terminated), ReferenceReused.
    """
    fields.amount("amount", amount)
    fields.currency("currency", currency)
    fields.text("description", description, 128)
    fields.text("attach", attach, 127, required=False)
    fields.text("goods_tag", goods_tag, 32, required=False)
    fields.text("device_id", device_id, 32, required=False)
    fields.ip("device_ip", device_ip)
    fields.text("reference", reference, 64)
    wanted = {
        "contract_id": contract.pk, "amount_total": amount, "currency": currency, "description": description,
        "attach": attach,
    }  # fmt: skip
    code = conf.merchant(contract.merchant).category_code(merchant_category_code)
    more = {
        "goods_tag": goods_tag, "device_id": device_id, "device_ip": device_ip,
        "merchant_category_code": fields.category_code("merchant_category_code", code),
    }  # fmt: skip
    try:
        with transactions.atomic():
            locked = Contract.objects.select_for_update().get(pk=contract.pk)
            if known := _asked_as(locked, reference, wanted, more):
                return known
            return _plan_attempt(locked, wanted, reference, 1, more, by=by)
    except IntegrityError:
        if known := _asked_as(contract, reference, wanted, more):  # somebody used the reference at this very moment
            return known
        raise


@takes_what(plan_deduction)
def deduct(contract: Contract, **asked: Any) -> Order:
    """Charge a signed contract now. Takes what `plan_deduction` takes.

    Returns the `Order`, usually SUCCESS; read its state. Raises what `plan_deduction` raises (nothing was sent),
    APIError (refused: not charged, the order is REFUSED), OutcomeUnknown (it may have been charged: polling finds
    out, do not charge under another reference), RequestNotSent and RateLimited (not charged yet: a worker sends it),
    CalledInTransaction (use `plan_deduction`).

    Source: APIv3 manual, auto-debit, "Deduct", POST /v3/global/papay/transactions.
    """
    return operations.carry_out(plan_deduction, contract, **asked)


def plan_retry(order: Order, *, by: User | None = None) -> Order:
    """Write down another attempt at a deduction that is proved dead: a new number, the same reference.

    Returns the new `Order` (CREATED, attempt + 1), or the latest attempt when one was planned already. Joins the
    caller's transaction; nothing is sent here. Raises OrderPaid, OrderNotDead, ContractNotSigned, OperationPending.
    """
    with transactions.atomic():
        contract = Contract.objects.select_for_update().get(pk=order.contract_id or 0)
        attempts = Order.objects.select_for_update().filter(
            mchid=order.mchid, sub_mchid=order.sub_mchid, reference=order.reference
        )
        latest = attempts.order_by("-attempt")[0]  # `order` itself at least
        if latest.attempt > order.attempt:
            return latest
        if latest.is_paid:
            raise OrderPaid(f"Order {latest.out_trade_no} is paid: there is nothing to try again.")
        if doubted := attempts.filter(contradicted_at__isnull=False).first():
            raise OrderNotDead(
                f"Order {doubted.out_trade_no} is {doubted.state}, but WeChat Pay has said otherwise since: it is "
                "being queried. Nothing was sent. Try again when it is settled."
            )
        if not _proved_dead(latest):
            raise OrderNotDead(
                f"Order {latest.out_trade_no} is {latest.state} and its number is not closed at WeChat Pay. Nothing "
                "was sent. Reverse it first (retry_deduction does), or wait for its outcome."
            )
        wanted = {
            "contract_id": contract.pk, "amount_total": latest.amount_total, "currency": latest.currency,
            "description": latest.description, "attach": latest.attach,
        }  # fmt: skip
        earlier = Operation.objects.of(latest).filter(action=Action.DEDUCT).first()
        more = {name: earlier.fields[name] for name in MORE if name in earlier.fields} if earlier else {}
        return _plan_attempt(contract, wanted, latest.reference, latest.attempt + 1, more, by=by)


def retry_deduction(order: Order, *, by: User | None = None) -> Order:
    """Charge again under a new number, after reversing the old one unless it is proved dead.

    Returns the new `Order`. Raises OrderPaid (the old attempt turns out to be paid: nothing was charged again),
    what `orders.reverse` raises (the old one may still be paid: nothing was charged again), and what `deduct` raises.
    """
    if not order.is_final or order.state == State.REFUSED:
        order = reverse(order, by=by)
    elif order.contradicted_at is not None:
        order = sync(order)
    return operations.carry_out(plan_retry, order, by=by)


def _proved_dead(order: Order) -> bool:
    """Reversed or closed, or failed for good. A refusal alone may leave the number open there until it is reversed."""
    if order.state != State.REFUSED:
        return order.is_dead
    return Operation.objects.of(order).filter(action=Action.REVERSE, state=Operation.State.DONE).exists()


def _plan_attempt(
    contract: Contract,
    wanted: Mapping[str, Any],
    reference: str,
    attempt: int,
    more: Mapping[str, Any],
    *,
    by: User | None = None,
) -> Order:
    """The contract's lock is held: no termination can be planned meanwhile."""
    if contract.state != Contract.State.SIGNED:
        raise ContractNotSigned(f"Contract {contract.out_contract_code} is {contract.state}: it cannot be charged.")
    ending = commands.open_of(contract)
    if ending is not None and ending.action == Action.TERMINATE and not outcomes.settle(ending, contract):
        raise OperationPending(f"Contract {contract.out_contract_code} is being terminated. Nothing was charged.")
    merchant, now = remote.merchant_of(contract), timezone.now()
    order = Order.objects.create(
        **wanted,
        product=Order.Product.PAPAY,
        merchant=contract.merchant,
        mchid=contract.mchid,
        sub_mchid=contract.sub_mchid,
        appid=contract.appid,
        sub_appid=contract.sub_appid,
        user_id=contract.user_id,
        reference=reference,
        attempt=attempt,
        out_trade_no=new_number(),
        next_poll_at=now + timedelta(seconds=conf.setting("ORDER_POLL_SECONDS")),
    )
    to_send = {
        "out_trade_no": order.out_trade_no,
        "contract_id": contract.contract_id,
        "amount_total": order.amount_total,
        "currency": order.currency,
        "description": order.description,
        "attach": order.attach,
        "notify_url": merchant.notify_url,
        "sub_mchid": order.sub_mchid,
        "sub_appid": order.sub_appid,
        "merchant_category_code": merchant.category_code(more.get("merchant_category_code", "")),
        **more,
    }
    return operations.plan(order, Action.DEDUCT, to_send, by=by)


def _asked_as(contract: Contract, reference: str, wanted: Mapping[str, Any], more: Mapping[str, Any]) -> Order | None:
    attempts = Order.objects.filter(mchid=contract.mchid, sub_mchid=contract.sub_mchid, reference=reference)
    latest = attempts.order_by("-attempt").first()
    if latest is None:
        return None
    return references.refuse_reuse(latest, reference, Action.DEDUCT, on_row=wanted, sent=more)


@registry.command
class Deduct(Charge):
    action = Action.DEDUCT

    def send(self, client: Client, operation: Operation, row: Order) -> Answer:
        return client.orders.deduct(**operation.fields)

    def answered(self, row: Order, fact: Fact, operation: Operation) -> Applied:
        return apply_order(fact)

    def refused(self, row: Order, error: WxPayError, operation: Operation) -> str:
        if error.means(*CONTRACT_GONE):
            transactions.on_commit(lambda: polling.plan_query(cast(Contract, row.contract)))
        return super().refused(row, error, operation)


registry.product(
    OrderProduct(
        name=Order.Product.PAPAY,
        regions=frozenset({"global"}),
        query=lambda client, order: client.orders.query_deduction(
            out_trade_no=order.out_trade_no, sub_mchid=order.sub_mchid
        ),
        not_there=polling.not_there,
        advance=sync,
        pause=polling.growing("ORDER_POLL_SECONDS"),
        status=confirmed,
        reverse=lambda client, fields: client.orders.reverse_deduction(**fields),
        reversed_to=State.CLOSED,
        reversal_pays_back=False,
        can_be_retried=True,
        queried_first=True,  # what becomes of a deduction that was paid and is reversed, the manual does not say
        expires="ORDER_EXPIRES_SECONDS",
        refunds=GLOBAL_REFUNDS,
    )
)
