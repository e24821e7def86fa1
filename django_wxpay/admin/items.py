"""Items and discounts of a service as people type them: one a line, its name and then its amount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from ..client import money

CURRENCY = "CNY"
NAME_LENGTH = 20


class ItemsField(forms.CharField):
    """Lines such as "Lesson 1 100.00"; its clean value is a list of items' values, amounts in fen."""

    def __init__(self, *, rows: int = 3, **options: Any) -> None:
        options.setdefault("widget", forms.Textarea(attrs={"rows": rows, "cols": 40, "class": "wxpay-items"}))
        super().__init__(max_length=4000, **options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        return "\n".join(f"{one['name']} {money.major_units(one['amount'], CURRENCY)}" for one in value)

    def clean(self, value: Any) -> list[dict[str, Any]]:
        text = super().clean(value)
        return [_item(line.strip()) for line in text.splitlines() if line.strip()]


def _item(line: str) -> dict[str, Any]:
    try:
        name, amount = line.rsplit(maxsplit=1)  # at any blank: a Chinese one is as wide as a character
        fen = money.minor_units(amount, CURRENCY)
        if fen < 0:
            raise ValueError
    except ValueError:
        raise ValidationError(
            _("“%(line)s” is no item: write its name, a space, and its amount like 12.34."), params={"line": line}
        ) from None
    if len(name) > NAME_LENGTH:
        raise ValidationError(
            _("“%(name)s” is too long a name: at most %(most)s characters."), params={"name": name, "most": NAME_LENGTH}
        )
    return {"name": name, "amount": fen}
