"""Asking WeChat Pay what is true of a row, and recording what it says."""

from __future__ import annotations

from typing import TypeVar

from django.utils import timezone

from ..client.errors import NotFound
from ..models import Source, WireObject
from . import registry, remote, transactions
from .facts import Fact

W = TypeVar("W", bound=WireObject)


def query(row: WireObject) -> bool:
    """Ask WeChat Pay about a row and apply the answer; whether it is known there.

    A part is asked about through its whole, and recorded with it. False is proved: the signed code that says so of
    this very object. Never inside a transaction. Raises what the client raises.
    """
    begun_at = timezone.now()
    product = registry.product_of(row)
    if product.part_of is not None:
        return query(product.part_of(row))
    try:
        with remote.client_of(row) as client:
            answer = product.query(client, row)
    except NotFound:
        product.not_there(row, begun_at)
        return False
    fact = Fact.from_answer(row, answer, source=Source.QUERY, begun_at=begun_at)
    transactions.run(lambda: registry.subject_of(row).apply(fact))
    return True


def sync(row: W) -> W:
    """Query WeChat Pay and record what it says; returns the refreshed row.

    That WeChat Pay does not know the row (yet) is no error. Raises APIError, OutcomeUnknown, CalledInTransaction.
    """
    query(row)
    row.refresh_from_db()
    return row
