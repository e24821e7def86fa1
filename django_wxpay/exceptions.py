"""What services refuse, and what the caller can do about it.

All are `WxPayError`s, so `except WxPayError` covers the client's errors and these. In each case nothing was sent to
WeChat Pay, unless the class says otherwise.

    WxPayError
    ├── CalledInTransaction    a service that speaks to WeChat Pay was called inside atomic() → use plan_…
    ├── ReferenceReused        this reference was used for something else → choose another
    ├── OperationPending       something is being asked for this object → wait for its outcome
    │   └── DeductionPending   a deduction of this contract is not finished → wait, or reverse it
    ├── NotAllowedNow          the object's state forbids it
    │   ├── ContractNotSigned, OrderNotPaid, OrderPaid, OrderNotDead
    │   └── RefundNotPossible → RefundTooLarge, RefundedMeanwhile
    ├── RefundWaits            too little of the merchant's money, asked again by itself → not under another reference
    └── ProcessingFailed       a notification was kept, but could not be processed → tried again
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .client.errors import WxPayError

if TYPE_CHECKING:
    from .models import Order


class CalledInTransaction(WxPayError):
    """A service that sends was called inside `atomic()`; its `plan_…` half joins a transaction."""

    def __init__(self, use: str) -> None:
        self.use = use
        super().__init__(
            f"This service speaks to WeChat Pay and must not run inside a transaction. "
            f"Nothing was sent. Call {use}() instead: it writes down what to ask, and it is sent after the commit."
        )


class ReferenceReused(WxPayError, ValueError):
    """The reference names another row already, with other parameters."""

    def __init__(self, reference: str | None, differing: Iterable[str]) -> None:
        self.reference = reference
        self.differing = tuple(differing)
        super().__init__(
            f"The reference {reference!r} was used before with another {', '.join(self.differing)}. "
            "Nothing was sent. Use the same values to get the existing row, or another reference for another purpose."
        )


class OperationPending(WxPayError):
    """Something is being asked of WeChat Pay for this object; its outcome must be known first."""


class DeductionPending(OperationPending):
    """A deduction of this contract has no outcome yet."""


class NotAllowedNow(WxPayError):
    """The object's state forbids this."""


class ContractNotSigned(NotAllowedNow):
    """Only a signed contract can be charged or terminated."""


class OrderNotPaid(NotAllowedNow):
    """Only a paid order can be refunded."""


class OrderPaid(NotAllowedNow):
    """A paid order is refunded, never reversed or tried again."""


class OrderNotDead(NotAllowedNow):
    """The earlier attempt may still be paid: it must be reversed or closed first."""


class RefundNotPossible(NotAllowedNow):
    """WeChat Pay's rules forbid this refund: too many, too late, or a reversed order."""


class RefundTooLarge(RefundNotPossible, ValueError):
    """More than what remains refundable."""

    def __init__(self, order: Order, amount: int) -> None:
        self.amount = amount
        self.refundable_amount = order.refundable_amount
        super().__init__(
            f"A refund of {amount} exceeds what remains of order {order.out_trade_no}: "
            f"{order.refundable_amount} {order.currency} (minor units). Nothing was sent."
        )


class RefundedMeanwhile(RefundNotPossible):
    """What remains refundable is not what the caller has seen: somebody else refunded, or a refund gave back."""


class RefundWaits(WxPayError):
    """WeChat Pay has surely not taken this refund, for want of the merchant's own money, and will be asked again.

    It was sent, and goes on being sent hourly under its own number, so another reference would pay the customer twice:
    `refunds.give_up(error.refund)` first. ``code`` is NOT_ENOUGH.
    """

    code = "NOT_ENOUGH"

    def __init__(self, refund: Any) -> None:
        self.refund = refund
        super().__init__(
            f"Refund {refund.number} waits: the merchant has too little money in this purse (NOT_ENOUGH). WeChat Pay "
            "has not taken it and is asked again hourly under the same number. Do not refund under another reference: "
            "should another purse pay, give this one up first (refunds.give_up)."
        )


class ProcessingFailed(WxPayError):
    """A genuine notification is kept as FAILED; WeChat Pay's repeat or `retry_notifications` processes it again."""


class WrongMerchant(WxPayError):
    """A genuine message of another merchant arrived at this merchant's address."""
