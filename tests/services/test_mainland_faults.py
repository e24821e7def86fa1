"""A bad network between us and the mainland: each call of PayScore and its refunds is done once, or known not to be."""

from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from django.utils import timezone
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from django_wxpay import conf
from django_wxpay.client.errors import APIError, OutcomeUnknown, RateLimited
from django_wxpay.engine import operations, polling
from django_wxpay.exceptions import OperationPending, RefundNotPossible
from django_wxpay.models import (
    Discrepancy,
    MerchantState,
    Operation,
    Order,
    PayscorePlan,
    Refund,
    ServiceOrder,
    SignPlan,
)
from django_wxpay.sandbox.engine import protocol
from django_wxpay.services import payscore, refunds, service_orders, sign_plans
from django_wxpay.testing.sandbox import LESSONS

pytestmark = pytest.mark.django_db
MAINLAND, REFUNDS = "/v3/payscore", "/v3/refund/domestic"
PLAN = {"name": "Three lessons", "details": LESSONS, "duration_days": 90, "reference": "course"}

# What is asked, and what it is called: P1, P3, S1, S3, O1, O3 of the manual's list, and the refund.
ACTIONS = {
    "create": "CREATE_PLAN", "stop": "STOP_PLAN", "sign": "SIGN_PLAN", "cancel": "CANCEL_SIGN_PLAN", "start": "START",
    "complete": "COMPLETE", "refund": "REFUND",
}  # fmt: skip
ASKS = tuple(ACTIONS)
REACHED = {
    "create": "NORMAL", "stop": "STOP", "sign": "UNSIGNED", "cancel": "SIGN_PLAN_CANCEL", "start": "DOING",
    "complete": "DONE", "refund": "SUCCESS",
}  # fmt: skip
ROWS = {
    "create": PayscorePlan, "stop": PayscorePlan, "sign": SignPlan, "cancel": SignPlan, "start": ServiceOrder,
    "complete": ServiceOrder, "refund": Refund,
}  # fmt: skip
SYNC = {PayscorePlan: payscore.sync, SignPlan: sign_plans.sync, ServiceOrder: service_orders.sync, Refund: refunds.sync}
THERE = {PayscorePlan: "payscore_plans", SignPlan: "sign_plans", ServiceOrder: "service_orders", Refund: "refunds"}

# Done there, and no proof of it for us.
DONE = [
    ("lost_answer", {}),
    ("slow", {"seconds": 60}),
    ("silent", {"when": "after"}),
    ("error_500", {"when": "after"}),
    ("error_500", {"when": "after", "status": 502, "signed": False}),
    ("bad_signature", {}),
    ("unsigned", {}),
    ("garbage", {}),
    ("empty", {}),
]
# Not done, as far as we can know.
NOT_DONE = [
    ("silent", {}),
    ("closed_connection", {}),
    ("error_500", {}),
    ("error_500", {"status": 503, "signed": False}),
]


def named(fault):
    return "-".join(map(str, (fault[0], *fault[1].values()))) if isinstance(fault, tuple) else fault


@pytest.fixture(params=["mainland"])
def merchant(request):
    return request.param


both_modes = pytest.mark.parametrize("merchant", ["mainland", "mainland_partner"], indirect=True)


@pytest.fixture
def asking(wxpay_sandbox, merchant):
    """One ask, ready to be made; the path that it goes to."""

    def make(what):
        if what == "create":
            return SimpleNamespace(do=partial(payscore.create_plan, **PLAN, merchant=merchant), path=MAINLAND)
        plan = wxpay_sandbox.plan(merchant=merchant)
        if what == "stop":
            return SimpleNamespace(do=partial(payscore.stop_plan, plan), path=MAINLAND)
        if what == "sign":
            return SimpleNamespace(do=partial(sign_plans.sign, plan, openid="o-one", reference="m-1"), path=MAINLAND)
        signed = wxpay_sandbox.signed_plan(plan)
        if what == "cancel":
            return SimpleNamespace(do=partial(sign_plans.cancel, signed, reason="moved away"), path=MAINLAND)
        if what == "start":
            return SimpleNamespace(do=partial(service_orders.start, signed, reference="lesson-1"), path=MAINLAND)
        if what == "complete":
            return SimpleNamespace(do=partial(service_orders.complete, wxpay_sandbox.started(signed)), path=MAINLAND)
        paid = wxpay_sandbox.completed(signed).orders.get()
        return SimpleNamespace(do=partial(refunds.create, paid, amount=2500, reference="return-1"), path=REFUNDS)

    return make


def fresh(row):
    row.refresh_from_db()
    return row


def reached(sandbox, what):
    """The row of an ask, once all that is due was done and told."""
    sandbox.advance(30)
    row = ROWS[what].objects.get()
    return SYNC[type(row)](row)


