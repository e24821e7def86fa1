"""What a shop can listen to.

Every signal is sent after the commit of what it tells, by `engine.transitions`, once for the database: a receiver
runs in a transaction that also marks the transition as delivered. Outside effects (an e-mail, a call) happen at
least once; `transition.pk` is the key to recognise a repeat. A receiver that raises is tried again later.

Receivers take `sender` (the model), `row` and `transition`. They connect in `AppConfig.ready()`, do no network
work, and ask for money with the `plan_…` services, which join their transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from django.dispatch import Signal

if TYPE_CHECKING:
    from django.db.models import Model

    from .models import (
        CombineOrder,
        Contract,
        Discrepancy,
        Order,
        PayeeAuthorization,
        Refund,
        ServiceOrder,
        SignPlan,
        Transition,
    )

Row = TypeVar("Row")
Subject = TypeVar("Subject", contravariant=True)


class Receiver(Protocol[Subject]):
    """What may be connected. `sender`, `row` and `transition` come by name; so does what later versions add."""

    def __call__(self, *, sender: Any, row: Subject, transition: Transition, **more: Any) -> object: ...


class RowSignal(Signal, Generic[Row]):
    """A signal about one kind of row."""

    if TYPE_CHECKING:

        def connect(  # type: ignore[override]  # narrower on purpose: what it sends is known
            self,
            receiver: Receiver[Row],
            sender: type[Model] | None = None,
            weak: bool = True,
            dispatch_uid: str | None = None,
        ) -> None: ...


state_changed: RowSignal[Any] = RowSignal()  # every transition, before the one with a name

contract_signed: RowSignal[Contract] = RowSignal()
contract_terminated: RowSignal[Contract] = RowSignal()

order_paid: RowSignal[Order] = RowSignal()
order_closed: RowSignal[Order] = RowSignal()  # closed, reversed, failed or refused: it will not be paid

refund_succeeded: RowSignal[Refund] = RowSignal()
refund_failed: RowSignal[Refund] = RowSignal()  # closed, abnormal or refused: the payer has not got the money

sign_plan_signed: RowSignal[SignPlan] = RowSignal()
sign_plan_cancelled: RowSignal[SignPlan] = RowSignal()  # one that was signed: by the user, by us, with its service

service_order_paid: RowSignal[ServiceOrder] = RowSignal()  # collected, paid elsewhere, or free of charge
service_order_closed: RowSignal[ServiceOrder] = RowSignal()  # cancelled, expired or refused: it will not be paid

combine_order_paid: RowSignal[CombineOrder] = RowSignal()  # beside order_paid of each of its orders
combine_order_closed: RowSignal[CombineOrder] = RowSignal()  # closed or refused: it will not be paid

payee_authorized: RowSignal[PayeeAuthorization] = RowSignal()
payee_withdrawn: RowSignal[PayeeAuthorization] = RowSignal()  # payments to him are not possible any more

discrepancy_found: RowSignal[Discrepancy] = RowSignal()
