"""What was bought, for coupons on single goods: the ``detail`` of a payment. Source: APIv3 manual, "Quick pay"."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from . import fields
from .errors import InvalidField

# The whole of it, as compact JSON. This and the lengths below are on the mainland's page; the global one states none.
LONGEST_BYTES = 6144
Check = Callable[[str, Any], Any]

_GOODS: dict[str, Check] = {
    "goods_id": lambda name, value: fields.identifier(name, value, 32),
    "wxpay_goods_id": lambda name, value: fields.text(name, value, 32),
    "goods_name": lambda name, value: fields.text(name, value, 256),
    "quantity": lambda name, value: fields.whole(name, value, 1),
    "price": lambda name, value: fields.whole(name, value, 0),
}
_GOODS_NEED = ("goods_id", "quantity", "price")


def detail(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a payment's ``detail``, checked, or nothing when none is given.

    ``cost_price``: what the whole costs before our own discounts, in minor units; ``receipt_id``: the number on the
    till's receipt; ``goods_detail``: a list of goods with ``goods_id``, ``quantity``, ``price`` (of one, in minor
    units), and perhaps ``wxpay_goods_id`` and ``goods_name``. InvalidField names the part that is wrong.
    """
    if not given:
        return {}
    checked = _checked("detail", given, {
        "cost_price": lambda name, value: fields.whole(name, value, 0),
        "receipt_id": lambda name, value: fields.text(name, value, 32),
        "goods_detail": _goods,
    })  # fmt: skip
    if len(json.dumps(checked, ensure_ascii=False, separators=(",", ":")).encode()) > LONGEST_BYTES:
        raise InvalidField(f"detail has more than {LONGEST_BYTES} bytes as JSON.", field="detail")
    return checked


def _goods(name: str, given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, (list, tuple)) or not given:
        raise InvalidField(f"{name} must be a list of goods, one at least.", field=name)
    return [_checked(f"{name}[{place}]", one, _GOODS, _GOODS_NEED) for place, one in enumerate(given)]


def _checked(where: str, given: Any, checks: Mapping[str, Check], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidField(f"{where} must be a dictionary.", field=where)
    for name in given:
        if name not in checks:  # WeChat Pay ignores or refuses it: a slip of the pen must not go unnoticed
            raise InvalidField(f"{where} takes {', '.join(checks)}, and nothing else.", field=where)
    for name in needed:
        if name not in given:
            raise InvalidField(f"{where}.{name} is missing.", field=f"{where}.{name}")
    return {name: checks[name](f"{where}.{name}", value) for name, value in given.items()}
