"""The page under ``/_sandbox/`` that plays the user's phone, and the screens that ``sign_url`` opens."""

from __future__ import annotations

import json
import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from . import control, history, words
from .contracts import OPEN, SIGNED, TERMINATED
from .engine import money
from .engine.answers import Refused
from .engine.clock import rfc3339
from .engine.store import Row
from .orders import COMBINE, NOTPAY, USERPAYING
from .payees import AUTHORIZED
from .service_orders import MCH_COMPLETE
from .sign_plans import SIGNED as PLAN_SIGNED
from .sign_plans import UNSIGNED

if TYPE_CHECKING:
    from .emulator import Sandbox

LATEST = 12
HOME = "home"  # where somebody pressed Agree on the page itself
CHANNEL_NAMES = {"miniprogram": "mini program", "app": "app", "jsapi": "JSAPI", "h5": "H5", "web": "web (QR code)"}


def blueprint(sandbox: Sandbox) -> Blueprint:
    phone = Blueprint("phone", __name__, template_folder="templates")
    phone.add_app_template_filter(amount, "amount")
    phone.add_app_template_filter(clock_time, "clock_time")
    phone.context_processor(lambda: {"say": words.say, "language": words.language()})

    @phone.get("/")
    def root() -> Response:
        return redirect(url_for("phone.home"))

    @phone.get("/_sandbox/")
    def home() -> str:
        return render_template("sandbox/home.html", **_home(sandbox))

    @phone.get("/_sandbox/phone")
    def mini_program() -> str:
        return _session_page(sandbox, request.args.get("session_id", ""), request.args.get("return_url", ""))

    @phone.get("/global/papay/contracts/login")
    def login() -> str:
        return _session_page(sandbox, request.args.get("os_session_id", ""), "")

    @phone.get("/global/papay/contracts/sessions/show_code")
    def show_code() -> str:
        return render_template(
            "sandbox/code.html", session=_session(sandbox, request.args.get("os_session_id", "")), sandbox=sandbox
        )

    @phone.post("/_sandbox/phone/sessions/<session_id>")
    def decide(session_id: str) -> Response | tuple[str, int]:
        session = _session(sandbox, session_id)
        deed, came_from = request.form.get("do"), request.form.get("return_url", "")
        result: dict[str, str] = {}
        try:
            if deed == "agree":
                contract = sandbox.contracts.sign(session_id)
                result = {"return_code": "SUCCESS", "contract_id": contract["contract_id"]}
            elif deed == "refuse":
                sandbox.contracts.refuse(session_id)
                result = {"return_code": "FAIL", "return_msg": "the user refused"}
        except Refused as refused:
            return _session_page(sandbox, session_id, came_from, problem=refused.message), refused.status
        sandbox.after_change()
        return redirect(_way_back(session, came_from, result), 303)

    @phone.post("/_sandbox/phone/contracts/<contract_id>/terminate")
    def terminate(contract_id: str) -> Response:
        return _done(sandbox, lambda: sandbox.contracts.terminate_by_user(contract_id))

    @phone.get("/_sandbox/phone/sign-plan")
    def sign_plan() -> str:
        return _sign_plan_page(sandbox, request.args.get("package", ""), request.args.get("return_url", ""))

    @phone.post("/_sandbox/phone/sign-plans/<number>")
    def decide_plan(number: str) -> Response | tuple[str, int]:
        deed, came_from = request.form.get("do"), request.form.get("return_url", "")
        deeds = {
            "agree": sandbox.sign_plans.confirm,
            "cancel": sandbox.sign_plans.cancel_by_user,
            "revoke": sandbox.sign_plans.revoke_service,
        }
        try:
            if deed in deeds:
                deeds[deed](number)
        except Refused as refused:
            return _sign_plan_page(sandbox, number, came_from, problem=refused.message), refused.status
        sandbox.after_change()
        if _is_web(came_from):
            return redirect(came_from, 303)
        home = came_from == HOME
        return redirect(url_for("phone.home") if home else url_for("phone.sign_plan", package=number), 303)

    @phone.route("/_sandbox/phone/payee", methods=["GET", "POST"])
    def payee() -> Response | str | tuple[str, int]:
        """What ``requestSign`` was given, in the query; checked as WeChat would before it shows the page."""
        given = request.args.to_dict()
        came_from = given.pop("return_url", "")
        try:
            told = sandbox.payees.requested(given)
            if request.form.get("do") == "agree":
                sandbox.payees.agree(given)
        except Refused as refused:
            return _payee_page(sandbox, given, None, came_from, problem=refused.message), refused.status
        if request.method == "GET":
            return _payee_page(sandbox, given, told, came_from)
        sandbox.after_change()
        return redirect(came_from if _is_web(came_from) else url_for("phone.home"), 303)

    @phone.route("/_sandbox/phone/payment", methods=["GET", "POST"])
    def payment() -> Response | str | tuple[str, int]:
        """What ``wx.requestPayment`` was given, in the query; checked as WeChat would before it shows the page."""
        given = request.args.to_dict()
        came_from = given.pop("return_url", "")
        try:
            row = sandbox.combine_orders.requested(given)
        except Refused as refused:
            return _payment_page(sandbox, None, came_from, problem=refused.message), refused.status
        if request.method == "GET":
            return _payment_page(sandbox, row, came_from)
        deeds = {"pay": sandbox.combine_orders.pays, "fail": sandbox.combine_orders.fails}
        if deed := deeds.get(request.form.get("do", "")):
            deed(row["combine_out_trade_no"], mchid=row["mchid"])
        sandbox.after_change()
        return redirect(came_from if _is_web(came_from) else url_for("phone.home"), 303)

    @phone.post("/_sandbox/phone/payees/<openid>/withdraw")
    def withdraw(openid: str) -> Response:
        return _done(sandbox, lambda: sandbox.payees.withdraw(openid, mchid=request.form.get("mchid", "")))

    @phone.post("/_sandbox/phone/service-orders/<number>")
    def pay_service_order(number: str) -> Response:
        return _done(sandbox, lambda: sandbox.service_orders.user_pays(number))

    @phone.post("/_sandbox/phone/orders/<transaction_id>")
    def pay(transaction_id: str) -> Response:
        deed = sandbox.orders.user_refuses if request.form.get("do") == "refuse" else sandbox.orders.user_pays
        return _done(sandbox, lambda: deed(transaction_id))

    @phone.post("/_sandbox/phone/faults")
    def order_fault() -> Response:
        target, _, kind = request.form.get("fault", "").partition(":")
        if request.form.get("do") == "clear":
            return _done(sandbox, sandbox.faults.remove)
        try:
            order = {**json.loads(request.form.get("options") or "{}"), "times": int(request.form["times"])}
        except (TypeError, ValueError):
            abort(400, "Times must be a number, options a JSON object.")
        order |= {"kind": kind, "target": target, "path": request.form.get("path", "").strip()}
        return _done(sandbox, lambda: sandbox.faults.add(**order))

    return phone


