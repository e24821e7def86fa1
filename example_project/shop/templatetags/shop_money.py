from babel.numbers import format_currency
from django import template
from django.utils.translation import get_language, to_locale

from django_wxpay.client import money as minor

register = template.Library()


@register.filter
def money(amount, currency):
    """3800 and "HKD" as people of the page's language write it: HK$38.00."""
    return format_currency(minor.major_units(amount, currency), currency, locale=to_locale(get_language() or "en"))
