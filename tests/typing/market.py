"""A market where persons sell: who may be paid, and what lets him sign."""

from __future__ import annotations

from typing import Any, assert_type

from django.contrib.auth.models import User
from django.http import HttpRequest

from django_wxpay import signals
from django_wxpay.checkout import Checkout, CombineOffer, PayeeOffer
from django_wxpay.models import CombineOrder, PayeeAuthorization, Refund, Transition
from django_wxpay.services import combine_orders, payees, refunds
from django_wxpay.testing import WxpaySandbox, make_payee


class Market(Checkout):
    def payee_offer(self, request: HttpRequest) -> PayeeOffer | None:
        return PayeeOffer(merchant="market", openid="o-one")


def become_a_seller(user: User) -> dict[str, str] | None:
    payee = payees.sync(payees.enrol(openid="o-one", user=user, merchant="market"))
    assert_type(payee, PayeeAuthorization)
    assert_type(payee.individual_auth_id, str | None)
    return payees.sign_params(payee)


class Baskets(Checkout):
    def combine_offer(self, request: HttpRequest, key: str) -> CombineOffer | None:
        payee = PayeeAuthorization.objects.filter(payee_no=key).first()
        if payee is None:
            return None
        part = combine_orders.Part(payee, 500, "Book", attach="7")
        return CombineOffer(parts=[part], openid="o-buyer", reference=key, merchant="market")


def pay(seller: PayeeAuthorization, buyer: User) -> dict[str, str] | None:
    order = combine_orders.place(
        parts=[combine_orders.Part(seller, 500, "Book"), {"payee": seller, "amount": 5, "description": "Bag"}],
        openid="o-buyer", reference="basket-1", user=buyer, trade_scenario="TIP", merchant="market",
    )  # fmt: skip
    assert_type(order, CombineOrder)
    if order.state == CombineOrder.State.CLOSED:
        order = combine_orders.place_again(order, by=buyer)
    return combine_orders.payment_params(order)


def give_back(order: CombineOrder) -> list[Refund]:
    if not order.is_paid:
        combine_orders.close(order)
    return [
        refunds.create(one, amount=one.refundable_amount, reference=f"return-{one.pk}", source="PREPAID")
        for one in order.orders.paid()
    ]


def with_a_card(user: User) -> dict[str, str]:
    return payees.pre_sign(payees.enrol(user=user), client="app", real_name="Wang", cred_id="1")


def hear(sender: type[PayeeAuthorization], row: PayeeAuthorization, transition: Transition, **kwargs: Any) -> None:
    print(row.payee_no, transition.to_state)


signals.payee_authorized.connect(hear)
signals.payee_withdrawn.connect(hear)


def test_a_seller(wxpay_sandbox: WxpaySandbox) -> None:
    assert_type(wxpay_sandbox.withdraw(wxpay_sandbox.payee()), PayeeAuthorization)
    assert make_payee().is_authorized
    assert_type(wxpay_sandbox.pay_combined(wxpay_sandbox.combined(500, 5)), CombineOrder)
