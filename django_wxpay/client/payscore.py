"""PayScore plans: n services that a user signs for at once. Source: APIv3 manual, "PayScore plan", payscore/plan.

Mainland only. Amounts are fen. A plan cannot be changed, nor started again once it is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refusals import NO_PLAN

NAME_LENGTH = 20  # of a plan; of a service and of its discount no page says, so the same is taken


class Payscore(Unseen):
    """The calls about plans; `client.payscore`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        service_id: str,
        merchant_plan_no: str,
        plan_name: str,
        plan_duration: int,
        deduction_quantity: int,
        total_original_price: int,
        total_actual_price: int,
        plan_detail_list: Sequence[Mapping[str, Any]],
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Create a plan; the answer is the plan in full.

        plan_duration: days, from the day on which a user signs. plan_detail_list: one for each service, in their
        order, with plan_detail_name, original_price, actual_price and plan_discount_description (optional); prices
        in fen, each at most the one before.
        """
        identity = self._client.identity
        details = plan_details(plan_detail_list)
        if fields.whole("deduction_quantity", deduction_quantity, 1) != len(details):
            raise InvalidField(
                f"plan_detail_list has {len(details)} services, deduction_quantity is {deduction_quantity}.",
                field="plan_detail_list",
            )
        totals = {"total_original_price": total_original_price, "total_actual_price": total_actual_price}
        for name, price in (("total_original_price", "original_price"), ("total_actual_price", "actual_price")):
            if fields.whole(name, totals[name], 0) != sum(detail[price] for detail in details):
                raise InvalidField(f"{name} is not the sum of each service's {price}.", field=name)
        body: dict[str, Any] = {
            "service_id": fields.identifier("service_id", service_id),
            **identity.plain_appids(sub_appid=sub_appid),
            **identity.sub_number(sub_mchid),
            "plan_name": fields.text("plan_name", plan_name, NAME_LENGTH),
            "plan_duration": fields.whole("plan_duration", plan_duration, 1),
            "deduction_quantity": deduction_quantity,
            **totals,
            "plan_detail_list": details,
            "merchant_plan_no": fields.merchant_plan_no("merchant_plan_no", merchant_plan_no),
        }
        return self._client.request("POST", self._root, body=body)

    def query(self, *, merchant_plan_no: str, sub_mchid: str = "") -> Answer:
        """Return a plan; NotFound when there is none."""
        query = self._client.identity.sub_number(sub_mchid)
        return self._client.request("GET", self._path(merchant_plan_no), query=query, absent=NO_PLAN)

    def stop(self, *, merchant_plan_no: str, sub_mchid: str = "") -> Answer:
        """Let nobody sign a plan any more; those who have signed use their services to the end."""
        body = self._client.identity.sub_number(sub_mchid)
        return self._client.request("POST", f"{self._path(merchant_plan_no)}/stop", body=body)

    @property
    def _root(self) -> str:
        partner = "" if self._client.identity.is_direct else "partner/"
        return f"/v3/payscore/plan/{partner}payscore-plans"

    def _path(self, merchant_plan_no: str) -> str:
        number = fields.merchant_plan_no("merchant_plan_no", merchant_plan_no)
        return f"{self._root}/merchant-plan-no/{quote(number, safe='')}"


def plan_details(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the services of a plan, checked: InvalidField names the first value that cannot be."""
    details: list[dict[str, Any]] = []
    for place, one in enumerate(given):
        where = f"plan_detail_list[{place}]"
        detail: dict[str, Any] = {
            "plan_detail_name": fields.text(f"{where}.plan_detail_name", one.get("plan_detail_name"), NAME_LENGTH),
            "original_price": fields.whole(f"{where}.original_price", one.get("original_price"), 0),
            "actual_price": fields.whole(f"{where}.actual_price", one.get("actual_price"), 0),
        }
        name, discount = f"{where}.plan_discount_description", one.get("plan_discount_description", "")
        if fields.text(name, discount, NAME_LENGTH, required=False):
            detail["plan_discount_description"] = discount
        name = f"{where}.actual_price"
        if detail["actual_price"] > detail["original_price"]:
            raise InvalidField(f"{name} is more than the original price.", field=name)
        if details and detail["actual_price"] > details[-1]["actual_price"]:
            raise InvalidField(f"{name} is more than that of the service before: prices never rise.", field=name)
        details.append(detail)
    return details
