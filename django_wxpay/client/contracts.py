"""Auto-debit contracts: pre-sign, query, terminate. Source: APIv3 manual, "Auto-debit", papay/contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from . import fields
from .answers import Answer
from .base import BaseClient
from .errors import InvalidField, OutcomeUnknown
from .privacy import Unseen, unseen
from .refusals import NO_CONTRACT

_ROOT = "/v3/global/papay/contracts"

# channel -> last part of the path, and the optional fields it takes.
CHANNELS = {
    "mini_program": ("miniprogram-pre-entrust-sign", {"openid", "user_client_ip"}),
    "app": ("app-pre-entrust-sign", {"openid", "user_client_ip"}),
    "jsapi": ("jsapi-pre-entrust-sign", {"openid", "return_url"}),
    "h5": ("h5-pre-entrust-sign", {"user_client_ip", "return_url", "return_appid"}),
    "web": ("web-pre-entrust-sign", {"return_url"}),
}


class Contracts(Unseen):
    """The calls about contracts; `client.contracts`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def pre_sign(
        self,
        *,
        channel: str,
        plan_id: int,
        out_contract_code: str,
        user_display_name: str,
        success_notify_url: str,
        openid: str = "",
        user_client_ip: str = "",
        expired_time: str = "",
        return_url: str = "",
        return_appid: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> Answer:
        """Open a signing session in which the user may sign a contract.

        channel: ``mini_program``, ``app``, ``jsapi``, ``h5`` or ``web``; it decides which of the optional
        fields may be given. expired_time: RFC 3339, end of this session. Asked again before signing, WeChat
        Pay opens another session for the same ``out_contract_code``.

        The answer's data has ``session_id`` (mini program, app) or ``sign_url`` (the others; for web the
        manual calls it ``show_code_url``: a page with a QR code). Keep a URL's fragment.
        """
        optional = for_channel(
            channel,
            openid=openid, user_client_ip=user_client_ip, return_url=return_url, return_appid=return_appid,
        )  # fmt: skip
        identity = self._client.identity
        body: dict[str, Any] = {
            **identity.appids(sub_appid=sub_appid),
            **identity.sub_number(sub_mchid),
            "plan_id": fields.whole("plan_id", plan_id, 1),
            "out_contract_code": fields.out_contract_code("out_contract_code", out_contract_code),
            "user_display_name": fields.text("user_display_name", user_display_name, 32),
            "success_notify_url": fields.url("success_notify_url", success_notify_url),
        }
        body.update(optional)
        if fields.moment("expired_time", expired_time):
            body["expired_time"] = expired_time
        answer = self._client.request("POST", f"{_ROOT}/{CHANNELS[channel][0]}", body=body)
        return _with_session(answer)

    def query(self, *, contract_id: str, sub_mchid: str = "", sub_appid: str = "") -> Answer:
        """Return a contract by WeChat Pay's number; NotFound when there is none (or it is not signed yet)."""
        fields.identifier("contract_id", contract_id, 64)
        query = self._parties(sub_mchid, sub_appid)
        return self._client.request("GET", f"{_ROOT}/{contract_id}", query=query, absent=NO_CONTRACT)

    def query_by_code(
        self, *, out_contract_code: str, plan_id: int, sub_mchid: str = "", sub_appid: str = ""
    ) -> Answer:
        """Return a contract by the merchant's number; NotFound when nobody signed it (yet)."""
        fields.out_contract_code("out_contract_code", out_contract_code)
        query: dict[str, str | int] = {
            "plan_id": fields.whole("plan_id", plan_id, 1),
            **self._parties(sub_mchid, sub_appid),
        }
        path = f"{_ROOT}/out-contract-code/{quote(out_contract_code, safe='')}"
        return self._client.request("GET", path, query=query, absent=NO_CONTRACT)

    def terminate(self, *, contract_id: str, termination_note: str, sub_mchid: str = "", sub_appid: str = "") -> Answer:
        """End a contract; 204. Repeats are harmless: NotFound may mean that it was ended before, so query.

        termination_note: why, at most 256 characters, one line.
        """
        fields.identifier("contract_id", contract_id, 64)
        body = {
            **self._parties(sub_mchid, sub_appid),
            "termination_note": fields.text("termination_note", termination_note, 256),
        }
        return self._client.request("POST", f"{_ROOT}/{contract_id}/terminate", body=body, absent=NO_CONTRACT)

    def _parties(self, sub_mchid: str, sub_appid: str) -> dict[str, str]:
        identity = self._client.identity
        return {**identity.appids(sub_appid=sub_appid), **identity.sub_number(sub_mchid)}


@unseen
def for_channel(
    channel: str, *, openid: str = "", user_client_ip: str = "", return_url: str = "", return_appid: str = ""
) -> dict[str, str]:
    """Return the optional fields that are given, checked. InvalidField for one the channel does not take."""
    fields.choice("channel", channel, CHANNELS)
    checked = {
        "openid": fields.identifier("openid", openid, 128, required=False),
        "user_client_ip": fields.ip("user_client_ip", user_client_ip),
        "return_url": fields.url("return_url", return_url, required=False, query=True),
        "return_appid": fields.appid("return_appid", return_appid, required=False),
    }
    given = {name: value for name, value in checked.items() if value}
    for name in given:
        if name not in CHANNELS[channel][1]:
            raise InvalidField(f"{name} has no meaning for the channel {channel}.", field=name)
    return given


def _with_session(answer: Answer) -> Answer:
    # The web channel's address has two names (show_code_url, sign_url); callers see one.
    data = dict(answer.data or {})
    if address := data.get("show_code_url"):
        data.setdefault("sign_url", address)
    if not (data.get("session_id") or data.get("sign_url")):
        raise OutcomeUnknown(
            "The answer to pre-signing has neither session_id nor sign_url.",
            status=answer.status,
            request_id=answer.request_id,
        )
    return replace(answer, data=data)
