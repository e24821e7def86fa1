"""What must be red in a shop's editor. A mark that nothing is found at is an error itself, in both checkers."""
# fmt: off

from __future__ import annotations

from typing import Any

from django_wxpay import signals
from django_wxpay.checkout import Checkout, CombineOffer, ContractOffer, PayeeOffer, SignPlanOffer
from django_wxpay.models import (
    Contract,
    Order,
    PayeeAuthorization,
    PayscorePlan,
    Refund,
    ServiceOrder,
    SignPlan,
    Transition,
)
from django_wxpay.services import (
    combine_orders,
    contracts,
    orders,
    payees,
    payscore,
    refunds,
    service_orders,
    sign_plans,
)
from django_wxpay.testing import WxpaySandbox


def amounts_and_currencies(contract: Contract, order: Order) -> None:
    orders.deduct(contract, amount="38.00", currency="HKD", description="March", reference="m-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    orders.deduct(contract, amount=38.0, currency="HKD", description="March", reference="m-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    orders.deduct(contract, amount=3800, currency=344, description="March", reference="m-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    refunds.create(order, amount="10.00", reference="r-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    order.reserve_refund("10.00")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    order.amount_total = "38.00"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def what_was_left_out(contract: Contract, order: Order) -> None:
    orders.deduct(contract, amount=3800, currency="HKD", description="March")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    orders.plan_deduction(contract, amount=3800, currency="HKD", description="March")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    orders.deduct(contract, amount=3800, description="March", reference="m-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    refunds.create(order, amount=1000)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    contracts.sign(user_display_name="Li M.")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    orders.pay_by_code(auth_code="130000000000000001", amount=100, currency="HKD", description="Tea")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def words(order: Order) -> None:
    contracts.sign(plan_id=1, user_display_name="Li M.", channel="mini-program")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ContractOffer(plan_id=1, user_display_name="Li M.", channel="wechat")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    refunds.create(order, amount=1000, reference="r-1", source="RECHARGE")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    refunds.create(order, amount=1000, reference="r-1", fund_source="REFUND_SOURCE_RECHARGE_FUNDS")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def one_kind_of_row_for_another(order: Order, refund: Refund, contract: Contract, sandbox: WxpaySandbox) -> None:
    refunds.create(refund, amount=1000, reference="r-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    orders.deduct(order, amount=3800, currency="HKD", description="March", reference="m-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    contracts.terminate(order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    refunds.sync(order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sandbox.refund(contract, 1000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def courses(plan: PayscorePlan, sign_plan: SignPlan, lesson: ServiceOrder) -> None:
    payscore.Detail("Lesson", "100.00", 10000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    payscore.create_plan(name="Swim", details=[], reference="swim-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sign_plans.sign(plan, user=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sign_plans.sign(sign_plan, openid="o-one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service_orders.start(sign_plan)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    service_orders.start(plan, reference="lesson-1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service_orders.complete(lesson, payments=9000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service_orders.complete(lesson, total_amount=9000)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    service_orders.cancel(lesson)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    service_orders.report_paid(lesson, paid_time="20260303120105")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service_orders.collect(lesson, amount=9000)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    service_orders.collect(sign_plan)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sign_plan.launch_params("fridge")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SignPlanOffer(plan=plan)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(lesson.total_amount + 1)  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand, reportUnknownArgumentType]


def sellers(payee: PayeeAuthorization, order: Order) -> None:
    payees.enrol("o-one")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    payees.pre_sign(payee, client="h5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    payees.sync(order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(payees.sign_params(payee)["package"])  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript, reportUnknownArgumentType]
    combine_orders.Part(order, 500, "Book")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    combine_orders.Part(payee, "5.00", "Book")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    combine_orders.place(parts=[], openid="o-one")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    combine_orders.close(order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    CombineOffer(parts=[], openid="o-one", reference="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    PayeeOffer(openid="o-one")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def what_may_be_none(contract: Contract, order: Order) -> None:
    print(contract.launch_params()["path"])  # type: ignore[index, typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalSubscript, reportUnknownArgumentType]
    print(order.contract.state)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    print(order.success_time.year)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    print(Order.objects.paid().first().amount_total)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


def what_is_not_there(order: Order) -> None:
    print(order.amount)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    print(Contract.objects.paid())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    orders.refund(order)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def hears_of_a_refund(sender: type[Refund], row: Refund, transition: Transition, **kwargs: Any) -> None:
    print(row.amount)


def takes_nothing_else(sender: type[Order], row: Order) -> None:
    print(row.amount_total)


signals.order_paid.connect(hears_of_a_refund)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
signals.order_paid.connect(takes_nothing_else)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Careless(Checkout):
    def contract_offer(self, request: Any, key: str) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return 1
