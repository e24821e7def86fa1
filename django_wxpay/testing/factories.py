"""Rows made directly, in any state, without WeChat Pay. For rows that went all the way see `WxpaySandbox`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from .. import conf
from ..engine.numbers import new_number
from ..models import (
    Contract,
    Order,
    PayeeAuthorization,
    PayscorePlan,
    PayscorePlanDetail,
    Refund,
    ServiceOrder,
    SignPlan,
    SignPlanDetail,
)


def _merchant(alias: str) -> dict[str, Any]:
    merchant = conf.merchant(alias)
    return {
        "merchant": merchant.alias,
        "mchid": merchant.mchid,
        "appid": merchant.appid,
        "sub_mchid": merchant.sub_mchid,
        "sub_appid": merchant.sub_appid,
    }


def make_contract(*, merchant: str = "default", state: str = "SIGNED", **values: Any) -> Contract:
    """A contract; SIGNED unless told otherwise."""
    known: dict[str, Any] = {
        "out_contract_code": new_number(),
        "plan_id": 12345,
        "openid": "o-synthetic-0001",
        "user_display_name": "Li M.",
        "expired_time": timezone.now() + timedelta(hours=1),
    }
    if state in ("SIGNED", "TERMINATED"):
        known |= {"contract_id": new_number(), "signed_time": timezone.now()}
    else:
        known["session_id"] = new_number()
    return Contract.objects.create(**_merchant(merchant) | known | {"state": state} | values)


def make_order(*, merchant: str = "default", state: str = "SUCCESS", **values: Any) -> Order:
    """An order; a paid deduction of 38.00 HKD unless told otherwise."""
    known: dict[str, Any] = {
        "product": Order.Product.PAPAY,
        "reference": new_number(),
        "out_trade_no": new_number(),
        "description": "March plan",
        "amount_total": 3800,
        "currency": "HKD",
    }
    if state in Order.PAID:
        known |= {"transaction_id": new_number(), "success_time": timezone.now()}
    if "contract" not in values:
        known["contract"] = make_contract(merchant=merchant)
    return Order.objects.create(**_merchant(merchant) | known | {"state": state} | values)


def make_payee(*, merchant: str = "mainland", state: str = "AUTHORIZED", **values: Any) -> PayeeAuthorization:
    """An individual payee; authorised unless told otherwise."""
    number = new_number()
    known: dict[str, Any] = {"payee_no": number, "openid": f"o-{number}"[:28]}
    if state == "AUTHORIZED":
        known |= {"individual_auth_id": number, "operation_time": timezone.now()}
    return PayeeAuthorization.objects.create(**_merchant(merchant) | known | {"state": state} | values)


def make_payscore_plan(*, merchant: str = "mainland", state: str = "NORMAL", **values: Any) -> PayscorePlan:
    """A PayScore plan of three services, 100.00, 50.00 and nothing; users can sign it unless told otherwise."""
    prices = ((10000, 10000), (10000, 5000), (10000, 0))
    known: dict[str, Any] = {
        "merchant_plan_no": new_number(),
        "service_id": "00002000000000000000000000000001",
        "plan_name": "Three lessons",
        "plan_duration": 90,
        "deduction_quantity": len(prices),
        "total_original_price": 30000,
        "total_actual_price": 15000,
    }
    if state in ("NORMAL", "STOP"):
        known["plan_id"] = new_number()
    plan = PayscorePlan.objects.create(**_merchant(merchant) | known | {"state": state} | values)
    PayscorePlanDetail.objects.bulk_create(
        PayscorePlanDetail(
            plan=plan, plan_detail_no=no, plan_detail_name=f"Lesson {no}", original_price=original, actual_price=actual
        )
        for no, (original, actual) in enumerate(prices, 1)
    )
    return plan


def make_sign_plan(*, plan: PayscorePlan | None = None, state: str = "SIGNED", **values: Any) -> SignPlan:
    """A sign plan with its services, none of them used; SIGNED unless told otherwise."""
    plan = plan or make_payscore_plan()
    own = {name: getattr(plan, name) for name in ("merchant", "mchid", "sub_mchid", "appid", "sub_appid", *_OF_PLAN)}
    known: dict[str, Any] = {
        "plan": plan,
        "openid": "o-synthetic-0001",
        "merchant_sign_plan_no": new_number(),
        "sign_plan_id": new_number(),
    }
    if state == "SIGNED":
        known |= {"sign_time": timezone.now(), "plan_over_time": timezone.now() + timedelta(days=plan.plan_duration)}
    if state == "UNSIGNED":
        known |= {"package": "synthetic+/=", "package_expires": timezone.now() + timedelta(hours=2)}
    sign_plan = SignPlan.objects.create(**own | known | {"state": state} | values)
    SignPlanDetail.objects.bulk_create(
        SignPlanDetail(
            sign_plan=sign_plan, mchid=sign_plan.mchid, plan_detail_no=one.plan_detail_no,
            merchant_plan_detail_no=new_number(), plan_detail_name=one.plan_detail_name,
            original_price=one.original_price, actual_price=one.actual_price,
        )
        for one in plan.details.all()
    )  # fmt: skip
    return sign_plan


def make_service_order(*, sign_plan: SignPlan | None = None, state: str = "DOING", **values: Any) -> ServiceOrder:
    """A service order of a sign plan's first service that has none; in use unless told otherwise."""
    sign_plan = sign_plan or make_sign_plan()
    detail = values.pop("detail", None) or sign_plan.details.filter(service_order=None)[0]
    own = {name: getattr(sign_plan, name) for name in ("merchant", "mchid", "sub_mchid", "appid", "sub_appid")}
    known: dict[str, Any] = {
        "sign_plan": sign_plan,
        "detail": detail,
        "user": sign_plan.user,
        "reference": new_number(),
        "out_order_no": detail.merchant_plan_detail_no,
        "service_id": sign_plan.service_id,
        "service_introduction": detail.plan_detail_name,
        "start_time": timezone.now(),
    }
    if state != "PLANNED":
        known["order_id"] = new_number()
    if state == "DOING":
        known["state_description"] = "USER_CONFIRM"
    return ServiceOrder.objects.create(**own | known | {"state": state} | values)


_OF_PLAN = ("service_id", "plan_name", "deduction_quantity", "total_original_price", "total_actual_price")


def make_refund(*, order: Order | None = None, state: str = "PROCESSING", amount: int = 1000, **values: Any) -> Refund:
    """A refund of an order, reserved on it as a real one would be."""
    order = order or make_order()
    own = {name: getattr(order, name) for name in ("merchant", "mchid", "sub_mchid", "appid", "sub_appid")}
    known = {"reference": new_number(), "out_refund_no": new_number(), "currency": order.currency}
    refund = Refund.objects.create(**own | known | {"order": order, "amount": amount, "state": state} | values)
    if state not in Refund.GIVES_BACK:
        order.change_reserved(amount)
    return refund