# An answer that proves nothing


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("what", ASKS)
@pytest.mark.parametrize("fault", DONE + NOT_DONE, ids=named)
def test_without_a_proven_answer_the_outcome_is_unknown_found_out_and_never_doubled(
    wxpay_sandbox, asking, later, what, fault
):
    ask, (kind, how) = asking(what), fault
    wxpay_sandbox.fault(kind, ask.path, method="POST", **how)
    with pytest.raises(OutcomeUnknown):
        ask.do()
    operation = Operation.objects.get(action=ACTIONS[what])
    assert (operation.state, operation.attempts) == ("UNKNOWN", 1)
    later()
    assert fresh(operation).state == "DONE"
    assert operation.attempts == (1 if fault in DONE else 2)
    assert reached(wxpay_sandbox, what).state == REACHED[what]
    assert len(wxpay_sandbox.wechat.describe()[THERE[ROWS[what]]]) == 1
    assert Order.objects.count() == (what in ("complete", "refund")) and not Discrepancy.objects.exists()


@pytest.mark.scenario("S28")
@both_modes
@pytest.mark.parametrize("what", ["create", "stop", "cancel", "refund"])
@pytest.mark.parametrize("kind", ["lost_answer", "closed_connection", "unsigned"])
def test_a_partners_ask_is_found_out_too(wxpay_sandbox, asking, later, what, kind):
    ask = asking(what)
    wxpay_sandbox.fault(kind, ask.path, method="POST")
    with pytest.raises(OutcomeUnknown):
        ask.do()
    later()
    assert reached(wxpay_sandbox, what).state == REACHED[what]


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("what", ASKS)
def test_while_the_outcome_is_unknown_and_the_query_fails_too_nothing_is_asked_again(
    wxpay_sandbox, asking, later, what
):
    ask = asking(what)
    wxpay_sandbox.fault("lost_answer", ask.path, method="POST")
    with pytest.raises(OutcomeUnknown):
        ask.do()
    wxpay_sandbox.fault("error_500", ask.path, method="GET", times=-1)
    posted = [call for call in wxpay_sandbox.calls if call[0] == "POST"]
    for _ in range(3):
        later()
    assert [call for call in wxpay_sandbox.calls if call[0] == "POST"] == posted
    assert Operation.objects.get(action=ACTIONS[what]).is_open
    wxpay_sandbox.wechat.faults.remove()
    later()
    assert reached(wxpay_sandbox, what).state == REACHED[what]


# Queries: P2, S2, O2, and that of a refund


@pytest.fixture
def known(wxpay_sandbox):
    """A row of each kind that is not over."""
    order = wxpay_sandbox.started()
    paid = wxpay_sandbox.completed().orders.get()
    refund = refunds.create(paid, amount=2500, reference="return-1")
    return {ServiceOrder: order, SignPlan: order.sign_plan, PayscorePlan: order.sign_plan.plan, Refund: refund}


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("model", SYNC, ids=lambda model: model.__name__)
def test_a_query_without_a_proven_answer_says_nothing_and_the_next_one_does(wxpay_sandbox, known, model):
    row = fresh(known[model])
    before = {name: getattr(row, name) for name in ("state", "synced_at")}
    wxpay_sandbox.delivers = False
    wxpay_sandbox.wechat.settle()
    for kind, how in DONE + NOT_DONE:
        wxpay_sandbox.fault(kind, "/v3", method="GET", times=-1, **how)
        with pytest.raises(OutcomeUnknown):
            SYNC[model](row)
        wxpay_sandbox.wechat.faults.remove()
        fresh(row)
        assert {name: getattr(row, name) for name in before} == before, kind
    type(row).objects.filter(pk=row.pk).update(next_poll_at=timezone.now())
    wxpay_sandbox.fault("error_500", "/v3", method="GET", times=-1)
    assert polling.poll(type(row).objects.filter(pk=row.pk), SYNC[model], 10) == 1
    assert fresh(row).next_poll_at > timezone.now() and row.synced_at == before["synced_at"]
    wxpay_sandbox.wechat.faults.remove()
    assert SYNC[model](row).synced_at is not None and not Discrepancy.objects.exists()


# Too many