def amount(minor: int, currency: str) -> str:
    return f"{Decimal(money.major_text(minor, currency)):,} {currency}"


def clock_time(moment: float) -> str:
    return rfc3339(moment)[11:19]


def _home(sandbox: Sandbox) -> dict[str, Any]:
    sandbox.settle()
    store = sandbox.store
    return {
        "sandbox": sandbox,
        "version": history.version(sandbox),
        "waiting": store.all("SELECT * FROM sessions WHERE state = ? ORDER BY created_at DESC", OPEN),
        "paying": store.all(
            "SELECT * FROM orders WHERE trade_state IN (?, ?) AND product <> ? ORDER BY created_at DESC",
            USERPAYING,
            NOTPAY,
            COMBINE,
        ),
        "signed": store.all(
            "SELECT * FROM contracts WHERE state = ? ORDER BY signed_at DESC LIMIT ?", SIGNED, 4 * LATEST
        ),
        "ended": store.all(
            "SELECT * FROM contracts WHERE state = ? ORDER BY terminated_at DESC LIMIT ?", TERMINATED, LATEST
        ),
        "orders": store.all(
            "SELECT *, (SELECT SUM(refund) FROM refunds WHERE refunds.transaction_id = orders.transaction_id "
            "AND refunds.status = 'SUCCESS') AS refunded FROM orders WHERE success_at IS NOT NULL "
            "ORDER BY success_at DESC LIMIT ?",
            LATEST,
        ),
        **_payscore(sandbox),
        "payees": store.all(
            "SELECT * FROM payees WHERE auth_state = ? ORDER BY operation_at DESC LIMIT ?", AUTHORIZED, LATEST
        ),
        "notifications": sandbox.notifications.all(LATEST)[::-1],
        "calls": store.all("SELECT * FROM calls ORDER BY seq DESC LIMIT ?", LATEST),
        "faults": sandbox.faults.all(),
        "outcomes": control.outcomes(),
        "payment_code": f"1{secrets.randbelow(6)}{secrets.randbelow(10**16):016d}",
        "channel_names": CHANNEL_NAMES,
    }


