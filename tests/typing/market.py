"""A market where persons sell: who may be paid, and what lets him sign."""

from __future__ import annotations

from typing import Any, assert_type

from django.contrib.auth.models import User
from django.http import HttpRequest

from django_wxpay import signals
from django_wxpay.checkout import Checkout, PayeeOffer
from django_wxpay.models import PayeeAuthorization, Transition
from django_wxpay.services import payees
from django_wxpay.testing import WxpaySandbox, make_payee


class Market(Checkout):
    def payee_offer(self, request: HttpRequest) -> PayeeOffer | None:
        return PayeeOffer(merchant="market", openid="o-one")


def become_a_seller(user: User) -> dict[str, str] | None:
    payee = payees.sync(payees.enrol(openid="o-one", user=user, merchant="market"))
    assert_type(payee, PayeeAuthorization)
    assert_type(payee.individual_auth_id, str | None)
    return payees.sign_params(payee)


def with_a_card(user: User) -> dict[str, str]:
    return payees.pre_sign(payees.enrol(user=user), client="app", real_name="Wang", cred_id="1")


def hear(sender: type[PayeeAuthorization], row: PayeeAuthorization, transition: Transition, **kwargs: Any) -> None:
    print(row.payee_no, transition.to_state)


signals.payee_authorized.connect(hear)
signals.payee_withdrawn.connect(hear)


def test_a_seller(wxpay_sandbox: WxpaySandbox) -> None:
    assert_type(wxpay_sandbox.withdraw(wxpay_sandbox.payee()), PayeeAuthorization)
    assert make_payee().is_authorized
