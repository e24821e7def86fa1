"""Combined orders: one payment of a mini program or an app that goes to up to ten payees. Mainland only; fen.

Source: APIv3 manual, "Payments to individuals", /v3/combine-transactions.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from . import crypto, fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField, OutcomeUnknown
from .privacy import Unseen
from .refusals import NO_ORDER

_ROOT = "/v3/combine-transactions"
CLIENTS = {"mini_program": "miniprogram", "app": "app"}
MOST_SUB_ORDERS = 10
DESCRIPTION_LENGTH = 127
NAME_LENGTH = 64  # of a payee's nickname: no page says
ATTACH_LENGTH = 128
# Named by the guide, and by no reference page: sent only where the shop gives them.
_OF_THE_GUIDE = {"transfer_scene": str, "goods_tag": str, "detail": dict, "settle_info": dict}
_OWN = frozenset(
    (
        "out_trade_no", "individual_auth_id", "amount", "currency", "description", "attach", "individual_name",
        "order_service_type", *_OF_THE_GUIDE,
    )
)  # fmt: skip


class CombineOrders(Unseen):
    """The calls about combined orders; `client.combine_orders`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        combine_out_trade_no: str,
        openid: str,
        sub_orders: Sequence[Mapping[str, Any]],
        notify_url: str,
        client: str = "mini_program",
        time_expire: str = "",
        time_start: str = "",
        trade_scenario: str = "",
        payer_client_ip: str = "",
        device_id: str = "",
    ) -> Answer:
        """Open a payment; the answer's ``prepay_id`` is good for two hours, the same again gives it anew.

        openid: the payer's, under our appid. sub_orders: 1 to 10 with out_trade_no, individual_auth_id, amount (fen),
        currency (CNY) and description; attach, individual_name and order_service_type (INDIVIDUALTRADE) if you like.
        time_expire: RFC 3339. trade_scenario: RECOMMERCE, TIP, or what WeChat Pay names next. payer_client_ip: of who
        pays.
        """
        fields.choice("client", client, CLIENTS)
        body: dict[str, Any] = {
            **self._parties(),
            "combine_out_trade_no": fields.identifier("combine_out_trade_no", combine_out_trade_no),
            "combine_payer_info": {"openid": fields.identifier("openid", openid, 128)},
            "sub_orders": self._sub_orders(sub_orders),
            "notify_url": fields.url("notify_url", notify_url, 255),
        }
        for name, value in (("time_start", time_start), ("time_expire", time_expire)):
            if checked := fields.moment(name, value):
                body[name] = checked
        if fields.text("trade_scenario", trade_scenario, 32, required=False):
            body["trade_scenario"] = trade_scenario
        if payer_client_ip or device_id:
            scene = {"payer_client_ip": fields.ip("scene_info.payer_client_ip", payer_client_ip, required=True)}
            if fields.text("scene_info.device_id", device_id, 16, required=False):
                scene["device_id"] = device_id
            body["scene_info"] = scene
        return self._client.request("POST", f"{_ROOT}/{CLIENTS[client]}", body=body)

    def query(self, *, combine_out_trade_no: str = "", combine_transaction_id: str = "") -> Answer:
        """Return a payment with all its sub-orders, by our number or by WeChat Pay's; NotFound when there is none."""
        name, number = fields.one_of(
            combine_out_trade_no=combine_out_trade_no, combine_transaction_id=combine_transaction_id
        )
        below = "out-trade-no" if name == "combine_out_trade_no" else "id"
        return self._client.request(
            "GET", f"{_ROOT}/{below}/{quote(fields.identifier(name, number), safe='')}", absent=NO_ORDER
        )

    def close(self, *, combine_out_trade_no: str, sub_orders: Sequence[Mapping[str, str]]) -> Answer:
        """Close a payment that is not paid. sub_orders: each that was sent, with out_trade_no and individual_auth_id.

        Only a 204 says that it is closed. OutcomeUnknown with code USERPAYING while the payer is paying: ask about it
        after some seconds.
        """
        number = quote(fields.identifier("combine_out_trade_no", combine_out_trade_no), safe="")
        listed = [self._named(place, one) for place, one in enumerate(_as_many(sub_orders))]
        body = {"combine_appid": self._parties()["combine_appid"], "sub_orders": listed}
        answer = self._client.request("POST", f"{_ROOT}/out-trade-no/{number}/close", body=body, absent=NO_ORDER)
        if answer.status != 204:
            code = str((answer.data or {}).get("code", ""))[:64]
            raise OutcomeUnknown(
                f"HTTP {answer.status} {code}: it is not closed yet.",
                code=code,
                status=answer.status,
                request_id=answer.request_id,
            )
        return answer

    def payment_params(self, *, prepay_id: str) -> dict[str, str]:
        """Return what ``wx.requestPayment`` takes, signed now, for one use. Nothing is sent.

        Source: APIv3 manual, "Mini program: open payment".
        """
        begun = {
            "appid": self._parties()["combine_appid"],
            "timeStamp": str(int(self._client.clock())),
            "nonceStr": secrets.token_hex(16),
            "package": f"prepay_id={fields.text('prepay_id', prepay_id, 64)}",
        }
        message = "".join(f"{line}\n" for line in begun.values()).encode()
        del begun["appid"]
        return begun | {"signType": "RSA", "paySign": crypto.sign(self._client.identity.private_key, message)}

    def _parties(self) -> dict[str, str]:
        identity = self._client.identity
        return {"combine_appid": fields.appid("appid", identity.appid), "combine_mchid": identity.mchid}

    def _sub_orders(self, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        listed = [self._sub_order(place, one) for place, one in enumerate(_as_many(given))]
        numbers = [one["out_trade_no"] for one in listed]
        if len(set(numbers)) < len(numbers):
            raise InvalidField("sub_orders must have an out_trade_no of its own each.", field="sub_orders")
        return listed

    def _sub_order(self, place: int, one: Mapping[str, Any]) -> dict[str, Any]:
        where = f"sub_orders[{place}]"
        if unknown := sorted(set(one) - _OWN):
            raise InvalidField(f"{where}.{unknown[0]} is not known.", field=f"{where}.{unknown[0]}")
        named = self._named(place, one)
        currency = fields.choice(f"{where}.currency", one.get("currency", "CNY"), ("CNY",))
        sub: dict[str, Any] = {
            **named,
            "amount": {
                "total_amount": fields.amount(f"{where}.amount", one.get("amount")),
                "currency": currency,
            },
            "description": fields.text(f"{where}.description", one.get("description"), DESCRIPTION_LENGTH),
            # The guide leaves it out, the schema wants it: its own number does no harm.
            "attach": fields.text(f"{where}.attach", one.get("attach") or named["out_trade_no"], ATTACH_LENGTH),
        }
        for name, length in (("individual_name", NAME_LENGTH), ("order_service_type", 32)):
            if checked := fields.text(f"{where}.{name}", one.get(name, ""), length, required=False):
                sub[name] = checked
        for name, kind in _OF_THE_GUIDE.items():
            value = one.get(name)
            if value in (None, "", {}):
                continue
            if not isinstance(value, kind):
                raise InvalidField(f"{where}.{name} must be {_SAID[kind]}.", field=f"{where}.{name}")
            sub[name] = fields.text(f"{where}.{name}", value, 32) if isinstance(value, str) else value
        return sub

    def _named(self, place: int, one: Mapping[str, Any]) -> dict[str, str]:
        where = f"sub_orders[{place}]"
        return {
            "mchid": self._client.identity.mchid,
            "individual_auth_id": fields.identifier(f"{where}.individual_auth_id", one.get("individual_auth_id", "")),
            "out_trade_no": fields.identifier(f"{where}.out_trade_no", one.get("out_trade_no", "")),
        }


_SAID = {str: "text", dict: "a mapping"}


def _as_many(given: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not 1 <= len(given) <= MOST_SUB_ORDERS:
        raise InvalidField(
            f"sub_orders has {len(given)} entries; 1 to {MOST_SUB_ORDERS} are possible.", field="sub_orders"
        )
    return given
