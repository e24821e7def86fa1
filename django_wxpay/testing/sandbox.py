"""The emulator behind the client, in process, with the shop's own URLs behind the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client as BrowserlessClient
from django.test import override_settings
from django.urls import reverse

from .. import conf
from ..engine import transitions
from ..models import CombineOrder, Contract, Order, PayeeAuthorization, PayscorePlan, Refund, ServiceOrder, SignPlan
from ..sandbox import Sandbox, create_app
from ..sandbox.transport import WSGIAdapter
from ..services import combine_orders, contracts, orders, payees, payscore, refunds, service_orders, sign_plans

SHOP = "https://shop.example"
ALIASES = ("default", "institution", "mainland", "mainland_partner")
Row = TypeVar("Row", CombineOrder, Contract, Order, PayeeAuthorization, Refund, SignPlan, ServiceOrder)
LESSONS = (  # three in all, the last one free
    payscore.Detail("Lesson 1", 10000, 10000),
    payscore.Detail("Lesson 2", 10000, 5000, "half price"),
    payscore.Detail("Lesson 3", 10000, 0, "free"),
)


@contextmanager
def running_sandbox(**options: Any) -> Iterator[WxpaySandbox]:
    """WeChat Pay in process for the length of the block; `options` go to `django_wxpay.sandbox.create_app`.

    `settings.WXPAY` has four merchants meanwhile: `default` (direct) and `institution` of the global region, `mainland`
    and `mainland_partner` of the other; its other values stay.
    """
    sandbox = WxpaySandbox(**options)
    with override_settings(WXPAY=sandbox.settings()):
        try:
            yield sandbox
        finally:
            sandbox.wechat.close()


class WxpaySandbox:
    """WeChat Pay and its users, as a test plays them.

    wechat: the emulator itself (`django_wxpay.sandbox.Sandbox`) with its faults, clock and records.
    After each step its notifications are sent to the shop's URLs and the shop's receivers are told, unless
    `delivers` is False: then `deliver()` does it when the test wants it.
    """

    def __init__(self, **options: Any) -> None:
        self.app = create_app(sender=self._post, **options)
        self.wechat: Sandbox = self.app.sandbox  # type: ignore[attr-defined]
        self.delivers = True
        self.transport = WSGIAdapter(self.app)
        self.browserless = BrowserlessClient(raise_request_exception=False)
        self._names = 0

    def settings(self) -> dict[str, Any]:
        """`settings.WXPAY` as it is, with this sandbox's merchants in it."""
        known = self.wechat.merchant
        common = {
            "SERIAL_NO": known["merchant_serial"],
            "PRIVATE_KEY": known["merchant_private_key"],
            "APIV3_KEY": known["apiv3_key"],
            "MERCHANT_CATEGORY_CODE": "5734",
            "HOST": known["base_url"],
            "TRANSPORT": self.transport,
        }
        direct = {"MCHID": known["mchid"], "APPID": known["appid"]}
        institution = {
            "MODE": "institution",
            "SP_MCHID": known["sp_mchid"],
            "SP_APPID": known["sp_appid"],
            "SUB_MCHID": known["sub_mchid"],
            "SUB_APPID": known["sub_appid"],
        }
        mainland = {
            **common,
            "REGION": "mainland",
            "MERCHANT_CATEGORY_CODE": "",
            "SERVICE_ID": known["service_id"],
        }
        partner = {
            "MODE": "partner",
            "SP_MCHID": known["mainland_sp_mchid"],
            "SP_APPID": known["mainland_sp_appid"],
            "SUB_MCHID": known["mainland_sub_mchid"],
            "SUB_APPID": known["mainland_sub_appid"],
        }
        merchants = {
            "default": direct | common,
            "institution": institution | common,
            "mainland": {"MCHID": known["mainland_mchid"], "APPID": known["mainland_appid"]} | mainland,
            "mainland_partner": partner | mainland,
        }
        notify = reverse("django_wxpay:notify", args=["default"]).removesuffix("default/")
        return {**getattr(settings, "WXPAY", {}), "MERCHANTS": merchants, "NOTIFY_URL_BASE": SHOP + notify}

    # What users and time do

    def sign(self, contract: Contract) -> Contract:
        """The user agrees on the phone. Returns the refreshed contract."""
        self.wechat.contracts.sign(contract.session_id or contract.out_contract_code)
        return self._after(contract)

    def terminate(self, contract: Contract) -> Contract:
        """The user ends the contract inside WeChat. Returns the refreshed contract."""
        self.wechat.contracts.terminate_by_user(contract.contract_id or "")
        return self._after(contract)

    def sign_plan(self, sign_plan: SignPlan) -> SignPlan:
        """The user signs a plan on the phone. Returns the refreshed sign plan."""
        self.wechat.sign_plans.confirm(sign_plan.merchant_sign_plan_no)
        return self._after(sign_plan)

    def cancel_plan(self, sign_plan: SignPlan, *, revoke: bool = False) -> SignPlan:
        """The user cancels the plan inside WeChat, or revokes the whole service. Returns the refreshed sign plan."""
        wechat = self.wechat.sign_plans
        (wechat.revoke_service if revoke else wechat.cancel_by_user)(sign_plan.merchant_sign_plan_no)
        return self._after(sign_plan)

    def authorize(self, payee: PayeeAuthorization, *, form: str = "") -> PayeeAuthorization:
        """A person agrees in his mini program to be paid: what it is given is checked as WeChat would.

        Returns the row, which nobody has asked about yet. form: which lines must have been signed, A or B.
        """
        params = payees.sign_params(payee)
        if params is None:
            raise AssertionError(f"{payee} is authorised already: nothing to agree to")
        told = self.wechat.payees.agree(params)
        if form and told["form"] != form:
            raise AssertionError(f"form {told['form']} was signed, not {form}")
        return self._after(payee)

    def pay_combined(self, order: CombineOrder) -> CombineOrder:
        """The payer pays in his mini program: what it is given is checked as WeChat would. Returns the row."""
        params = combine_orders.payment_params(order)
        if params is None:
            raise AssertionError(f"{order} is {order.state}: it cannot be paid")
        self.wechat.combine_orders.requested(params)
        self.wechat.combine_orders.pays(order.combine_out_trade_no, mchid=order.mchid)
        return self._after(order)

    def fail_combined(self, order: CombineOrder) -> CombineOrder:
        """The payment fails, of which nobody is notified. Returns the row, not asked about yet."""
        self.wechat.combine_orders.fails(order.combine_out_trade_no, mchid=order.mchid)
        return self._after(order)

    def withdraw(self, payee: PayeeAuthorization) -> PayeeAuthorization:
        """A person withdraws in WeChat, of which nobody is notified. Returns the row, not asked about yet."""
        self.wechat.payees.withdraw(payee.openid or "", mchid=payee.mchid)
        return self._after(payee)

    def pay_service(self, order: ServiceOrder) -> ServiceOrder:
        """The user pays what is collected for a service order. Returns the refreshed service order."""
        self.wechat.service_orders.user_pays(order.out_order_no)
        return self._after(order)

    def refund_elsewhere(self, order: Order, amount: int) -> dict[str, Any]:
        """Somebody refunds in the merchant platform; we are notified once it is done."""
        notify_url = conf.merchant(order.merchant).notify_url
        return self.wechat.refunds.make_elsewhere(order.out_trade_no or "", amount, notify_url=notify_url)

    def advance(self, seconds: float) -> None:
        """WeChat Pay's clock moves on: refunds finish, notifications are repeated. Ours stays."""
        self.wechat.advance(seconds)
        self._deliver()

    def deliver(self) -> None:
        """Send WeChat Pay's notifications that are due, then tell the shop's receivers."""
        self.wechat.deliver_due()
        transitions.deliver_due()

    def fault(self, kind: str, path: str = "", **order: Any) -> dict[str, Any]:
        """The next call of that path suffers; the kinds stand in `django_wxpay.sandbox.engine.faults`."""
        return self.wechat.fault(kind, path, **order)

    def notification_fault(self, kind: str, event_type: str = "", **order: Any) -> dict[str, Any]:
        """The next notification suffers; the kinds stand in `django_wxpay.sandbox.engine.faults`."""
        return self.wechat.notification_fault(kind, event_type, **order)

    def meanwhile(self, deed: Callable[[], object], path: str = "", **order: Any) -> None:
        """During the next call of that path this happens too, before the caller has its answer.

        With ``before=True`` it happens while the request is on its way. ``method`` narrows, ``skip`` lets some pass.
        """
        self.wechat.meanwhile(deed, path, **order)

    def payload_of(self, row: Contract | Order | Refund | SignPlan | ServiceOrder) -> dict[str, Any]:
        """What a notification of WeChat Pay says of a row at present."""
        if isinstance(row, SignPlan):
            return self.wechat.sign_plans.shown(self.wechat.sign_plans.get(row.merchant_sign_plan_no))
        if isinstance(row, ServiceOrder):
            return self.wechat.service_orders.payload(self.wechat.service_orders.get(row.out_order_no))
        if isinstance(row, Contract):
            return self.wechat.contracts.payload(self.wechat.contracts.get(row.out_contract_code))
        if isinstance(row, Order):
            return self.wechat.orders.shown(self.wechat.orders.get(row.out_trade_no or ""))
        return self.wechat.refunds.payload(self.wechat.refunds.get(row.out_refund_no or ""))

    def notify(
        self, event_type: str, content: dict[str, Any] | str, *, merchant: str = "default", **order: Any
    ) -> dict[str, Any]:
        """Send the shop a genuine notification, signed and encrypted, with any event type and content.

        ``times`` sends the same message again, ``original_type`` is written beside the content. Returns the last
        attempt: ``status`` and ``answer`` of the shop, ``acknowledged``.
        """
        known = conf.merchant(merchant)
        row = self.wechat.notify(event_type, content, url=known.notify_url, mchid=known.mchid, **order)
        if self.delivers:
            transitions.deliver_due()
        last: dict[str, Any] = row["attempts"][-1]
        return last

    @property
    def calls(self) -> list[tuple[str, str]]:
        """What was called, oldest first: [(method, path without query)]."""
        rows = self.wechat.store.all("SELECT method, target FROM calls ORDER BY seq")
        return [(row["method"], row["target"].partition("?")[0]) for row in rows]

    # Rows that really went all the way

    def signed_contract(self, **asked: Any) -> Contract:
        """A contract that its user signed."""
        self._names += 1
        usual: dict[str, Any] = {"plan_id": 12345, "user_display_name": "Li M.", "openid": f"o-user-{self._names}"}
        return self.sign(contracts.sign(**usual | asked))

    def paid_order(self, contract: Contract | None = None, **asked: Any) -> Order:
        """An order that was charged to a signed contract."""
        self._names += 1
        usual: dict[str, Any] = {
            "amount": 3800,
            "currency": "HKD",
            "description": "March plan",
            "reference": f"charge-{self._names}",
        }
        return self._after(orders.deduct(contract or self.signed_contract(), **usual | asked))

    def plan(self, **asked: Any) -> PayscorePlan:
        """A PayScore plan of three lessons, the third free, that can be signed."""
        self._names += 1
        usual: dict[str, Any] = {
            "name": "Three lessons", "details": LESSONS, "duration_days": 90, "reference": f"course-{self._names}",
            "merchant": "mainland",
        }  # fmt: skip
        return payscore.create_plan(**usual | asked)

    def signed_plan(self, plan: PayscorePlan | None = None, **asked: Any) -> SignPlan:
        """A sign plan that its user signed."""
        self._names += 1
        usual: dict[str, Any] = {"openid": f"o-user-{self._names}"}
        return self.sign_plan(sign_plans.sign(plan or self.plan(), **usual | asked))

    def started(self, sign_plan: SignPlan | None = None, **asked: Any) -> ServiceOrder:
        """A service order that is in use: the next service of a signed plan."""
        self._names += 1
        usual: dict[str, Any] = {"reference": f"lesson-{self._names}"}
        return self._after(service_orders.start(sign_plan or self.signed_plan(), **usual | asked))

    def completed(self, sign_plan: SignPlan | None = None, **asked: Any) -> ServiceOrder:
        """A service order that is over, and paid unless its amount is a special one."""
        return self._after(service_orders.complete(self.started(sign_plan), **asked))

    def payee(self, **asked: Any) -> PayeeAuthorization:
        """A person who is authorised, as we know."""
        self._names += 1
        usual: dict[str, Any] = {"openid": f"o-payee-{self._names}", "merchant": "mainland"}
        return payees.sync(self.authorize(payees.enrol(**usual | asked)))

    def combined(self, *amounts: int, **asked: Any) -> CombineOrder:
        """A combined order that can be paid: of these amounts, each for another payee."""
        self._names += 1
        merchant = asked.get("merchant", "mainland")
        parts = [
            combine_orders.Part(self.payee(merchant=merchant), amount, f"Item {place}")
            for place, amount in enumerate(amounts or (1200, 800), 1)
        ]
        usual: dict[str, Any] = {
            "parts": parts, "openid": f"o-payer-{self._names}", "reference": f"basket-{self._names}",
            "merchant": merchant,
        }  # fmt: skip
        return combine_orders.place(**usual | asked)

    def refund(self, order: Order, amount: int, **asked: Any) -> Refund:
        """A refund that was asked for and accepted."""
        self._names += 1
        return self._after(refunds.create(order, amount=amount, **{"reference": f"return-{self._names}"} | asked))

    def _deliver(self) -> None:
        if self.delivers:
            self.deliver()

    def _after(self, row: Row) -> Row:
        self._deliver()
        row.refresh_from_db()
        return row

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        answer = self.browserless.generic(
            "POST", urlsplit(url).path, body, headers.get("Content-Type", "application/json"), headers=headers
        )
        return answer.status_code, answer.content
