"""Speaking to WeChat Pay for a row: the right client, and patience with a merchant that is asked to slow down."""

import logging
import random
from contextlib import contextmanager
from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .. import conf
from ..client.errors import RateLimited
from ..models import MerchantState
from . import registry, transactions

logger = logging.getLogger(__name__)
LONGEST_STEP = 9  # 2⁹ s, about eight minutes


def merchant_of(row):
    """The merchant in the settings that this row was made for."""
    merchant = conf.merchant(row.merchant)
    if merchant.mchid != row.mchid:
        raise ImproperlyConfigured(
            f"WXPAY merchant {row.merchant!r} now signs as {merchant.mchid}, but this row belongs to {row.mchid}. "
            "Keep the old merchant under its alias and give the new one another."
        )
    registry.refuse_other_region(row, merchant.region)
    return merchant


@contextmanager
def client_of(row):
    """The client to ask about this row, never inside a transaction.

    A RateLimited makes every process go easy on this merchant.
    """
    transactions.refuse_inside("polling.plan_query")
    merchant = merchant_of(row)
    try:
        yield conf.client(merchant.alias)
    except RateLimited as error:
        slow_down(merchant, error.retry_after)
        raise


def slow_down(merchant, retry_after=None):
    """Hold back this merchant's tasks for a while: longer each time in a row, with jitter."""
    now = timezone.now()
    state, _ = MerchantState.objects.get_or_create(mchid=merchant.mchid, defaults={"merchant": merchant.alias})
    in_a_row = state.slow_until is not None and now - state.slow_until < timedelta(minutes=10)
    step = min(state.slow_step + 1, LONGEST_STEP) if in_a_row else 1
    seconds = max(2**step * random.uniform(0.5, 1.5), retry_after or 0)
    MerchantState.objects.filter(pk=state.pk).update(slow_step=step, slow_until=now + timedelta(seconds=seconds))
    logger.warning("rate limited merchant=%s: holding back %.0f s", merchant.alias, seconds)


def slowed():
    """The signing numbers that tasks leave alone now."""
    return list(MerchantState.objects.filter(slow_until__gt=timezone.now()).values_list("mchid", flat=True))
