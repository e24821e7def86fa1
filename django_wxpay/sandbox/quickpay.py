"""Quick pay: a till scans the payer's code. Pay, query, reverse; close is refused as WeChat Pay does."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from . import special
from .engine.answers import CODE_USED_ALREADY, REVERSE_TOO_LATE, Refused, Reply, dump, no_content, ok
from .engine.clock import china_day
from .engine.fields import BOTH, Field, Wrong, group, integer, ip, one_of, several, text
from .engine.protocol import WITH_BOTH, WITH_NUMBERS, Call
from .engine.store import Row
from .orders import AMOUNT, MICROPAY, NUMBER, REFUND, REVOKED, SUCCESS
from .users import phone_openid

if TYPE_CHECKING:
    from .emulator import Sandbox

EARLIEST_REVERSAL_SECONDS = 15
LATEST_REVERSAL_SECONDS = 7 * 86400
LONGEST_DETAIL = 6144
PAYMENT_CODE = r"1[0-5][0-9]{16}"


# Lengths of the parts of `detail` are those of the mainland's page; the global one states none.
_GOODS = group(
    Field("goods_id", text(32, pattern=r"[0-9A-Za-z_\-]+"), BOTH),
    Field("wxpay_goods_id", text(32)),
    Field("goods_name", text(256)),
    Field("quantity", integer(1), BOTH),
    Field("price", integer(0), BOTH),
)
_DETAIL = group(Field("cost_price", integer(0)), Field("receipt_id", text(32)), Field("goods_detail", several(_GOODS)))
_STORE = group(Field("id", text(32)), Field("name", text(256), BOTH), Field("address", text(512), BOTH))


def _detail(value: Any) -> Any:
    """An object, as in the manual's samples, or a list of such, as in its schema."""
    if not isinstance(value, (dict, list)):
        raise Wrong("must be an object")
    if len(dump(value)) > LONGEST_DETAIL:
        raise Wrong(f"has more than {LONGEST_DETAIL} bytes")
    return several(_DETAIL)(value) if isinstance(value, list) else _DETAIL(value)


_PAY = (
    *WITH_BOTH,
    Field("description", text(127), BOTH),
    Field("attach", text(127)),
    Field("out_trade_no", NUMBER, BOTH),
    Field("goods_tag", text(32)),
    Field("trade_type", one_of("MICROPAY"), BOTH),
    Field("limit_pay", one_of("no_credit")),
    Field("merchant_category_code", text(16), BOTH),
    Field("payer", group(Field("auth_code", text(128), BOTH)), BOTH),
    Field("amount", AMOUNT, BOTH),
    Field(
        "scene_info",
        group(
            Field("device_id", text(32)),
            Field("device_ip", ip()),
            Field("payer_client_ip", ip()),
            Field("operator_id", text(32)),
            Field("store_info", _STORE),
        ),
    ),
    Field("detail", _detail),
)


class QuickPay:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._store = sandbox.store
        self._orders = sandbox.orders

    def pay(self, call: Call) -> Reply:
        """POST /v3/global/micropay/transactions/pay."""
        asked = call.body(*_PAY)
        party = call.party(asked)
        if reply := self._orders.repeated(party, asked):
            return reply
        code = asked["payer"]["auth_code"]
        self._check_code(code, party.mchid, asked["out_trade_no"])
        return self._orders.pay(
            party,
            asked,
            special.of_payment(asked["amount"]["total"], code),
            product=MICROPAY,
            trade_type="MICROPAY",
            openid=phone_openid(party.sub_appid or party.appid),
        )

    def query(self, call: Call, *, id: str = "", out_trade_no: str = "") -> Reply:
        """GET /v3/global/transactions/id/{id} or …/out-trade-no/{out_trade_no}."""
        party = call.party(call.query(*WITH_NUMBERS))
        order = self._orders.find(call, party, transaction_id=id, out_trade_no=out_trade_no, product=MICROPAY)
        return ok(self._orders.shown(order))

    def reverse(self, call: Call, *, id: str = "", out_trade_no: str = "") -> Reply:
        """POST /v3/global/micropay/transactions/{id/{id} or out-trade-no/{out_trade_no}}/reverse.

        Unpaid becomes closed, paid goes back in full; both end REVOKED.
        """
        party = call.party(call.body(*WITH_NUMBERS))
        order = self._orders.find(call, party, transaction_id=id, out_trade_no=out_trade_no, product=MICROPAY)
        if order["trade_state"] != REVOKED:
            self._check_reversal(order)
            self._orders.reverse(order, REVOKED)
        return no_content()

    def close(self, call: Call, *, id: str = "", out_trade_no: str = "") -> Reply:
        """POST /v3/global/transactions/…/close: not for quick pay, whose unpaid orders are reversed."""
        party = call.party(call.body(*WITH_NUMBERS))
        order = self._orders.find(call, party, transaction_id=id, out_trade_no=out_trade_no, product=MICROPAY)
        if order["trade_state"] in (SUCCESS, REFUND):
            raise Refused(400, "ORDER_PAID", "the order was paid")
        raise Refused(400, "INVALID_REQUEST", "quick pay orders are reversed, not closed")

    def _check_code(self, code: str, mchid: str, out_trade_no: str) -> None:
        """Refuse what is no payment code, and a code that paid for another order. Special codes never wear out."""
        if not re.fullmatch(PAYMENT_CODE, code):
            raise Refused(400, "AUTH_CODE_INVALID", "a payment code has 18 digits and begins with 10 to 15")
        if code.startswith(special.CODE_PREFIX):
            return
        code_hash = hashlib.sha256(code.encode()).hexdigest()
        used = self._store.one("SELECT * FROM used_codes WHERE code_hash = ?", code_hash)
        if used and (used["mchid"], used["out_trade_no"]) != (mchid, out_trade_no):
            raise Refused(
                400, "AUTH_CODE_INVALID", "the payment code was used for another order", reason=CODE_USED_ALREADY
            )
        if not used:
            self._store.insert("used_codes", code_hash=code_hash, mchid=mchid, out_trade_no=out_trade_no)

    def _check_reversal(self, order: Row) -> None:
        clock = self._sandbox.clock
        age = clock.now() - order["created_at"]
        if order["trade_state"] == REFUND:
            raise Refused(400, "INVALID_REQUEST", "the order was refunded: it cannot be reversed")
        if age < clock.delay(EARLIEST_REVERSAL_SECONDS):
            raise Refused(
                400, "INVALID_REQUEST", "too early: an order is reversed 15 seconds after the pay call or later"
            )
        was_paid = order["trade_state"] == SUCCESS
        if age > LATEST_REVERSAL_SECONDS or (was_paid and china_day(clock.now()) != china_day(order["success_at"])):
            raise Refused(400, "INVALID_REQUEST", "too late to reverse: refund it", reason=REVERSE_TOO_LATE)
