"""Amounts as people read and write them: in the currency, exact, in the reader's language."""

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import get_language, to_locale
from django.utils.translation import gettext_lazy as _

from ..client import money


def in_words(amount, currency):
    """Minor units as people read them: 3800 HKD is "HK$38.00". None stays None."""
    if amount is None:
        return None
    try:
        exact = money.major_units(amount, currency)
    except ValueError:  # a code that is in use no more: nothing is guessed about its places
        unit = _("minor units")  # gettext's tools do not look into f-strings
        return f"{amount} {currency} ({unit})"
    return format_currency(exact, currency, locale=_locale(), decimal_quantization=False)


def sums(pairs):
    """The totals of (amount, currency) pairs, one per currency, as people read them."""
    totals = {}
    for amount, currency in pairs:
        totals[currency] = totals.get(currency, 0) + amount
    return " + ".join(in_words(total, currency) for currency, total in sorted(totals.items()))


def promotions(detail, currency, of="amount"):
    """Each promotion in a few words: its name, and its amount of that kind."""
    shown = []
    for one in detail or []:
        if isinstance(one, dict):
            amount = one.get(of)
            worth = in_words(amount, currency) if isinstance(amount, int) else ""
            shown.append(" ".join(filter(None, [str(one.get("name") or one.get("promotion_id") or ""), worth])))
    return "; ".join(shown)


def _locale():
    try:
        return Locale.parse(to_locale(get_language() or "en"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse("en")


class AmountField(forms.CharField):
    """An amount typed in major units of `currency`, or nothing with `may_be_free`; its clean value is minor units."""

    def __init__(self, *, currency, may_be_free=False, **options):
        self.currency, self.may_be_free = currency, may_be_free
        options.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(max_length=24, **options)

    def prepare_value(self, value):
        return str(money.major_units(value, self.currency)) if isinstance(value, int) else value

    def clean(self, value):
        text = super().clean(value)
        try:
            amount = money.minor_units(text, self.currency)
        except ValueError:
            raise ValidationError(
                _("Write an amount of %(currency)s like %(example)s: digits and a point, nothing else."),
                code="invalid",
                params={"currency": self.currency, "example": money.major_units(1234, self.currency)},
            ) from None
        if amount < 0 or not (amount or self.may_be_free):
            raise ValidationError(_("The amount must be more than zero."), code="not_positive")
        return amount
