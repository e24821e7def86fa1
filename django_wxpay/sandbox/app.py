"""The WSGI program round a `Sandbox`: the list of the API's calls, the control API and the phone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from . import control, phone
from .contracts import CHANNELS
from .emulator import Sandbox
from .engine.answers import Refused, Reply
from .engine.gateway import API, CUT, Gateway
from .engine.interludes import Deed, Interludes

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LARGEST_BODY = 2 * 1024 * 1024
Handler = Callable[..., Reply]


def create_app(state: Path | str | None = None, **options: Any) -> Flask:
    """Return the sandbox as a Flask application; the `Sandbox` is its attribute ``sandbox``.

    Takes what `Sandbox` takes. Without ``state`` everything is in memory and the keys are made once per process.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    sandbox = app.sandbox = Sandbox(state, **options)  # type: ignore[attr-defined]
    gateway = Gateway(sandbox)
    api = _api(sandbox, gateway)
    app.add_url_rule(f"{API}<path:rest>", "api", api, methods=METHODS, provide_automatic_options=False)
    app.register_blueprint(control.blueprint(sandbox))
    app.register_blueprint(phone.blueprint(sandbox))
    app.before_request(gateway.enter)
    app.after_request(gateway.leave)
    app.register_error_handler(Refused, gateway.refused)
    app.register_error_handler(HTTPException, gateway.not_routed)
    app.wsgi_app = _Connection(app.wsgi_app, sandbox.interludes)  # type: ignore[method-assign]
    return app


def _api(sandbox: Sandbox, gateway: Gateway) -> Callable[..., Response]:
    """Return the view of all the API's calls."""
    views = {(method, rule): gateway.view(handler) for method, rule, handler in routes(sandbox)}
    paths = _compiled(tuple(views)).bind("")

    def view(rest: str) -> Response:
        call, values = paths.match(request.path, request.method)
        return views[call](**values)

    return view


@cache
def _compiled(calls: tuple[tuple[str, str], ...]) -> Map:
    """Return the paths of methods and rules: once per process, for a test has a sandbox of its own and this is slow."""
    return Map([Rule(rule, endpoint=(method, rule), methods=[method]) for method, rule in calls], merge_slashes=False)


def routes(sandbox: Sandbox) -> list[tuple[str, str, Handler]]:
    """List the API: method, path, handler."""
    contracts, deductions, refunds, recharge = sandbox.contracts, sandbox.deductions, sandbox.refunds, sandbox.recharge
    quickpay, papay = sandbox.quickpay, "/v3/global/papay"
    micropay, transactions = "/v3/global/micropay/transactions", "/v3/global/transactions"
    return [
        ("GET", "/v3/certificates", sandbox.certificates.download),
        ("GET", "/v3/global/certificates", sandbox.certificates.download),
        *(
            ("POST", f"{papay}/contracts/{channel}-pre-entrust-sign", _bound(contracts.pre_sign, channel=channel))
            for channel in CHANNELS
        ),
        ("GET", f"{papay}/contracts/<contract_id>", contracts.query),
        ("GET", f"{papay}/contracts/out-contract-code/<out_contract_code>", contracts.query_by_code),
        ("POST", f"{papay}/contracts/<contract_id>/terminate", contracts.terminate),
        ("POST", f"{papay}/transactions", deductions.deduct),
        ("GET", f"{papay}/transactions/<transaction_id>", deductions.query),
        ("GET", f"{papay}/transactions/out-trade-no/<out_trade_no>", deductions.query),
        ("POST", f"{papay}/transactions/out-trade-no/<out_trade_no>/reverse", deductions.reverse),
        ("POST", "/v3/global/refunds", refunds.create),
        ("GET", "/v3/global/refunds", refunds.query_all),
        ("GET", "/v3/global/refunds/id/<refund_id>", refunds.query),
        ("GET", "/v3/global/refunds/out-refund-no/<out_refund_no>", refunds.query),
        ("POST", f"{micropay}/pay", quickpay.pay),
        *(
            route
            for number in ("id/<id>", "out-trade-no/<out_trade_no>")
            for route in (
                ("GET", f"{transactions}/{number}", quickpay.query),
                ("POST", f"{transactions}/{number}/close", quickpay.close),
                ("POST", f"{micropay}/{number}/reverse", quickpay.reverse),
            )
        ),
        *_payscore(sandbox, "", {}),
        *_payscore(sandbox, "partner/", {"partner": True}),
        ("POST", "/v3/refund/domestic/refunds", sandbox.domestic_refunds.create),
        ("GET", "/v3/refund/domestic/refunds/<out_refund_no>", sandbox.domestic_refunds.query),
        *_payees(sandbox),
        *_combine_orders(sandbox),
        ("GET", "/v3/global/statements", sandbox.statements.download),
        ("GET", "/v3/global/settle/settlements", sandbox.settlements.query),
        ("GET", "/v3/global/refund/recharge-balance", recharge.query),
        ("GET", "/v3/global/refund/partner/recharge-balance/sub-mchid/<sub_mchid>", recharge.query),
    ]