def _payscore(sandbox: Sandbox) -> dict[str, Any]:
    """What the home page shows of PayScore: what waits to be signed or paid, and what was signed."""
    store, now = sandbox.store, sandbox.clock.now()
    plans = store.all(
        "SELECT sign_plans.*, plan_name FROM sign_plans JOIN payscore_plans USING (plan_id) "
        "ORDER BY sign_plans.created_at DESC LIMIT ?",
        4 * LATEST,
    )
    return {
        "plans_waiting": [row for row in plans if row["sign_state"] == UNSIGNED and row["package_ends_at"] > now],
        "plans_signed": [row for row in plans if row["sign_state"] == PLAN_SIGNED],
        "collecting": store.all(
            "SELECT * FROM service_orders WHERE state_description = ? ORDER BY created_at DESC", MCH_COMPLETE
        ),
    }


def _sign_plan_page(sandbox: Sandbox, number: str, came_from: str, *, problem: str = "") -> str:
    sandbox.settle()
    try:
        row = sandbox.sign_plans.get(number)
    except Refused as refused:
        abort(refused.status, refused.message)
    return render_template(
        "sandbox/sign_plan.html",
        row=row,
        plan=sandbox.payscore.get(row["plan_id"]),
        can_sign=row["sign_state"] == UNSIGNED and row["package_ends_at"] > sandbox.clock.now(),
        sandbox=sandbox,
        came_from=came_from if _is_web(came_from) else "",
        problem=problem,
    )


def _payee_page(
    sandbox: Sandbox, given: dict[str, str], told: dict[str, str] | None, came_from: str, *, problem: str = ""
) -> str:
    return render_template(
        "sandbox/payee.html",
        sandbox=sandbox,
        given=given,
        told=told,
        came_from=came_from if _is_web(came_from) else "",
        problem=problem,
    )


def _payment_page(sandbox: Sandbox, row: Row | None, came_from: str, *, problem: str = "") -> str:
    return render_template(
        "sandbox/payment.html",
        sandbox=sandbox,
        row=row,
        parts=sandbox.combine_orders.parts(row) if row else [],
        came_from=came_from if _is_web(came_from) else "",
        problem=problem,
    )


def _session(sandbox: Sandbox, session_id: str) -> Row:
    sandbox.settle()
    try:
        return sandbox.contracts.session(session_id)
    except Refused:
        abort(404, words.say("There is no such signing session in this sandbox."))


def _session_page(sandbox: Sandbox, session_id: str, came_from: str, *, problem: str = "") -> str:
    session = _session(sandbox, session_id)
    return render_template(
        "sandbox/session.html",
        session=session,
        sandbox=sandbox,
        came_from=came_from if _is_web(came_from) else "",
        channel=CHANNEL_NAMES[session["channel"]],
        problem=problem,
    )


def _way_back(session: Row, came_from: str, result: dict[str, str]) -> str:
    """Return where the user goes afterwards.

    A mini program gets what ``extraData`` would hold as query parameters; other channels return to the plain
    ``return_url``; without one the user stays on the session's page.
    """
    if came_from == HOME:
        return url_for("phone.home")
    if _is_web(came_from):
        parts = urlsplit(came_from)
        query = "&".join(part for part in (parts.query, urlencode(result)) if part)
        return urlunsplit(parts._replace(query=query))
    return session["return_url"] or url_for("phone.mini_program", session_id=session["session_id"])


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")


def _done(sandbox: Sandbox, deed: Any) -> Response:
    try:
        deed()
    except Refused as problem:
        abort(409, problem.message)
    sandbox.after_change()
    return redirect(url_for("phone.home"), 303)
