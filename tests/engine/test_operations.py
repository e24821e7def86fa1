from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.engine import holds, operations
from django_wxpay.exceptions import OperationPending
from django_wxpay.models import Discrepancy, Operation, Order
from django_wxpay.services import orders, refunds
from django_wxpay.testing import make_order

pytestmark = pytest.mark.django_db
DEDUCT = "/v3/global/papay/transactions"
ASKED = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "m-1"}


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract()


def test_what_its_caller_sends_is_not_taken_by_a_worker_meanwhile(wxpay_sandbox, contract):
    order = orders.plan_deduction(contract, **ASKED)
    holds.reserve(order.operation)
    assert operations.send_due() == 0
    assert operations.send(order.operation)
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1


def test_an_operation_is_sent_by_one_of_two_who_hold_it_in_hand(wxpay_sandbox, contract):
    order = orders.plan_deduction(contract, **ASKED)
    mine, theirs = Operation.objects.get(action="DEDUCT"), Operation.objects.get(action="DEDUCT")
    assert operations.send(mine)
    assert not operations.send(theirs)
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1
    order.refresh_from_db()
    assert order.state == "SUCCESS"


def test_a_sender_that_died_before_sending_is_followed_by_a_worker(wxpay_sandbox, contract, later):
    order = orders.plan_deduction(contract, **ASKED)
    holds.reserve(order.operation)
    later()
    order.refresh_from_db()
    assert order.state == "SUCCESS"


@pytest.mark.scenario("S27")
def test_a_sender_that_died_after_sending_is_found_out_by_query(wxpay_sandbox, contract, later):
    order = orders.plan_deduction(contract, **ASKED)
    operations._claim(order.operation)
    conf.client("default").orders.deduct(**order.operation.fields)  # done there, and then the process was gone
    assert Operation.objects.get(action="DEDUCT").state == "SENT"
    later()
    order.refresh_from_db()
    assert (order.state, Operation.objects.get(action="DEDUCT").state) == ("SUCCESS", "DONE")
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1


def test_an_object_has_one_open_operation(wxpay_sandbox, contract):
    order = orders.plan_deduction(contract, **ASKED)
    with pytest.raises(OperationPending):
        operations.plan(order, "DEDUCT", {})
    assert Operation.objects.open().count() == 1


def test_a_command_without_an_outcome_for_a_day_becomes_a_discrepancy_once(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("lost_answer", DEDUCT, method="POST")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    wxpay_sandbox.fault("error_500", DEDUCT, method="GET", times=-1)
    later(seconds=90_000)
    later(seconds=90_000)
    found = Discrepancy.objects.get()
    assert (found.kind, found.seen, found.object_id) == ("STUCK", 2, Order.objects.get().pk)
    wxpay_sandbox.wechat.faults.remove()
    later()
    assert Order.objects.get().state == "SUCCESS"  # and it was never given up


def test_the_same_fields_are_sent_again(wxpay_sandbox, contract, later, settings):
    wxpay_sandbox.fault("closed_connection", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    merchant = settings.WXPAY["MERCHANTS"]["default"] | {"MERCHANT_CATEGORY_CODE": "9999"}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"default": merchant}, "NOTIFY_URL_BASE": "https://other.example/"}
    before = Operation.objects.get(action="DEDUCT").fields
    later()
    sent = wxpay_sandbox.wechat.store.all("SELECT body FROM calls WHERE method = 'POST' AND target = ?", DEDUCT)[-1]
    assert '"merchant_category_code":"5734"' in sent["body"].replace(" ", "")
    assert before["notify_url"] in sent["body"]


def test_what_the_rows_state_settles_needs_no_query(wxpay_sandbox, contract, later):
    wxpay_sandbox.fault("lost_answer", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **ASKED)
    wxpay_sandbox.deliver()  # the notification tells it
    assert Order.objects.get().state == "SUCCESS"
    calls = len(wxpay_sandbox.calls)
    later()
    assert Operation.objects.get(action="DEDUCT").state == "DONE"
    assert len(wxpay_sandbox.calls) == calls


def test_a_bug_while_recording_an_answer_loses_nothing(wxpay_sandbox, contract, later, monkeypatch):
    def broken(self, row, fact, operation):
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as bug:
        bug.setattr(type(operations.COMMANDS["DEDUCT"]), "answered", broken)
        with pytest.raises(ZeroDivisionError):
            orders.deduct(contract, **ASKED)
    assert Operation.objects.get(action="DEDUCT").state == "UNKNOWN"
    later()
    assert Order.objects.get().state == "SUCCESS"
    assert wxpay_sandbox.calls.count(("POST", DEDUCT)) == 1


def test_a_row_of_a_merchant_that_signs_otherwise_now_is_left_alone(wxpay_sandbox, settings):
    order = make_order()
    refund = refunds.plan_refund(order, amount=1, reference="r")
    merchant = settings.WXPAY["MERCHANTS"]["default"] | {"MCHID": "1999999999"}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": {"default": merchant}}
    Operation.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))
    operations.send_due()
    refund.refresh_from_db()
    assert refund.state == "CREATED"
    assert wxpay_sandbox.calls == []
