"""What a shop tells us about its offers. Name your class in `WXPAY["CHECKOUT"]`.

    from django_wxpay.checkout import Checkout, ContractOffer

    class ShopCheckout(Checkout):
        def contract_offer(self, request, key):
            plan = Plan.objects.filter(slug=key, on_sale=True).first()
            if plan is None:
                return None
            member = request.user
            return ContractOffer(plan_id=plan.template, openid=member.openid, user_display_name=member.name)

Customers' endpoints take the key of an offer and nothing else: the server names plan, price, merchant and openid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from django.http import HttpRequest

    from .client.orders import Limit
    from .models import Contract, PayscorePlan

Answer: TypeAlias = Mapping[str, Any] | None  # the values of an offer; None: there is none


class UnknownOffer(LookupError):
    """There is no such offer, or not for this customer: answered with 404."""


@dataclass(frozen=True, kw_only=True)
class ContractOffer:
    """What a customer may sign; the values are those of `services.contracts.sign`.

    user_display_name: what the customer sees as the account that is charged, at most 32 characters, none of four
    bytes. openid: the only user who can sign then; under sub_appid or appid. reference: leave it out unless this
    customer may have one contract of this name for ever: the same reference always means the same row.
    """

    plan_id: int
    user_display_name: str
    openid: str = ""
    channel: Contract.ChannelWord = "mini_program"
    return_url: str = ""
    return_appid: str = ""
    user_client_ip: str = ""
    expires_in_seconds: int | None = None
    reference: str | None = None
    merchant: str = "default"
    sub_mchid: str | None = None
    sub_appid: str | None = None

    @classmethod
    def of(cls, answer: ContractOffer | Answer) -> ContractOffer:
        """What `contract_offer` returned, as an offer. Raises UnknownOffer for None."""
        if answer is None:
            raise UnknownOffer
        return answer if isinstance(answer, ContractOffer) else cls(**answer)


@dataclass(frozen=True, kw_only=True)
class QuickPayOffer:
    """What a cashier may charge; the values are those of `services.orders.pay_by_code`.

    description: shown to the payer, at most 127 characters. The amount is the cashier's, unless you cap it: return
    None, or raise UnknownOffer, for one that this cashier may not take.
    """

    description: str
    attach: str = ""
    goods_tag: str = ""
    limit_pay: Limit = ""
    device_id: str = ""
    device_ip: str = ""
    operator_id: str = ""
    store_id: str = ""
    store_name: str = ""
    store_address: str = ""
    payer_client_ip: str = ""
    detail: Mapping[str, Any] | None = None
    merchant_category_code: str = ""
    merchant: str = "default"
    sub_mchid: str | None = None
    sub_appid: str | None = None

    @classmethod
    def of(cls, answer: QuickPayOffer | Answer) -> QuickPayOffer:
        """What `quick_pay_offer` returned, as an offer. Raises UnknownOffer for None."""
        if answer is None:
            raise UnknownOffer
        return answer if isinstance(answer, QuickPayOffer) else cls(**answer)


@dataclass(frozen=True, kw_only=True)
class SignPlanOffer:
    """A PayScore plan that a customer may sign; the values are those of `services.sign_plans.sign`.

    plan: a row that is NORMAL; it says what is charged, and which merchant sells. openid: the only user who can sign.
    openid_appid: the appid it is under, the plan's own when empty. reference: leave it out unless this customer may
    sign this once for ever.
    """

    plan: PayscorePlan
    openid: str
    openid_appid: str = ""
    reference: str | None = None

    @classmethod
    def of(cls, answer: SignPlanOffer | Answer) -> SignPlanOffer:
        """What `sign_plan_offer` returned, as an offer. Raises UnknownOffer for None."""
        if answer is None:
            raise UnknownOffer
        return answer if isinstance(answer, SignPlanOffer) else cls(**answer)


@dataclass(frozen=True)
class PayeeOffer:
    """Who may let himself be paid by a platform's customers; the values are those of `services.payees.enrol`.

    openid: his, under the merchant's appid; an app leaves it out. merchant: the platform's alias in the settings.
    """

    merchant: str
    openid: str | None = None

    @classmethod
    def of(cls, answer: PayeeOffer | Answer) -> PayeeOffer:
        """What `payee_offer` returned, as an offer. Raises UnknownOffer for None."""
        if answer is None:
            raise UnknownOffer
        return answer if isinstance(answer, PayeeOffer) else cls(**answer)


@dataclass(frozen=True)
class CombineOffer:
    """What a customer may pay to individual payees at once; the values are those of `services.combine_orders.place`.

    parts: `combine_orders.Part`s, or dicts of their values: payee (a row that is authorised), amount in fen,
    description. openid: the payer's, under the merchant's appid. reference: your basket's name: the same again is the
    same payment.
    """

    parts: Sequence[Any]
    openid: str
    reference: str
    merchant: str
    client: str = "mini_program"
    trade_scenario: str = ""
    expires_in_seconds: int | None = None
    payer_client_ip: str = ""
    device_id: str = ""

    @classmethod
    def of(cls, answer: CombineOffer | Answer) -> CombineOffer:
        """What `combine_offer` returned, as an offer. Raises UnknownOffer for None."""
        if answer is None:
            raise UnknownOffer
        return answer if isinstance(answer, CombineOffer) else cls(**answer)


class Checkout:
    """Base class of a shop's checkout: it knows no offers. One is made for each request."""

    def contract_offer(self, request: HttpRequest, key: str) -> ContractOffer | Answer:
        """The contract that the signed-in customer (`request.user`) may sign under this key.

        Return a `ContractOffer` (or a dict of its values). None, or raising UnknownOffer, means 404.
        """
        return None

    def quick_pay_offer(self, request: HttpRequest, amount: int, currency: str) -> QuickPayOffer | Answer:
        """What the cashier (`request.user`) may charge a payment code with: minor units of currency.

        Return a `QuickPayOffer` (or a dict of its values). None, or raising UnknownOffer, means 404.
        """
        return None

    def sign_plan_offer(self, request: HttpRequest, key: str) -> SignPlanOffer | Answer:
        """The PayScore plan that the signed-in customer (`request.user`) may sign under this key.

        Return a `SignPlanOffer` (or a dict of its values). None, or raising UnknownOffer, means 404.
        """
        return None

    def payee_offer(self, request: HttpRequest) -> PayeeOffer | Answer:
        """Whether the signed-in person (`request.user`) may become a payee, and under which openid.

        Return a `PayeeOffer` (or a dict of its values). None, or raising UnknownOffer, means 404.
        """
        return None

    def combine_offer(self, request: HttpRequest, key: str) -> CombineOffer | Answer:
        """What the signed-in customer (`request.user`) may pay under this key: a basket, say.

        Return a `CombineOffer` (or a dict of its values). None, or raising UnknownOffer, means 404.
        """
        return None
