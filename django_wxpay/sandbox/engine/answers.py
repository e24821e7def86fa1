"""What a handler gives back: a `Reply`, or a `Refused`, and the two ways a connection can break."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

# The last part of Request-ID is an internal reason; only some are published.
REASONS = {"SIGN_ERROR": 270283348, "PARAM_ERROR": 268435461, "ORDER_NOT_EXIST": 268512771, "NOT_ENOUGH": 88430113}
NO_ACCEPTANCE_RELATION = 268443701
CODE_USED_ALREADY = 268501784
REVERSE_TOO_LATE = 268449386
OTHER_REASON = 268435456

CHINESE = {
    "SIGN_ERROR": "签名错误",
    "PARAM_ERROR": "参数错误",
    "SYSTEM_ERROR": "系统错误",
    "ORDER_NOT_EXIST": "订单不存在",
    "CONTRACT_NOT_EXIST": "签约不存在",
    "RESOURCE_NOT_EXISTS": "资源不存在",
    "REFUND_NOT_EXISTS": "退款单不存在",
    "NOT_ENOUGH": "余额不足",
    "NO_AUTH": "没有权限",
    "RULE_LIMIT": "业务规则限制",
    "FREQUENCY_LIMITED": "频率限制",
    "INVALID_REQUEST": "无效请求",
    "ORDER_PAID": "订单已支付",
    "ORDER_CLOSED": "订单已关闭",
    "OUT_TRADE_NO_USED": "商户订单号重复",
    "NO_STATEMENT_EXIST": "账单文件不存在",
    "USERPAYING": "用户支付中，需要输入密码",
}


class SandboxConnectionError(ConnectionError):
    """The sandbox breaks the connection on purpose. As a process it closes the socket; in process it is raised."""


class LostAnswer(SandboxConnectionError):
    """The request was carried out, its answer never arrives. ``timed_out`` when the client waited in vain."""

    def __init__(self, message: str = "the answer was lost", *, timed_out: bool = True) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class ConnectionClosed(SandboxConnectionError):
    """The connection was closed before anything was done."""


class Refused(Exception):
    """An error answer: ``{"code", "message", "detail"}`` with an HTTP status. ``verbatim``: never translated."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: dict[str, Any] | None = None,
        reason: int = 0,
        verbatim: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.detail = status, code, message, detail
        self.reason = reason or REASONS.get(code, OTHER_REASON)
        self.verbatim = verbatim

    def body(self, accept_language: str) -> bytes:
        chinese = not self.verbatim and accept_language.lower().startswith("zh") and self.code in CHINESE
        answer: dict[str, Any] = {"code": self.code, "message": CHINESE[self.code] if chinese else self.message}
        if self.detail is not None:
            answer["detail"] = self.detail
        return dump(answer)


@dataclass
class Reply:
    """A success. ``signed_body`` differs from ``body`` only for statements; ``cut`` breaks the connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    signed_body: bytes | None = None
    content_type: str = "application/json"
    stream: Any = None
    cut: SandboxConnectionError | None = None


def ok(data: dict[str, Any]) -> Reply:
    return Reply(200, dump(data))


def no_content() -> Reply:
    return Reply(204)


def dump(data: Any) -> bytes:
    """Write JSON once; these bytes are signed and sent. What is None is left out of objects.

    Half a character, which UTF-8 cannot write, becomes the escape that JSON has for it.
    """
    return json.dumps(without_none(data), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: without_none(value) for name, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_none(value) for value in data]
    return data
