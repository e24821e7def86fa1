"""Amounts and payment codes with a fixed outcome, as card schemes have test numbers.

A deduction or quick payment of ``PAYMENT_AMOUNTS + n`` minor units, or a payment code ``CODE_PREFIX`` + n, meets
payment outcome n; a refund of ``REFUND_AMOUNTS + n`` minor units meets refund outcome n. Every other amount and
code simply succeeds. The page under ``/_sandbox/`` prints these tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from .promotions import COUPON, DISCOUNT

PAYMENT_AMOUNTS = 6_660_000
REFUND_AMOUNTS = 7_770_000
COLLECTION_AMOUNTS = 5_550_000
CODE_PREFIX = "13666600000000"


@dataclass(frozen=True)
class Payment:
    """What becomes of a payment.

    refused: status and code of the answer. state: the state the order is left in, "" when no order is made.
    later, later_state: what it becomes by itself. answer: "order", "refused", "cut". first_only: the second try
    of the same number is an ordinary payment. promotion: what part of it the payer need not pay.
    """

    number: int
    says: str
    refused: tuple[int, str] | None = None
    state: str = "SUCCESS"
    later: float = 0
    later_state: str = ""
    answer: str = "order"
    first_only: bool = False
    quick_pay_only: bool = False
    promotion: str = ""

    @property
    def amount(self) -> int:
        return PAYMENT_AMOUNTS + self.number

    @property
    def code(self) -> str:
        return f"{CODE_PREFIX}{self.number:04d}"


def _refusal(number: int, status: int, code: str, says: str, *, quick: bool = False) -> Payment:
    return Payment(number, says, refused=(status, code), state="NOTPAY", answer="refused", quick_pay_only=quick)


def _paying(number: int, says: str, later: float = 0, end: str = "", refused: tuple[int, str] | None = None) -> Payment:
    answer = "refused" if refused else "order"
    return Payment(number, says, refused, state="USERPAYING", later=later, later_state=end, answer=answer)


def _not_done(number: int, says: str, *, refused: tuple[int, str] | None = None) -> Payment:
    says += ", nothing done; the same number works the second time"
    return Payment(number, says, refused, state="", answer="refused" if refused else "closed", first_only=True)


SYSTEM_ERROR, BANK_ERROR, TOO_OFTEN = (500, "SYSTEM_ERROR"), (500, "BANK_ERROR"), (429, "FREQUENCY_LIMITED")

PAYMENTS = {
    outcome.number: outcome
    for outcome in (
        _refusal(1, 403, "NOT_ENOUGH", "refused: not enough money; the order stays NOTPAY"),
        _refusal(2, 403, "RULE_LIMIT", "refused: a limit of the user, the bank or the plan"),
        _refusal(3, 403, "USER_ACCOUNT_ABNORMAL", "refused: the user's account is closed or blocked"),
        _refusal(4, 403, "TRADE_ERROR", "refused: trade error"),
        Payment(5, "answered 200 with PAYERROR: failed for good", state="PAYERROR"),
        Payment(6, "answered 200 with NOTPAY and stays so", state="NOTPAY"),
        _paying(10, "USERPAYING, paid after 5 s", 5, "SUCCESS"),
        _paying(11, "USERPAYING for ever: must be reversed"),
        _paying(12, "USERPAYING, fails (PAYERROR) after 5 s", 5, "PAYERROR"),
        _paying(13, "USERPAYING as an error object with status 202, paid after 5 s", 5, "SUCCESS", (202, "USERPAYING")),
        _paying(14, "USERPAYING, paid after 44 s: just before a till gives up", 44, "SUCCESS"),
        Payment(20, "charged, but answered 500 SYSTEM_ERROR", SYSTEM_ERROR, answer="refused"),
        _not_done(21, "answered 500 SYSTEM_ERROR", refused=SYSTEM_ERROR),
        Payment(22, "charged, but the connection is cut before the answer", answer="lost"),
        _not_done(23, "connection cut"),
        _not_done(24, "answered 429 FREQUENCY_LIMITED", refused=TOO_OFTEN),
        _paying(25, "answered 500 BANK_ERROR, paid after 5 s", 5, "SUCCESS", BANK_ERROR),
        _paying(26, "answered 500 BANK_ERROR, fails (PAYERROR) after 5 s", 5, "PAYERROR", BANK_ERROR),
        _refusal(30, 400, "AUTH_CODE_INVALID", "refused: not a valid payment code", quick=True),
        _refusal(31, 403, "AUTH_CODE_EXPIRE", "refused: the payment code is too old", quick=True),
        _paying(40, "USERPAYING for ever; the first reversal is refused as too early"),
        _paying(41, "USERPAYING for ever; the first reversal fails with 500, nothing done"),
        _paying(42, "USERPAYING for ever; the first reversal is done, but answered 500"),
        _paying(43, "USERPAYING for ever; paid in the moment of the first reversal, which is answered 500"),
        Payment(50, "paid with a coupon: `promotion_detail`, the payer pays a tenth less", promotion=COUPON),
        Payment(51, "paid with a discount on goods: the same, with `goods_detail`", promotion=DISCOUNT),
    )
}

REVERSAL_TOO_EARLY, REVERSAL_FAILS_FIRST, REVERSAL_ANSWER_LOST, PAID_WHEN_REVERSED = 40, 41, 42, 43


@dataclass(frozen=True)
class Refund:
    """What becomes of a refund: ``status`` after a moment, ``then`` still later. Otherwise as `Payment`."""

    number: int
    says: str
    refused: tuple[int, str] | None = None
    status: str = "SUCCESS"
    then: str = ""
    wait: float = 0
    answer: str = "refund"
    accepted: bool = True
    first_only: bool = False

    @property
    def amount(self) -> int:
        return REFUND_AMOUNTS + self.number


REFUND_LATER_SECONDS = 30


def _not_accepted(number: int, says: str, refused: tuple[int, str], *, always: bool = False) -> Refund:
    says += "" if always else " the first time, accepted the second (same number)"
    return Refund(number, says, refused, answer="refused", accepted=False, first_only=not always)


REFUNDS = {
    outcome.number: outcome
    for outcome in (
        Refund(1, "becomes ABNORMAL: the money could not be delivered", status="ABNORMAL"),
        Refund(2, "becomes REFUNDCLOSE (notified as CLOSED)", status="CLOSED"),
        _not_accepted(3, "refused NOT_ENOUGH", (403, "NOT_ENOUGH")),
        Refund(4, "stays PROCESSING", status="PROCESSING"),
        _not_accepted(5, "refused USER_ACCOUNT_ABNORMAL every time", (403, "USER_ACCOUNT_ABNORMAL"), always=True),
        Refund(6, "accepted, but answered 500 SYSTEM_ERROR the first time", SYSTEM_ERROR, answer="refused"),
        _not_accepted(7, "answered 500 SYSTEM_ERROR, nothing done,", SYSTEM_ERROR),
        Refund(8, "accepted, but the connection is cut before the answer", answer="lost"),
        Refund(9, "becomes ABNORMAL, then SUCCESS 30 s later", status="ABNORMAL", then="SUCCESS"),
        _not_accepted(10, "answered 429 FREQUENCY_LIMITED", TOO_OFTEN),
        _not_accepted(11, "refused NOT_ENOUGH every time", (403, "NOT_ENOUGH"), always=True),
        Refund(12, "succeeds only after 30 s", wait=REFUND_LATER_SECONDS),
    )
}


@dataclass(frozen=True)
class Collection:
    """What becomes of the amount of a completed service order.

    wait: seconds until it is paid. pays: whether it is, by itself. running: seconds in which the deduction cannot be
    stopped. races: it is deducted although it was reported as paid elsewhere. keeps: it can no longer be cancelled.
    """

    number: int
    says: str
    wait: float = 0
    pays: bool = True
    running: float = 0
    races: bool = False
    keeps: bool = False
    answer_lost: bool = False
    first_only: bool = False

    @property
    def amount(self) -> int:
        return COLLECTION_AMOUNTS + self.number


COLLECTIONS = {
    outcome.number: outcome
    for outcome in (
        Collection(1, "paid after 10 s", wait=10),
        Collection(2, "never paid, until the user pays on the phone", pays=False),
        Collection(3, "a deduction runs for 10 s, refusing cancel, sync and modify; then paid", wait=10, running=10),
        Collection(4, "a deduction runs for 10 s, then it is still unpaid", pays=False, running=10),
        Collection(5, "never paid by itself; paid twice when it is reported as paid elsewhere", pays=False, races=True),
        Collection(6, "never paid by itself, and cannot be cancelled any more", pays=False, keeps=True),
        Collection(7, "completed and paid, but the connection is cut before the answer", answer_lost=True),
        Collection(8, "answered 500 SYSTEM_ERROR, nothing done; works the second time", first_only=True),
    )
}

ORDINARY_COLLECTION = Collection(0, "paid at once")
ORDINARY_PAYMENT = Payment(0, "paid at once")
ORDINARY_REFUND = Refund(0, "succeeds after 2 s")


def of_payment(amount: int, code: str = "") -> Payment:
    """Return the outcome that a code or an amount asks for; the code wins."""
    if code.startswith(CODE_PREFIX):
        return PAYMENTS.get(int(code[len(CODE_PREFIX) :]), ORDINARY_PAYMENT)
    outcome = PAYMENTS.get(amount - PAYMENT_AMOUNTS, ORDINARY_PAYMENT)
    return ORDINARY_PAYMENT if outcome.quick_pay_only and not code else outcome


def of_refund(amount: int) -> Refund:
    return REFUNDS.get(amount - REFUND_AMOUNTS, ORDINARY_REFUND)


def of_collection(amount: int) -> Collection:
    return of_number(amount - COLLECTION_AMOUNTS)


def of_number(number: int | None) -> Collection:
    return COLLECTIONS.get(number or 0, ORDINARY_COLLECTION)
