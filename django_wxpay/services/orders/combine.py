"""The parts of combined orders: each is a payee's own order. It is asked about, paid and closed with the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ...client import Client
from ...engine import polling, registry
from ...exceptions import NotAllowedNow
from ...models import CombineOrder, Order
from .facts import State, sync
from .polls import confirmed
from .products import ECOMMERCE_REFUNDS, OrderProduct


def _whole(order: Order) -> CombineOrder:
    whole: Any = order.combine_order
    return whole  # type: ignore[no-any-return]


def _never(client: Client, about: Any) -> NoReturn:
    raise NotAllowedNow("A part of a combined order has no call of its own. Nothing was sent.")


def _reverse(client: Client, fields: Mapping[str, Any]) -> NoReturn:
    _never(client, fields)


registry.product(
    OrderProduct(
        name=Order.Product.COMBINE,
        regions=frozenset({"mainland"}),
        query=_never,
        part_of=_whole,
        not_there=polling.not_there,
        advance=sync,
        pause=lambda order, state: polling.DAILY,  # the whole has the rhythm
        status=confirmed,
        reverse=_reverse,
        reversed_to=State.CLOSED,
        reversal_pays_back=False,
        can_be_retried=False,
        queried_first=True,
        expires=None,  # the whole has its own clock
        refunds=ECOMMERCE_REFUNDS,
    )
)
