"""What a product of orders declares, beside what every product does: how it is ended, refunded, shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...client import Client
from ...client.answers import Answer
from ...engine.registry import Product
from ...exceptions import NotAllowedNow
from ...models import Order, Refund


class RefundCalls(NamedTuple):
    """The calls of one family of refunds."""

    create: Callable[[Client, Mapping[str, Any]], Answer]
    query: Callable[[Client, Refund], Answer]
    query_all: Callable[[Client, Order], Iterable[Mapping[str, Any]]] | None  # None where there is no such call
    sources: frozenset[str]  # what a refund may be paid from
    names_currency: bool  # whether every message of a refund says its currency
    about: Callable[[Order], Mapping[str, Any]] = (
        lambda order: {}
    )  # what a request says of the order beside its numbers


@dataclass(frozen=True, kw_only=True)
class OrderProduct(Product):
    """One product of orders."""

    subject: str = Order.subject
    status: Callable[[Order], Order]  # what a status page does: at most one call, never raises for the network
    reverse: Callable[[Client, Mapping[str, Any]], Answer]  # ends an unpaid order for good; 204
    reversed_to: Order.State  # what a reversed order is
    reversal_pays_back: bool  # whether reversing a paid one sends the money back
    can_be_retried: bool  # whether it can be tried again under a new number, once it is proved dead
    queried_first: bool  # whether it is queried before it is reversed, lest a paid one be
    expires: str | None  # the setting after whose seconds a task reverses an order without an outcome
    refunds: RefundCalls


GLOBAL_REFUNDS = RefundCalls(
    create=lambda client, fields: client.refunds.create(**fields),
    query=lambda client, refund: client.refunds.query(**_number(refund), sub_mchid=refund.sub_mchid),
    query_all=lambda client, order: client.refunds.iter_all(
        out_trade_no=order.out_trade_no or "", sub_mchid=order.sub_mchid
    ),
    sources=frozenset({Refund.FundSource.UNSETTLED, Refund.FundSource.RECHARGE}),
    names_currency=True,
)

DOMESTIC_REFUNDS = RefundCalls(
    create=lambda client, fields: client.domestic_refunds.create(**_domestic(fields)),
    query=lambda client, refund: client.domestic_refunds.query(
        out_refund_no=refund.out_refund_no or "", sub_mchid=refund.sub_mchid
    ),
    query_all=None,
    sources=frozenset({Refund.FundSource.AVAILABLE}),
    names_currency=False,
)


ECOMMERCE_REFUNDS = RefundCalls(
    create=lambda client, fields: client.ecommerce_refunds.create(**_ecommerce(fields)),
    query=lambda client, refund: client.ecommerce_refunds.query(
        **_number(refund), individual_auth_id=refund.order.individual_auth_id
    ),
    query_all=None,
    sources=frozenset({Refund.FundSource.AVAILABLE, Refund.FundSource.NOT_SETTLED, Refund.FundSource.PREPAID}),
    names_currency=False,
    about=lambda order: _of_part(order),
)


def _of_part(order: Order) -> dict[str, Any]:
    """What names a part of a combined order. Raises NotAllowedNow while WeChat Pay's number of the whole is unknown."""
    whole: Any = order.combine_order
    if not whole.combine_transaction_id:
        raise NotAllowedNow(f"Combined order {whole.number} must be queried before it is refunded. Nothing was sent.")
    return {
        "individual_auth_id": order.individual_auth_id,
        "combine_transaction_id": whole.combine_transaction_id,
        "out_trade_no": order.out_trade_no,
    }


def _ecommerce(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as the call for individual payees takes it: no sub-merchant, and another word for the source."""
    same = {name: value for name, value in fields.items() if name not in ("source", "sub_mchid", "sub_appid")}
    return same | ({"funds_account": fields["source"]} if fields["source"] else {})


def _domestic(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as the mainland's call takes it: no appids, and another word for the source."""
    same = {name: value for name, value in fields.items() if name not in ("source", "sub_appid")}
    return same | {"funds_account": fields["source"]}


def _number(refund: Refund) -> dict[str, str]:
    """The number to ask by: ours; of a refund made elsewhere WeChat Pay's, for its merchant's may be of any form."""
    if refund.out_refund_no and not (refund.foreign and refund.refund_id):
        return {"out_refund_no": refund.out_refund_no}
    return {"refund_id": refund.refund_id or ""}