def _payscore(sandbox: Sandbox, mode: str, fixed: dict[str, bool]) -> list[tuple[str, str, Handler]]:
    """List PayScore's calls of one mode; a partner's have a word more in their paths."""
    plans, signed, orders = sandbox.payscore, sandbox.sign_plans, sandbox.service_orders
    plan = f"/v3/payscore/plan/{mode}payscore-plans"
    sign_plan = f"/v3/payscore/sign-plan/{mode}user-sign-plans"
    order = f"/v3/payscore/{mode}serviceorder"
    listed: list[tuple[str, str, Handler]] = [
        ("POST", plan, plans.create),
        ("GET", f"{plan}/merchant-plan-no/<merchant_plan_no>", plans.query),
        ("POST", f"{plan}/merchant-plan-no/<merchant_plan_no>/stop", plans.stop),
        ("POST", sign_plan, signed.create),
        ("GET", f"{sign_plan}/merchant-sign-plan-no/<merchant_sign_plan_no>", signed.query),
        ("POST", f"{sign_plan}/merchant-sign-plan-no/<merchant_sign_plan_no>/stop", signed.cancel),
        ("POST", f"/v3/payscore/sign-plan/{mode}serviceorder", orders.create),
        ("GET", order, orders.query),
        ("POST", f"{order}/<out_order_no>/complete", orders.complete),
        ("POST", f"{order}/<out_order_no>/cancel", orders.cancel),
        ("POST", f"{order}/<out_order_no>/sync", orders.sync),
        ("POST", f"{order}/<out_order_no>/modify", orders.modify),
        ("POST", f"{order}/<out_order_no>/pay", orders.pay),
    ]
    return [(method, path, _bound(handler, **fixed)) for method, path, handler in listed]


def _payees(sandbox: Sandbox) -> list[tuple[str, str, Handler]]:
    """List the calls about individual payees."""
    root, payees = "/v3/ecommerce/individual-contracts", sandbox.payees
    prepared = [
        ("POST", f"{root}/{kind}/{client}", _bound(payees.pre_sign, client=client, checked=checked))
        for kind, checked in (("pre-entrust-sign", False), ("pre-entrust-sign-with-real-name-identity", True))
        for client in ("mini-program", "app")
    ]
    return [
        ("GET", f"{root}/out-contract-code/<out_contract_code>", payees.query_by_code),
        ("GET", f"{root}/<openid>", payees.query),
        *prepared,
    ]


def _combine_orders(sandbox: Sandbox) -> list[tuple[str, str, Handler]]:
    """List the calls about combined orders and their refunds."""
    root, refunds = "/v3/combine-transactions", "/v3/ecommerce/refunds"
    combined, ecommerce = sandbox.combine_orders, sandbox.ecommerce_refunds
    return [
        *(("POST", f"{root}/{client}", _bound(combined.create, client=client)) for client in ("miniprogram", "app")),
        ("GET", f"{root}/out-trade-no/<combine_out_trade_no>", combined.query),
        ("GET", f"{root}/id/<combine_transaction_id>", combined.query),
        ("POST", f"{root}/out-trade-no/<combine_out_trade_no>/close", combined.close),
        ("POST", f"{refunds}/apply", ecommerce.create),
        ("GET", f"{refunds}/out-refund-no/<out_refund_no>", ecommerce.query),
        ("GET", f"{refunds}/id/<refund_id>", ecommerce.query),
    ]


def _bound(handler: Handler, **fixed: Any) -> Handler:
    return lambda call, **path: handler(call, **fixed, **path)


class _Connection:
    """The way between caller and gateway: it may take its time, and it may break.

    Interludes happen on it. It breaks where a fault or a special amount asked for that, outside Flask, which would
    turn the exception into an answer. Werkzeug's server closes the socket on a ``ConnectionError``; in process the
    transport catches it.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], interludes: Interludes) -> None:
        self._application, self._interludes = application, interludes

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        before, after = self._deeds(environ)
        for deed in before:
            deed()
        held: list[Any] = []
        body = self._application(environ, lambda *arguments: held.append(arguments))
        for deed in after:
            deed()
        if cut := environ.get(CUT):
            getattr(body, "close", lambda: None)()
            raise cut
        start_response(*held[-1])
        return body

    def _deeds(self, environ: dict[str, Any]) -> tuple[list[Deed], list[Deed]]:
        path = environ.get("PATH_INFO", "")
        return self._interludes.take(path, environ["REQUEST_METHOD"]) if path.startswith(API) else ([], [])
