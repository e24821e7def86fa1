from __future__ import annotations

from datetime import date

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404

from django_wxpay.client.errors import APIError, OutcomeUnknown, WxPayError
from django_wxpay.exceptions import RefundTooLarge
from django_wxpay.models import Contract, Order, Refund
from django_wxpay.services import bills, contracts, orders, refunds, settlements, timeline


def join(request: HttpRequest, user: User) -> HttpResponse:
    contract = contracts.sign(plan_id=12345, user_display_name=user.first_name, user=user, channel=Contract.Channel.H5)
    return JsonResponse({"launch": contract.launch_params(), "number": contract.out_contract_code})


def charge(contract: Contract, month: str) -> Order | None:
    try:
        return orders.deduct(
            contract, amount=3800, currency="HKD", description=month, reference=f"{contract.pk}-{month}"
        )
    except APIError as error:
        print(error.code, error.status)
    except OutcomeUnknown:
        pass
    return None


def leave(request: HttpRequest, pk: int, user: User) -> HttpResponse:
    contract = contracts.terminate(get_object_or_404(Contract, pk=pk), note="Bye", by=user)
    return HttpResponse(contract.state)


def give_back(order: Order, user: User) -> Refund:
    refund = refunds.create(
        order, amount=order.refundable_amount, reference="return-1", reason="Broken", by=user,
        source="REFUND_SOURCE_RECHARGE_FUNDS",
    )  # fmt: skip
    return refunds.sync(refund)


def give_back_later(order: Order) -> int:
    try:
        refund = refunds.plan_refund(order, amount=100, reference="return-2", source=Refund.FundSource.UNSETTLED)
    except RefundTooLarge as error:
        return error.refundable_amount
    return refund.order.refundable_amount


def till(code: str, cents: int) -> str:
    order = orders.pay_by_code(
        auth_code=code, amount=cents, currency="HKD", description="Tea", reference="till-1", device_ip="203.0.113.7"
    )
    if order.was_known:
        return "the same again"
    order = orders.advance_till(order)
    return "paid" if order.is_paid else orders.reverse(order).state


def accounts(day: date, order: Order) -> list[str]:
    bill = bills.download_statement(day)
    lines = [f"{row.transaction_id} {row.amount('amount_total')}" for row in bills.rows(bill)]
    settlements.fetch(start=day, end=day)
    return [*lines, *(f"{entry.at:%H:%M} {entry.kind}" for entry in timeline.of(order))]


def again(order: Order) -> Order:
    try:
        return orders.retry_deduction(order)
    except WxPayError:
        return orders.sync(order)
