"""``/_sandbox/`` as JSON: what the page can do and more, for scripts and for tests in other languages.

Not signed, not part of WeChat Pay: never offer a sandbox to the internet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request

from . import special
from .engine.answers import Refused, dump
from .engine.faults import CALL, CALL_FAULTS, NOTIFICATION_FAULTS
from .engine.store import Row
from .history import ROWS_SHOWN, describe, shown, version
from .statements import ERRORS

if TYPE_CHECKING:
    from .emulator import Sandbox


def blueprint(sandbox: Sandbox) -> Blueprint:
    control = Blueprint("control", __name__, url_prefix="/_sandbox")

    @control.get("/state")
    def state() -> Response:
        return _json(describe(sandbox, limit=_number(request.args.get("limit"), "limit", ROWS_SHOWN)))

    @control.get("/version")
    def show_version() -> Response:
        return _json({"version": version(sandbox)})

    @control.get("/special")
    def special_outcomes() -> Response:
        return _json(outcomes())

    # What the user does

    @control.post("/contracts/<number>/sign")
    def sign(number: str) -> Response:
        return _json(shown(sandbox.contracts.sign(number, openid=_given().get("openid", ""))))

    @control.post("/contracts/<number>/refuse")
    def refuse(number: str) -> Response:
        return _json(shown(sandbox.contracts.refuse(number)))

    @control.post("/contracts/<number>/terminate")
    def terminate(number: str) -> Response:
        return _json(shown(sandbox.contracts.terminate_by_user(number)))

    @control.post("/orders/<number>/pay")
    def pay(number: str) -> Response:
        return _json(shown(sandbox.orders.user_pays(number, mchid=_given().get("mchid", ""))))

    @control.post("/orders/<number>/refuse")
    def refuse_order(number: str) -> Response:
        return _json(shown(sandbox.orders.user_refuses(number, mchid=_given().get("mchid", ""))))

    @control.post("/sign-plans/<number>/confirm")
    def confirm_sign_plan(number: str) -> Response:
        return _json(shown(sandbox.sign_plans.confirm(number, mchid=_given().get("mchid", ""))))

    @control.post("/sign-plans/<number>/cancel")
    def cancel_sign_plan(number: str) -> Response:
        return _json(shown(sandbox.sign_plans.cancel_by_user(number, mchid=_given().get("mchid", ""))))

    @control.post("/sign-plans/<number>/revoke")
    def revoke_service(number: str) -> Response:
        return _json(shown(sandbox.sign_plans.revoke_service(number, mchid=_given().get("mchid", ""))))

    @control.post("/service-orders/<number>/pay")
    def pay_service_order(number: str) -> Response:
        return _json(shown(sandbox.service_orders.user_pays(number, mchid=_given().get("mchid", ""))))

    @control.post("/request-sign")
    def request_sign() -> Response:
        given = _given()
        agrees, openid = given.pop("agree", False), str(given.pop("openid", "") or "")
        told = sandbox.payees.requested(given)
        return _json(told | ({"payee": shown(sandbox.payees.agree(given, openid=openid))} if agrees else {}))

    @control.post("/payees/<openid>/authorize")
    def authorize_payee(openid: str) -> Response:
        return _json(shown(sandbox.payees.authorize(openid, mchid=_given().get("mchid", ""))))

    @control.post("/payees/<openid>/withdraw")
    def withdraw_payee(openid: str) -> Response:
        return _json(shown(sandbox.payees.withdraw(openid, mchid=_given().get("mchid", ""))))

    @control.post("/request-payment")
    def request_payment() -> Response:
        given = _given()
        deed = str(given.pop("do", ""))
        row = sandbox.combine_orders.requested(given)
        if deed:
            row = _paying(deed)(row["combine_out_trade_no"], mchid=row["mchid"])
        return _json(shown(row))

    @control.post("/combine-orders/<number>/<deed>")
    def combine_order(number: str, deed: str) -> Response:
        return _json(shown(_paying(deed)(number, mchid=_given().get("mchid", ""))))

    def _paying(deed: str) -> Callable[..., Row]:
        deeds = {name: getattr(sandbox.combine_orders, f"{name}s") for name in ("pay", "fail", "begin", "leave")}
        if deed not in deeds:
            raise _wrong(f"a payer may {', '.join(deeds)}")
        done: Callable[..., Row] = deeds[deed]
        return done

    # What happens in the merchant platform

    @control.post("/refunds")
    def refund_elsewhere() -> Response:
        given = _given()
        number = given.get("transaction_id") or given.get("out_trade_no")
        if not number or not isinstance(given.get("amount"), int):
            raise _wrong("give out_trade_no or transaction_id, and amount in minor units")
        made = sandbox.refunds.make_elsewhere(
            str(number),
            given["amount"],
            reason=given.get("reason"),
            notify_url=given.get("notify_url"),
            mchid=given.get("mchid", ""),
        )
        return _json(shown(made), 201)

    @control.post("/refunds/<number>/finish")
    def finish_refund(number: str) -> Response:
        return _json(shown(sandbox.refunds.finish(number, _given().get("status", "SUCCESS"))))

    @control.post("/plans/<int:plan_id>")
    def plan(plan_id: int) -> Response:
        given = _given()
        if "termination_url" not in given:
            raise _wrong("give termination_url (null: the success_notify_url the plan last saw)")
        sandbox.contracts.set_termination_url(plan_id, given["termination_url"], mchid=given.get("mchid", ""))
        return _json({"plan_id": plan_id, "termination_url": given["termination_url"]})

    @control.post("/sub-merchants")
    def sub_merchant() -> Response:
        given = _given()
        if not given.get("sub_mchid") or not given.get("sub_appid"):
            raise _wrong("give sub_mchid and sub_appid")
        of = {"of": str(given["sp_mchid"])} if given.get("sp_mchid") else {}
        sandbox.add_sub_merchant(str(given["sub_mchid"]), str(given["sub_appid"]), **of)
        return _json({"sub_mchid": given["sub_mchid"], "sub_appid": given["sub_appid"]}, 201)

    @control.post("/recharge-balance")
    def recharge_balance() -> Response:
        amount = _number(_given().get("amount"), "amount")
        sandbox.recharge.set(amount)
        return _json({"amount": amount})

    # Files of a day

    @control.post("/statements/<day>")
    def statement(day: str) -> Response:
        given = _given()
        rows = _number(given.get("rows", 0), "rows")
        return _json(sandbox.statements.want(day, error=str(given.get("error") or ""), rows=rows))

    @control.post("/settlements")
    def settlement() -> Response:
        given = _given()
        if "split_percent" in given:
            sandbox.settlements.split(_number(given["split_percent"], "split_percent"))
            return _json({"split_percent": given["split_percent"]}, 201)
        if not isinstance(given.get("record"), dict):
            raise _wrong("give record, as the API shows it, and mchid; or split_percent")
        mchid, sub_mchid = str(given.get("mchid", "")), str(given.get("sub_mchid", ""))
        sandbox.settlements.add(given["record"], mchid=mchid, sub_mchid=sub_mchid)
        return _json(given["record"], 201)

    # Notifications

    @control.post("/notifications/deliver")
    def deliver() -> Response:
        given = _given()
        if notification_id := given.get("notification_id"):
            sent = sandbox.notifications.deliver_now(str(notification_id))
            if not sent:
                raise Refused(404, "RESOURCE_NOT_EXISTS", f"no notification {notification_id}")
            return _json({"sent": [shown(sent)]})
        rows = sandbox.deliver_due() if given.get("due_only") else sandbox.deliver_pending()
        return _json({"sent": [shown(row) for row in rows]})

    @control.post("/notifications")
    def notify() -> Response:
        given = _given()
        if not given.get("event_type") or not given.get("url") or not isinstance(given.get("resource"), (dict, str)):
            raise _wrong("give event_type, url and resource (an object, or a text that is sealed as it stands)")
        row = sandbox.notifications.tell(
            str(given.get("mchid") or next(iter(sandbox.merchants))),
            str(given["event_type"]),
            str(given["url"]),
            given["resource"],
            original_type=str(given.get("original_type", "")),
            about="by hand",
        )
        sandbox.after_change()
        return _json(shown(row), 201)

    # Faults, time, keys

    @control.route("/faults", methods=["GET", "POST", "DELETE"])
    def faults() -> Response:
        if request.method == "DELETE":
            sandbox.faults.remove()
        if request.method != "POST":
            return _json({"faults": sandbox.faults.all()})
        given = _given()
        kind, target = str(given.pop("kind", "")), str(given.pop("target", CALL))
        return _json(
            sandbox.faults.add(
                kind,
                target=target,
                path=str(given.pop("path", "") or given.pop("event_type", "") or ""),
                method=str(given.pop("method", "") or ""),
                times=_number(given.pop("times", 1), "times"),
                skip=_number(given.pop("skip", 0), "skip"),
                **{name: value for name, value in given.items() if name != "seq"},
            ),
            201,
        )

    @control.delete("/faults/<int:seq>")
    def remove_fault(seq: int) -> Response:
        sandbox.faults.remove(seq)
        return _json({"faults": sandbox.faults.all()})

    @control.post("/release")
    def release() -> Response:
        sandbox.faults.release()
        return _json({"message": "what was held goes on"})

    @control.route("/clock", methods=["GET", "POST"])
    def clock() -> Response:
        given = _given() if request.method == "POST" else {}
        for name in ("speed", "shift", "skew", "advance"):
            if name in given and (isinstance(given[name], bool) or not isinstance(given[name], (int, float))):
                raise _wrong(f"{name} is a number (seconds; speed: a factor)")
        if given.keys() & {"speed", "shift", "skew"}:
            sandbox.set_clock(**{name: given[name] for name in ("speed", "shift", "skew") if name in given})
        if "advance" in given:
            sandbox.advance(given["advance"])
        return _json(describe(sandbox, limit=0)["clock"])

    @control.post("/certificates/rotate")
    def rotate() -> Response:
        phase = sandbox.certificates.rotate(_given().get("phase", ""))
        return _json({"phase": phase, "certificates": [shown(row) for row in sandbox.certificates.all()]})

    @control.post("/apiv3-key")
    def apiv3_key() -> Response:
        sandbox.rotate_apiv3_key(_given().get("key", ""))
        return _json({"message": "changed; merchant.json holds the new key"})

    @control.post("/public-key")
    def public_key() -> Response:
        percent = _given().get("percent")
        if isinstance(percent, bool) or not isinstance(percent, (int, float)):
            raise _wrong("give percent, 0 to 100")
        sandbox.set_public_key_share(percent)
        return _json({"percent": percent})

    @control.after_request
    def changed(response: Response) -> Response:
        if request.method != "GET":
            sandbox.after_change()
        return response

    return control


def outcomes() -> dict[str, Any]:
    """List the special amounts, codes and faults, for the page and for scripts."""
    return {
        "payments": [
            {"amount": one.amount, "auth_code": one.code, "quick_pay_only": one.quick_pay_only, "outcome": one.says}
            for one in special.PAYMENTS.values()
        ],
        "refunds": [{"amount": one.amount, "outcome": one.says} for one in special.REFUNDS.values()],
        "collections": [{"amount": one.amount, "outcome": one.says} for one in special.COLLECTIONS.values()],
        "statement_errors": ERRORS,
        "call_faults": CALL_FAULTS,
        "notification_faults": NOTIFICATION_FAULTS,
    }


def _given() -> dict[str, Any]:
    """Return the JSON object of the request; no body is an empty one."""
    if not request.get_data():
        return {}
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise _wrong("the body must be a JSON object")
    return given


def _number(value: Any, name: str, default: int | None = None) -> int:
    try:
        return default if value is None and default is not None else int(value)
    except (TypeError, ValueError):
        raise _wrong(f"{name} must be an integer") from None


def _wrong(message: str) -> Refused:
    return Refused(400, "PARAM_ERROR", message)


def _json(data: Any, status: int = 200) -> Response:
    return Response(dump(data), status, content_type="application/json")