@pytest.mark.scenario("S30")
@both_modes
@pytest.mark.parametrize("what", ASKS)
def test_a_429_was_not_taken_and_the_same_is_sent_again_once_it_may(wxpay_sandbox, asking, merchant, what):
    ask = asking(what)
    wxpay_sandbox.fault("error_429", ask.path, method="POST")
    with pytest.raises(RateLimited):
        ask.do()
    operation = Operation.objects.get(action=ACTIONS[what])
    assert (operation.state, operation.busy_until, operation.error_code) == ("PLANNED", None, "FREQUENCY_LIMITED")
    assert operation.next_try_at > timezone.now()
    [held] = MerchantState.objects.filter(slow_until__gt=timezone.now())
    assert (held.mchid, held.slow_reason) == (conf.merchant(merchant).mchid, "RATE_LIMITED")
    calls = len(wxpay_sandbox.calls)
    Operation.objects.open().update(next_try_at=timezone.now())
    operations.send_due()
    assert len(wxpay_sandbox.calls) == calls  # the merchant is held back
    MerchantState.objects.update(slow_until=timezone.now())
    operations.send_due()
    assert (fresh(operation).state, operation.attempts) == ("DONE", 2)
    assert reached(wxpay_sandbox, what).state == REACHED[what]
    sent = [row["body"] for row in wxpay_sandbox.wechat.store.all("SELECT * FROM calls WHERE method = 'POST'")]
    assert sent[-2] == sent[-1] and len(wxpay_sandbox.wechat.describe()[THERE[ROWS[what]]]) == 1


@pytest.mark.scenario("S30")
@pytest.mark.parametrize("model", SYNC, ids=lambda model: model.__name__)
def test_a_429_to_a_query_says_nothing_and_the_poller_leaves_this_merchant_alone(wxpay_sandbox, known, model):
    row = fresh(known[model])
    state, synced_at = row.state, row.synced_at
    wxpay_sandbox.fault("error_429", "/v3", method="GET", times=-1)
    with pytest.raises(RateLimited):
        SYNC[model](row)
    assert (fresh(row).state, row.synced_at) == (state, synced_at)
    calls = len(wxpay_sandbox.calls)
    for other in SYNC:
        other.objects.update(next_poll_at=timezone.now())
    assert [poll() for poll in (payscore.poll, sign_plans.poll, service_orders.poll, refunds.poll)] == [0] * 4
    assert len(wxpay_sandbox.calls) == calls


@pytest.mark.scenario("S30")
def test_a_429_of_one_merchant_holds_back_no_other(wxpay_sandbox):
    asked = {alias: payscore.plan_creation(**PLAN, merchant=alias) for alias in ("mainland", "mainland_partner")}
    wxpay_sandbox.fault("error_429", MAINLAND, mchid=asked["mainland"].mchid, times=-1)
    operations.send_due()
    assert [fresh(row).state for row in asked.values()] == ["PLANNED", "NORMAL"]


@pytest.mark.scenario("S55")
@pytest.mark.parametrize(("signed", "longest"), [(True, 600), (False, 3)])
def test_a_429_of_a_refund_that_asks_for_years_is_obeyed_for_minutes(wxpay_sandbox, asking, signed, longest):
    ask = asking("refund")
    wxpay_sandbox.fault("error_429", REFUNDS, retry_after=10**9, signed=signed)
    with pytest.raises(RateLimited):
        ask.do()
    pause = (MerchantState.objects.get(slow_until__isnull=False).slow_until - timezone.now()).total_seconds()
    assert 0 < pause <= longest


@pytest.mark.scenario("S30")
@pytest.mark.parametrize("signed", [True, False])
def test_only_a_signed_429_proves_that_a_refund_was_not_taken(wxpay_sandbox, asking, signed):
    ask = asking("refund")
    wxpay_sandbox.fault("error_429", REFUNDS, signed=signed)
    with pytest.raises(RateLimited):
        ask.do()
    refund = Refund.objects.get()
    assert refund.order.refund_reserved == 2500
    if signed:
        assert refunds.give_up(refund).state == "REFUSED"
        assert fresh(refund.order).refund_reserved == 0
    else:
        with pytest.raises(OperationPending):
            refunds.give_up(refund)
        assert fresh(refund.order).refund_reserved == 2500


# The pace and the window of refunds


def minutes_ago(minutes):
    """Let so many minutes have passed since refunds were sent."""
    past = timedelta(minutes=minutes)
    for one in Operation.objects.filter(action="REFUND", sent_at__isnull=False):
        busy = one.busy_until and one.busy_until - past
        Operation.objects.filter(pk=one.pk).update(sent_at=one.sent_at - past, busy_until=busy)
    MerchantState.objects.update(slow_until=None)
    Operation.objects.open().update(next_try_at=timezone.now())


@pytest.mark.scenario("S30")
@both_modes
def test_two_refunds_of_one_payment_keep_their_pace_by_themselves(wxpay_sandbox, asking):
    first = asking("refund").do()
    second = refunds.create(first.order, amount=1000, reference="return-2")
    assert (fresh(first).state, second.state) == ("PROCESSING", "CREATED")
    assert [call for call in wxpay_sandbox.calls if call == ("POST", f"{REFUNDS}/refunds")] == [
        ("POST", f"{REFUNDS}/refunds")
    ]
    minutes_ago(0.9)
    operations.send_due()
    assert fresh(second).state == "CREATED"
    wxpay_sandbox.advance(61)
    minutes_ago(0.2)
    operations.send_due()
    assert fresh(second).state == "PROCESSING" and not Discrepancy.objects.exists()


