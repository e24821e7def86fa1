from __future__ import annotations

from typing import assert_type

from django.db import models

from django_wxpay.models import Contract, Order, Refund
from django_wxpay.models.base import WireObjectQuerySet
from django_wxpay.models.contracts import AppLaunch, MiniProgramLaunch, PageLaunch
from django_wxpay.models.orders import OrderQuerySet


class Membership(models.Model):
    name: models.CharField[str, str] = models.CharField(max_length=32)
    contract: models.OneToOneField[Contract, Contract] = models.OneToOneField(Contract, on_delete=models.PROTECT)

    class Meta:
        app_label = "typed_shop"

    def __str__(self) -> str:
        return self.name

    def launch(self) -> str:
        """The params of a contract that is not waiting for its signature are None."""
        params = self.contract.launch_params()
        assert_type(params, MiniProgramLaunch | AppLaunch | PageLaunch | None)
        if params is None:
            return "signed"
        if "path" in params:
            return params["path"]
        return params["sign_url"] if "sign_url" in params else params["session_id"]

    def is_due(self) -> bool:
        return self.contract.state == Contract.State.SIGNED and not self.contract.orders.open().exists()


def what_an_editor_knows(order: Order, refund: Refund, contract: Contract) -> None:
    assert_type(order.amount_total, int)
    assert_type(order.currency, str)
    assert_type(order.transaction_id, str | None)
    assert_type(order.payer_total, int | None)
    assert_type(order.contract, Contract | None)
    assert_type(order.refundable_amount, int)
    assert_type(order.was_known, bool)
    assert_type(order.is_paid, bool)
    assert_type(contract.orders, OrderQuerySet)
    assert_type(contract.orders.paid().first(), Order | None)
    assert_type(order.refunds.first(), Refund | None)
    assert_type(refund.order, Order)
    assert_type(refund.amount, int)
    assert_type(Order.objects.open().filter(currency="HKD").paid(), OrderQuerySet)
    assert_type(Order.objects.get(pk=1), Order)
    assert_type(Contract.objects.due(), WireObjectQuerySet[Contract])
    assert_type(Contract.objects.open().first(), Contract | None)
