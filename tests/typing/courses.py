"""A school that sells courses: plans, what is signed of them, and each lesson."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from django.contrib.auth.models import User
from django.http import HttpRequest

from django_wxpay import signals
from django_wxpay.checkout import Checkout, SignPlanOffer
from django_wxpay.models import Order, PayscorePlan, ServiceOrder, SignPlan, SignPlanDetail, Transition
from django_wxpay.services import payscore, refunds, service_orders, sign_plans
from django_wxpay.testing import WxpaySandbox, make_payscore_plan, make_service_order, make_sign_plan


class School(Checkout):
    def sign_plan_offer(self, request: HttpRequest, key: str) -> SignPlanOffer | None:
        plan = PayscorePlan.objects.filter(reference=key).first()
        return SignPlanOffer(plan=plan, openid="o-one") if plan is not None else None


def open_a_course(teacher: User) -> PayscorePlan:
    lessons = [payscore.Detail("Lesson 1", 10000, 10000), payscore.Detail("Lesson 2", 10000, 0, "free")]
    plan = payscore.create_plan(
        name="Swimming", details=lessons, duration_days=90, reference="swim-1", merchant="mainland", by=teacher
    )
    assert_type(plan, PayscorePlan)
    return plan


def sell(plan: PayscorePlan, customer: User) -> dict[str, Any] | None:
    sign_plan = sign_plans.sign(plan, openid="o-one", user=customer, reference="swim-1-customer-7")
    if sign_plan.state == SignPlan.State.UNSIGNED and not sign_plan.can_launch:
        sign_plan = sign_plans.renew(sign_plan)
    return sign_plan.launch_params("h5")


def teach(sign_plan: SignPlan, began: datetime, teacher: User) -> ServiceOrder:
    assert_type(sign_plan.next_detail(), SignPlanDetail | None)
    lesson = service_orders.start(sign_plan, reference="lesson-1", start_time=began, location="Pool 1", by=teacher)
    lesson = service_orders.complete(
        lesson, payments=[service_orders.Item("Lesson", 10000)], discounts=[{"name": "Rain", "amount": 500}]
    )
    assert_type(lesson.total_amount, int | None)
    return lesson


def second_thoughts(lesson: ServiceOrder, at: datetime, teacher: User) -> list[Order]:
    if lesson.is_running:
        service_orders.cancel(lesson, reason="Pool closed")
    elif lesson.is_collecting:
        service_orders.modify(lesson, payments=[service_orders.Item("Lesson", 9000)], reason="Late")
        assert_type(service_orders.collect(lesson, reference="topped-up", by=teacher), ServiceOrder)
        service_orders.report_paid(lesson, paid_time=at)
    for order in lesson.orders.all():
        refunds.create(order, amount=order.refundable_amount, reference=f"return-{order.pk}")
    return list(lesson.orders.paid())


def hear(sender: type[ServiceOrder], row: ServiceOrder, transition: Transition, **kwargs: Any) -> None:
    print(row.out_order_no, row.paid_amount, transition.to_state)


signals.service_order_paid.connect(hear)


def test_a_course(wxpay_sandbox: WxpaySandbox) -> None:
    signed = wxpay_sandbox.signed_plan(wxpay_sandbox.plan())
    assert_type(wxpay_sandbox.completed(signed), ServiceOrder)
    assert make_service_order(sign_plan=make_sign_plan(plan=make_payscore_plan())).is_running