@pytest.mark.scenario("S30")
def test_who_is_too_quick_for_wechat_pay_is_told_so_and_the_same_number_is_taken_a_minute_later(
    wxpay_sandbox, asking, settings
):
    settings.WXPAY = {**settings.WXPAY, "REFUND_SPACING_SECONDS": 0}
    first = asking("refund").do()
    with pytest.raises(RateLimited):
        refunds.create(first.order, amount=1000, reference="return-2")
    second = Refund.objects.get(reference="return-2")
    number = second.out_refund_no
    assert second.state == "CREATED" and fresh(first.order).refund_reserved == 3500
    wxpay_sandbox.advance(61)
    minutes_ago(1)
    operations.send_due()
    assert (fresh(second).state, second.out_refund_no) == ("PROCESSING", number)
    assert len(wxpay_sandbox.wechat.describe()["refunds"]) == 2


@pytest.mark.scenario("S39")
@both_modes
@pytest.mark.parametrize(("days", "possible"), [(364.9, True), (365.1, False)])
def test_a_payment_is_refunded_for_a_year(wxpay_sandbox, asking, days, possible):
    ask = asking("refund")
    Order.objects.update(success_time=timezone.now() - timedelta(days=days))
    if possible:
        assert ask.do().state == "PROCESSING"
        return
    calls = len(wxpay_sandbox.calls)
    with pytest.raises(RefundNotPossible, match="365 days"):
        ask.do()
    assert len(wxpay_sandbox.calls) == calls and not Refund.objects.exists()
    assert Order.objects.get().refund_reserved == 0


@pytest.mark.scenario("S39")
def test_a_year_that_only_wechat_pay_counts_ends_the_refund_and_gives_back_what_was_reserved(wxpay_sandbox, asking):
    ask = asking("refund")
    wxpay_sandbox.wechat.clock.shift += 366 * 86400
    with pytest.raises(APIError, match="365 days"):
        ask.do()
    refund = Refund.objects.get()
    assert refund.state == "REFUSED" and Order.objects.get().refund_reserved == 0
    assert not Operation.objects.open().exists()


# P3 whose answer has no body


class NoContent(HTTPAdapter):
    """Answers what it is told to with 204 and nothing else, signed; all other calls are the emulator's."""

    def __init__(self, sandbox, ending, *, signed=True):
        super().__init__()
        self.sandbox, self.ending, self.signed = sandbox, ending, signed

    def send(self, request, **options):
        answer = self.sandbox.transport.send(request, **options)
        if request.method != "POST" or not request.path_url.endswith(self.ending) or answer.status_code != 200:
            return answer
        private_key, serial = self.sandbox.wechat.certificates.signer()
        now = self.sandbox.wechat.clock.wire_time()
        headers = protocol.signature_headers(private_key, serial, b"", now=now) if self.signed else {}
        return self.build_response(request, HTTPResponse(b"", HTTPHeaderDict(headers), 204, preload_content=False))


@pytest.fixture
def no_content(wxpay_sandbox, merchant, settings):
    def answer(ending, **options):
        known = settings.WXPAY["MERCHANTS"]
        transport = NoContent(wxpay_sandbox, ending, **options)
        settings.WXPAY = {
            **settings.WXPAY, "MERCHANTS": known | {merchant: known[merchant] | {"TRANSPORT": transport}}
        }  # fmt: skip

    return answer


@both_modes
@pytest.mark.parametrize(("what", "ending"), [("stop", "/stop"), ("cancel", "/stop"), ("complete", "/complete")])
def test_a_204_without_a_body_is_a_yes(wxpay_sandbox, asking, no_content, what, ending):
    ask = asking(what)
    no_content(ending)
    row = ask.do()
    assert Operation.objects.get(action=ACTIONS[what]).state == "DONE"
    assert row.state == (REACHED[what] if what != "complete" else "DOING")
    assert reached(wxpay_sandbox, what).state == REACHED[what] and not Discrepancy.objects.exists()


@both_modes
def test_a_stop_that_is_answered_without_a_body_tells_its_time_later(wxpay_sandbox, asking, no_content):
    ask = asking("stop")
    no_content("/stop")
    plan = ask.do()
    assert plan.state == "STOP" and plan.stop_time is None
    assert payscore.sync(plan).stop_time is not None


def test_an_unsigned_204_proves_nothing(wxpay_sandbox, asking, no_content, later):
    ask = asking("stop")
    no_content("/stop", signed=False)
    with pytest.raises(OutcomeUnknown):
        ask.do()
    assert PayscorePlan.objects.get().state == "NORMAL"
    later()
    assert PayscorePlan.objects.get().state == "STOP"
