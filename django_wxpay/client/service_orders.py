"""PayScore service orders of sign plans: one service each, used and then charged. Mainland only; amounts are fen.

Source: APIv3 manual, "PayScore plan", payscore/sign-plan/serviceorder to create one, "PayScore", payscore/serviceorder
for the rest. Partners get an empty 204 for most: ask for the order then.
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
from .refusals import NO_SERVICE_ORDER
from .sign_plans import user_of

MOST_PAYMENTS, MOST_DISCOUNTS = 100, 30
ATTACH_LENGTH = 256  # of the percent-encoded text
PLACE_LENGTH = 50  # no page says; what others took
REASON_LENGTH = 50


class ServiceOrders(Unseen):
    """The calls about service orders; `client.service_orders`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        service_id: str,
        sign_plan_id: str,
        plan_detail_no: int,
        out_order_no: str,
        notify_url: str,
        service_introduction: str,
        time_range: Mapping[str, str],
        location: Mapping[str, str] | None = None,
        attach: str = "",
        openid: str = "",
        sub_openid: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Begin one service of a signed plan.

        sign_plan_id: WeChat Pay's number. out_order_no: the service's merchant_plan_detail_no; this call spells it
        out_trade_no. time_range: start_time, end_time (optional) as ``yyyyMMddHHmmss`` or ``yyyyMMdd`` in China, and
        their remarks of 20 characters. location: start_location, end_location. attach comes back in notifications;
        it is percent-encoded here, 256 characters at most then.
        """
        identity = self._client.identity
        body: dict[str, Any] = {
            "service_id": fields.identifier("service_id", service_id),
            "sign_plan_id": fields.identifier("sign_plan_id", sign_plan_id),
            "plan_detail_no": fields.whole("plan_detail_no", plan_detail_no, 1),
            **identity.plain_appids(sub_appid=sub_appid),
            **identity.sub_number(sub_mchid),
            **user_of(identity.is_direct, openid, sub_openid, sub_appid),
            "notify_url": fields.url("notify_url", notify_url),
            "service_introduction": fields.text("service_introduction", service_introduction, 20),
            "time_range": _time_range(time_range, begins=True),
            "out_trade_no": fields.merchant_plan_detail_no("out_order_no", out_order_no),
        }
        if place := _location(location):
            body["location"] = place
        if attach:
            body["attach"] = fields.text("attach", quote(attach, safe=""), ATTACH_LENGTH)
        partner = "" if identity.is_direct else "partner/"
        return self._client.request("POST", f"/v3/payscore/sign-plan/{partner}serviceorder", body=body)

    def query(self, *, service_id: str, out_order_no: str = "", query_id: str = "", sub_mchid: str = "") -> Answer:
        """Return a service order by our number, or by the number that the front end came back with.

        NotFound when there is none.
        """
        name, number = fields.one_of(out_order_no=out_order_no, query_id=query_id)
        checked = fields.out_order_no(name, number) if name == "out_order_no" else fields.identifier(name, number, 64)
        query: dict[str, str | int] = {name: checked, **self._parties(service_id, sub_mchid)}
        return self._client.request("GET", self._root, query=query, absent=NO_SERVICE_ORDER)

    def complete(
        self,
        *,
        out_order_no: str,
        service_id: str,
        post_payments: Sequence[Mapping[str, Any]],
        total_amount: int,
        post_discounts: Sequence[Mapping[str, Any]] = (),
        time_range: Mapping[str, str] | None = None,
        location: Mapping[str, str] | None = None,
        profit_sharing: bool | None = None,
        goods_tag: str = "",
        sub_mchid: str = "",
    ) -> Answer:
        """End a service and have its amount collected; that it was accepted is no proof of a payment.

        post_payments: 1 to 100 items with name, amount, and description and count if you like; post_discounts: at
        most 30, each with a name of its own. total_amount: payments less discounts, 0 for a service without charge.
        time_range: end_time, and start_time where it shall be another. profit_sharing: whether the payment will be
        split. The same again with the same values is harmless, with others it is refused.
        """
        body: dict[str, Any] = {
            **self._parties(service_id, sub_mchid),
            **bill_of(post_payments, post_discounts, total_amount),
        }
        if time_range:
            body["time_range"] = _time_range(time_range)
        if place := _location(location):
            body["location"] = place
        if profit_sharing is not None:
            body["profit_sharing"] = bool(profit_sharing)
        if fields.text("goods_tag", goods_tag, 32, required=False):
            body["goods_tag"] = goods_tag
        return self._write(out_order_no, "complete", body)

    def cancel(self, *, out_order_no: str, service_id: str, reason: str, sub_mchid: str = "") -> Answer:
        """Cancel a service order that is not paid; the same again with the same reason is harmless.

        reason: at most 50 characters.
        """
        body = {**self._parties(service_id, sub_mchid), "reason": fields.text("reason", reason, REASON_LENGTH)}
        return self._write(out_order_no, "cancel", body)

    def sync(self, *, out_order_no: str, service_id: str, paid_time: str, sub_mchid: str = "") -> Answer:
        """Tell WeChat Pay that the user paid another way, so that it collects no more.

        paid_time: ``yyyyMMddHHmmss`` or ``yyyyMMdd`` in China.
        """
        body = {
            **self._parties(service_id, sub_mchid),
            "type": "Order_Paid",
            "detail": {"paid_time": fields.china_time("paid_time", paid_time)},
        }
        return self._write(out_order_no, "sync", body)

    def modify(
        self,
        *,
        out_order_no: str,
        service_id: str,
        post_payments: Sequence[Mapping[str, Any]],
        total_amount: int,
        reason: str,
        post_discounts: Sequence[Mapping[str, Any]] = (),
        sub_mchid: str = "",
    ) -> Answer:
        """Lower the amount of an order that is being collected. Items as `complete`; reason: at most 50 characters."""
        body = {
            **self._parties(service_id, sub_mchid),
            **bill_of(post_payments, post_discounts, total_amount),
            "reason": fields.text("reason", reason, REASON_LENGTH),
        }
        return self._write(out_order_no, "modify", body)

    def pay(self, *, out_order_no: str, service_id: str, sub_mchid: str = "") -> Answer:
        """Ask WeChat Pay to try the collection of an order now."""
        return self._write(out_order_no, "pay", self._parties(service_id, sub_mchid))

    @property
    def _root(self) -> str:
        return "/v3/payscore/serviceorder" if self._client.identity.is_direct else "/v3/payscore/partner/serviceorder"

    def _parties(self, service_id: str, sub_mchid: str) -> dict[str, str]:
        identity = self._client.identity
        appid = {"appid": fields.appid("appid", identity.appid)} if identity.is_direct else {}
        return {**appid, **identity.sub_number(sub_mchid), "service_id": fields.identifier("service_id", service_id)}

    def _write(self, out_order_no: str, what: str, body: Mapping[str, Any]) -> Answer:
        number = quote(fields.out_order_no("out_order_no", out_order_no), safe="")
        return self._client.request("POST", f"{self._root}/{number}/{what}", body=body)


def bill_of(
    post_payments: Sequence[Mapping[str, Any]], post_discounts: Sequence[Mapping[str, Any]], total_amount: int
) -> dict[str, Any]:
    """Return what a service costs, checked: its items, its discounts and their difference, in fen."""
    payments = _items("post_payments", post_payments, MOST_PAYMENTS)
    discounts = _items("post_discounts", post_discounts, MOST_DISCOUNTS)
    if not payments:
        raise InvalidField("post_payments must have one item at least.", field="post_payments")
    names = [discount["name"] for discount in discounts]
    if len(set(names)) < len(names):
        raise InvalidField("post_discounts must have a name of its own each.", field="post_discounts")
    total = sum(item["amount"] for item in payments) - sum(item["amount"] for item in discounts)
    if total < 0:
        raise InvalidField("post_discounts are more than post_payments.", field="post_discounts")
    if fields.whole("total_amount", total_amount, 0) != total:
        raise InvalidField(f"total_amount must be payments less discounts: {total} fen.", field="total_amount")
    return {"post_payments": payments, **({"post_discounts": discounts} if discounts else {}), "total_amount": total}


def _items(name: str, given: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(given) > most:
        raise InvalidField(f"{name} has {len(given)} items, at most {most} are allowed.", field=name)
    items = []
    for place, one in enumerate(given):
        where = f"{name}[{place}]"
        item: dict[str, Any] = {
            "name": fields.text(f"{where}.name", one.get("name"), 20),
            "amount": fields.whole(f"{where}.amount", one.get("amount"), 0),
        }
        if fields.text(f"{where}.description", one.get("description", ""), 30, required=False):
            item["description"] = one["description"]
        if one.get("count") is not None:
            item["count"] = fields.whole(f"{where}.count", one["count"], 1, 100)
        items.append(item)
    return items


def _time_range(given: Mapping[str, str], *, begins: bool = False) -> dict[str, str]:
    known = {}
    for name, required in (("start_time", begins), ("end_time", not begins)):
        if checked := fields.china_time(f"time_range.{name}", given.get(name, ""), required=required):
            known[name] = checked
        remark = f"{name}_remark"
        if words := fields.text(f"time_range.{remark}", given.get(remark, ""), 20, required=False):
            known[remark] = words
    start, end = known.get("start_time", ""), known.get("end_time", "")
    if start and end and end.ljust(14, "9") < start.ljust(14, "0"):
        raise InvalidField("time_range.end_time is before start_time.", field="time_range.end_time")
    return known


def _location(given: Mapping[str, str] | None) -> dict[str, str]:
    places = {
        name: fields.text(f"location.{name}", (given or {}).get(name, ""), PLACE_LENGTH, required=False)
        for name in ("start_location", "end_location")
    }
    return {name: place for name, place in places.items() if place}
