"""What PayScore collected for service orders. Such an order is born paid: it is confirmed, and it is refunded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from ...client import Client
from ...client.answers import Answer
from ...client.errors import NotFound
from ...engine import polling, registry
from ...exceptions import NotAllowedNow
from ...models import Order
from .facts import State, sync
from .polls import confirmed
from .products import DOMESTIC_REFUNDS, OrderProduct


def _query(client: Client, order: Order) -> Answer:
    """Ask about its service order, and return what that says of this one payment as any order's answer."""
    service_order: Any = order.service_order
    answer = client.service_orders.query(
        service_id=service_order.service_id, out_order_no=service_order.out_order_no, sub_mchid=order.sub_mchid
    )
    collection = (answer.data or {}).get("collection")
    listed = collection.get("details") if isinstance(collection, dict) else None
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    mine = next((one for one in entries if one.get("transaction_id") == order.transaction_id), None)
    if mine is None:
        raise NotFound(
            f"Service order {service_order.out_order_no} lists no payment {order.transaction_id}.", verified=True
        )
    parties = {"sp_mchid": order.mchid, "sub_mchid": order.sub_mchid} if order.sub_mchid else {"mchid": order.mchid}
    told = parties | {
        "transaction_id": order.transaction_id,
        "trade_state": State.SUCCESS,
        "amount": {"total": int(mine.get("amount") or 0), "currency": order.currency},
    }
    return replace(answer, data=told)


def _never(client: Client, fields: Mapping[str, Any]) -> NoReturn:
    raise NotAllowedNow("What PayScore collected is paid: refund it. Nothing was sent.")


registry.product(
    OrderProduct(
        name=Order.Product.PAYSCORE,
        regions=frozenset({"mainland"}),
        query=_query,
        not_there=polling.not_there,
        advance=sync,
        pause=lambda order, state: timedelta(hours=1),
        status=confirmed,
        reverse=_never,
        reversed_to=State.REVOKED,
        reversal_pays_back=False,
        can_be_retried=False,
        queried_first=True,
        expires=None,
        refunds=DOMESTIC_REFUNDS,
    )
)
