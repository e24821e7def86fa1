"""Plans that users sign. Source: APIv3 manual, "PayScore plan", payscore/sign-plan/user-sign-plans. Mainland only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField
from .privacy import Unseen
from .refusals import NO_SIGN_PLAN


class SignPlans(Unseen):
    """The calls about sign plans; `client.sign_plans`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def create(
        self,
        *,
        service_id: str,
        plan_id: str,
        merchant_sign_plan_no: str,
        notify_url: str,
        sign_plan_detail: Sequence[Mapping[str, Any]],
        openid: str = "",
        sub_openid: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Make a plan ready for one user to sign.

        plan_id: WeChat Pay's number of the plan. sign_plan_detail: for each service of the plan, in order, its
        plan_detail_no (1, 2, …) and our merchant_plan_detail_no, which becomes the number of its service order.
        openid: the only user who can sign, under appid; for partners either this or sub_openid, under sub_appid.

        The answer's data has ``sign_plan`` and ``package``, what opens the page to sign, for two hours.
        """
        identity = self._client.identity
        body: dict[str, Any] = {
            "service_id": fields.identifier("service_id", service_id),
            "plan_id": fields.identifier("plan_id", plan_id),
            **identity.plain_appids(sub_appid=sub_appid),
            **identity.sub_number(sub_mchid),
            **user_of(identity.is_direct, openid, sub_openid, sub_appid),
            "merchant_sign_plan_no": fields.merchant_sign_plan_no("merchant_sign_plan_no", merchant_sign_plan_no),
            "notify_url": fields.url("notify_url", notify_url, 1024),
            "sign_plan_detail": _details(sign_plan_detail),
        }
        return self._client.request("POST", self._root, body=body)

    def query(self, *, merchant_sign_plan_no: str, sub_mchid: str = "") -> Answer:
        """Return a sign plan, without the package; NotFound when there is none."""
        query = self._client.identity.sub_number(sub_mchid)
        return self._client.request("GET", self._path(merchant_sign_plan_no), query=query, absent=NO_SIGN_PLAN)

    def cancel(self, *, merchant_sign_plan_no: str, stop_reason: str, sub_mchid: str = "") -> Answer:
        """Cancel a sign plan: what is not used of it never will be, what is in use goes on to its end."""
        body = {
            **self._client.identity.sub_number(sub_mchid),
            "stop_reason": fields.text("stop_reason", stop_reason, 128),
        }
        return self._client.request("POST", f"{self._path(merchant_sign_plan_no)}/stop", body=body)

    @property
    def _root(self) -> str:
        partner = "" if self._client.identity.is_direct else "partner/"
        return f"/v3/payscore/sign-plan/{partner}user-sign-plans"

    def _path(self, merchant_sign_plan_no: str) -> str:
        number = fields.merchant_sign_plan_no("merchant_sign_plan_no", merchant_sign_plan_no)
        return f"{self._root}/merchant-sign-plan-no/{quote(number, safe='')}"


def user_of(is_direct: bool, openid: str, sub_openid: str, sub_appid: str) -> dict[str, str]:
    """Return who signs: ``openid``, or a partner's ``sub_openid``. InvalidField unless it is one of them."""
    if is_direct and sub_openid:
        raise InvalidField("sub_openid has no meaning in direct mode.", field="sub_openid")
    name, value = fields.one_of(openid=openid, sub_openid=sub_openid)
    if name == "sub_openid" and not sub_appid:
        raise InvalidField("sub_openid is under sub_appid, which is missing.", field="sub_appid")
    return {name: fields.identifier(name, value, 128)}


def _details(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not given:
        raise InvalidField("sign_plan_detail must name each service of the plan.", field="sign_plan_detail")
    details: list[dict[str, Any]] = []
    for place, one in enumerate(given):
        where = f"sign_plan_detail[{place}]"
        name = f"{where}.plan_detail_no"
        if fields.whole(name, one.get("plan_detail_no"), 1) != place + 1:
            raise InvalidField(f"{name} must be {place + 1}: every service of the plan, in its order.", field=name)
        name = f"{where}.merchant_plan_detail_no"
        number = fields.merchant_plan_detail_no(name, one.get("merchant_plan_detail_no"))
        if number in [detail["merchant_plan_detail_no"] for detail in details]:
            raise InvalidField(f"{name} is that of an earlier service, too.", field=name)
        details.append({"plan_detail_no": place + 1, "merchant_plan_detail_no": number})
    return details
