"""What an answer outside 2xx means: the codes of the manuals, and the error that each of them becomes.

Codes are compared without underscores (`errors.normal_code`). Their HTTP status differs between pages and calls, so
the code decides where there is one that is known.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .answers import RawAnswer, error_of, retry_after
from .errors import APIError, NotFound, OutcomeUnknown, RateLimited, SetupError, WxPayError, normal_code
from .privacy import masked, masked_detail

# What one call, and only this call, takes for "the very thing that was asked about is not there".
NO_CONTRACT = ("CONTRACT_NOT_EXIST",)
NO_ORDER = ("ORDER_NOT_EXIST",)
NO_REFUND = ("REFUND_NOT_EXISTS", "RESOURCE_NOT_EXISTS")
NO_SERVICE_ORDER = ("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS")
# No page names the code of a plan or a sign plan that is not there.
NO_PLAN = NO_SIGN_PLAN = ("RESOURCE_NOT_EXISTS", "ORDER_NOT_EXIST")
# No page says what is answered about a person who never signed.
NO_PAYEE = ("RESOURCE_NOT_EXISTS", "CONTRACT_NOT_EXIST")
NO_STATEMENT = ("NO_STATEMENT_EXIST",)
NO_SETTLEMENT = ("RESOURCE_NOT_EXISTS",)

# The manuals spell "too many" in four ways; the status is the surer sign.
_TOO_MANY = frozenset(
    map(normal_code, "RATELIMIT_EXCEEDED FREQUENCY_LIMITED FREQUENCY_LIMIT_EXCEED RATE_LIMITED".split())
)
# These leave it open whether it was done, also where they come with a 4xx: ask the same again.
_UNDECIDED = frozenset(map(normal_code, "SYSTEM_ERROR BANK_ERROR BIZERR_NEED_RETRY BIZ_ERR_NEED_RETRY".split()))
# Keys, numbers, permissions or paths are not as WeChat Pay has them: no call of this merchant will do better.
_SETUP = frozenset(
    map(
        normal_code,
        "SIGN_ERROR NO_AUTH MCH_NOT_EXISTS APPID_MCHID_NOT_MATCH INVALID_PATH INVALID_METHOD ROUTE_NOT_FOUND".split(),
    )
)
_SETUP_STATUSES = (401, 405)


def error_for(
    raw: RawAnswer,
    *,
    verified: bool,
    now: float,
    absent: tuple[str, ...] = (),
    business: tuple[str, ...] = (),
    private: Collection[str] = (),
) -> WxPayError:
    """Return the error that an answer outside 2xx means: OutcomeUnknown, or one of APIError's kinds.

    absent: the codes that say, signed, that what was asked about is not there. business: codes that speak of the
    contract or the order here, although elsewhere they mean that our set-up is wrong. private: what the request said
    about the payer; message and detail do not repeat it.
    """
    code, message, detail = error_of(raw)
    message, detail = masked(message, private), masked_detail(detail, private)
    known: dict[str, Any] = {"code": code, "status": raw.status, "request_id": raw.request_id}
    normal = normal_code(code)
    if not 400 <= raw.status < 500 or normal in _UNDECIDED:
        return OutcomeUnknown(f"HTTP {raw.status} {code}: {message}", **known)
    known.update(verified=verified, detail=detail, server_time=raw.server_time)
    if raw.status == 429 or normal in _TOO_MANY:
        return RateLimited(message, retry_after=retry_after(raw, now), **known)
    if verified and normal in map(normal_code, absent):
        return NotFound(message, **known)
    # A 404 without a code comes from the path, or from something between us and WeChat Pay.
    unknown_path = raw.status == 404 and not code
    if (normal in _SETUP or raw.status in _SETUP_STATUSES or unknown_path) and normal not in map(normal_code, business):
        return SetupError(message, **known)
    return APIError(message, **known)
