"""How PayScore writes its messages: what is absent may be "", and an amount may be a text of digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...client.texts import DEEPEST
from ...engine.facts import Fact

AMOUNTS = frozenset(
    """total_amount paying_amount paid_amount amount actual_price original_price actual_pay_price total_origin_price
    total_original_price total_actual_price deduction_quantity plan_detail_no plan_duration""".split()
)


def tidy(fact: Fact) -> Fact:
    """The fact without empty texts, and with amounts as numbers."""
    return replace(fact, data=_tidied(fact.data, DEEPEST))


def _tidied(value: Any, deepest: int, name: str = "") -> Any:
    if isinstance(value, dict):
        inner = {key: _tidied(one, deepest - 1, key) for key, one in value.items()} if deepest else {}
        return {key: one for key, one in inner.items() if one != ""}
    if isinstance(value, list):
        return [_tidied(one, deepest - 1) for one in value] if deepest else []
    if name in AMOUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value
