"""What a shop can listen to.

Every signal is sent after the commit of what it tells, by `engine.transitions`, once for the database: a receiver
runs in a transaction that also marks the transition as delivered. Outside effects (an e-mail, a call) happen at
least once; `transition.pk` is the key to recognise a repeat. A receiver that raises is tried again later.

Receivers take `sender` (the model), `row` and `transition`. They connect in `AppConfig.ready()`, do no network
work, and ask for money with the `plan_…` services, which join their transaction.
"""

from django.dispatch import Signal

state_changed = Signal()  # every transition, before the one with a name

contract_signed = Signal()
contract_terminated = Signal()

order_paid = Signal()
order_closed = Signal()  # closed, reversed, failed or refused: it will not be paid

refund_succeeded = Signal()
refund_failed = Signal()  # closed, abnormal or refused: the payer has not got the money

discrepancy_found = Signal()
