from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, NotFound, OutcomeUnknown
from django_wxpay.engine import operations, transactions
from django_wxpay.exceptions import (
    CalledInTransaction,
    ContractNotSigned,
    DeductionPending,
    NotAllowedNow,
    OperationPending,
    ReferenceReused,
)
from django_wxpay.models import Contract, Discrepancy, Operation, Transition
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract

pytestmark = pytest.mark.django_db
ASKED = {"plan_id": 12345, "user_display_name": "Li M.", "openid": "o-one"}


@pytest.mark.parametrize(
    ("channel", "launched_by"),
    [("mini_program", "path"), ("app", "session_id"), ("jsapi", "sign_url"), ("h5", "sign_url"), ("web", "sign_url")],
)
def test_each_channel_gets_what_its_front_end_needs(wxpay_sandbox, channel, launched_by):
    asked = ASKED if channel not in ("h5", "web") else ASKED | {"openid": ""}
    contract = contracts.sign(**asked, channel=channel)
    assert launched_by in contract.launch_params()


def test_the_same_reference_opens_one_session(wxpay_sandbox):
    first = contracts.sign(**ASKED, reference="member-42")
    second = contracts.sign(**ASKED, reference="member-42")
    assert first.pk == second.pk
    assert len(wxpay_sandbox.calls) == 2  # certificates, session


def test_a_reference_with_other_parameters_is_refused_and_names_them(wxpay_sandbox):
    contracts.sign(**ASKED, reference="member-42")
    with pytest.raises(ReferenceReused, match="plan_id"):
        contracts.sign(**ASKED | {"plan_id": 999}, reference="member-42")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("plan_id", 0),
        ("plan_id", "12345"),
        ("user_display_name", ""),
        ("user_display_name", "x" * 33),
        ("user_display_name", "Li 😀"),
        ("channel", "pigeon"),
        ("openid", "o" * 129),
        ("return_url", "https://shop.example/back"),  # not for a mini program
    ],
)
def test_bad_input_is_refused_before_anything_is_written(wxpay_sandbox, field, value):
    with pytest.raises(InvalidField) as refused:
        contracts.sign(**ASKED | {field: value})
    assert refused.value.field == field
    assert not Contract.objects.exists()
    assert wxpay_sandbox.calls == []


@pytest.mark.scenario("S29")
def test_signing_inside_a_transaction_is_refused_and_its_planned_half_works(wxpay_sandbox):
    with pytest.raises(CalledInTransaction, match="plan_signing"), transactions.atomic():
        contracts.sign(**ASKED)
    with transactions.atomic():
        contract = contracts.plan_signing(**ASKED)
    assert contract.launch_params() is None
    operations.send_due()
    contract.refresh_from_db()
    assert contract.launch_params()


@pytest.mark.scenario("S28")
def test_a_lost_session_is_opened_again_with_the_same_number(wxpay_sandbox, later):
    wxpay_sandbox.fault("lost_answer", "/v3/global/papay/contracts/miniprogram")
    with pytest.raises(OutcomeUnknown):
        contracts.sign(**ASKED)
    contract = Contract.objects.get()
    later()
    contract.refresh_from_db()
    assert contract.launch_params()
    assert Operation.objects.get().state == "DONE"
    sessions = wxpay_sandbox.wechat.store.all("SELECT out_contract_code FROM sessions")
    assert {row["out_contract_code"] for row in sessions} == {contract.out_contract_code}


def test_a_refused_session_ends_the_contract(wxpay_sandbox):
    wxpay_sandbox.fault("refuse", "/v3/global/papay/contracts/miniprogram", code="CONTRACT_ERROR")
    with pytest.raises(APIError, match="CONTRACT_ERROR"):
        contracts.sign(**ASKED)
    assert Contract.objects.get().state == "EXPIRED"
    assert Operation.objects.get().error_code == "CONTRACT_ERROR"


def test_a_session_nobody_signed_expires(wxpay_sandbox):
    contract = contracts.sign(**ASKED)
    contracts.sync(contract)
    assert contract.state == "PENDING"
    Contract.objects.update(expired_time=timezone.now() - timedelta(hours=1))
    contracts.sync(contract)
    assert (contract.state, contract.next_poll_at) == ("EXPIRED", None)


def test_a_lost_signing_notification_is_made_good_by_polling(wxpay_sandbox):
    contract = contracts.sign(**ASKED)
    wxpay_sandbox.notification_fault("lost", "PAPAY.SIGN")
    wxpay_sandbox.sign(contract)
    assert Contract.objects.get().state == "PENDING"
    Contract.objects.update(next_poll_at=timezone.now())
    assert contracts.poll() == 1
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    assert contract.next_poll_at > timezone.now() + timedelta(hours=12)  # a termination may be lost, too


def test_a_contract_signed_after_it_expired_here_is_believed_only_by_query(wxpay_sandbox):
    contract = contracts.sign(**ASKED)
    Contract.objects.update(state="EXPIRED", state_at=timezone.now(), next_poll_at=None)
    wxpay_sandbox.sign(contract)
    contract.refresh_from_db()
    assert contract.state == "EXPIRED"
    assert contract.next_poll_at <= timezone.now()
    contracts.poll()
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    assert Discrepancy.objects.get().kind == "OVERRULED"


def test_status_asks_wechat_pay_at_most_once_in_a_while(wxpay_sandbox):
    contract = contracts.sign(**ASKED)
    before = len(wxpay_sandbox.calls)
    for _ in range(5):
        contracts.status(contract)
    assert len(wxpay_sandbox.calls) == before + 1


def test_status_shows_what_we_know_when_wechat_pay_is_out_of_reach(wxpay_sandbox):
    contract = contracts.sign(**ASKED)
    wxpay_sandbox.fault("closed_connection", "/v3/global/papay/contracts", times=-1)
    assert contracts.status(contract).state == "PENDING"


def test_terminating_writes_one_transition_and_asks_once_for_the_particulars(wxpay_sandbox):
    contract = contracts.terminate(wxpay_sandbox.signed_contract())
    wxpay_sandbox.deliver()
    assert contract.state == "TERMINATED"
    assert Transition.objects.filter(subject="contract", to_state="TERMINATED").count() == 1
    Contract.objects.update(next_poll_at=timezone.now())
    contracts.poll()
    contract.refresh_from_db()
    assert contract.next_poll_at is None
    assert contract.termination_mode


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("fault", ["lost_answer", "closed_connection", "bad_signature", "error_500", "unsigned"])
def test_a_termination_without_proof_is_found_out(wxpay_sandbox, later, fault):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.fault(fault, f"/v3/global/papay/contracts/{contract.contract_id}/terminate")
    with pytest.raises(OutcomeUnknown):
        contracts.terminate(contract)
    later()
    contract.refresh_from_db()
    assert contract.state == "TERMINATED"
    assert Operation.objects.get(action="TERMINATE").state == "DONE"


def test_a_contract_the_user_ended_meanwhile_counts_as_terminated(wxpay_sandbox, later):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.notification_fault("lost", "PAPAY.TERMINATE")
    wxpay_sandbox.terminate(contract)
    with pytest.raises(OutcomeUnknown, match="CONTRACT_NOT_EXIST"):
        contracts.terminate(contract)
    later()
    contract.refresh_from_db()
    assert contract.state == "TERMINATED"


def test_only_a_signed_contract_is_terminated(wxpay_sandbox):
    with pytest.raises(ContractNotSigned):
        contracts.terminate(make_contract(state="PENDING"))
    assert wxpay_sandbox.calls == []


@pytest.mark.scenario("S43")
def test_a_contract_with_an_unknown_deduction_is_not_terminated(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.fault("lost_answer", "/v3/global/papay/transactions")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r")
    with pytest.raises(DeductionPending, match="no outcome yet"):
        contracts.terminate(contract)
    assert not Operation.objects.filter(action="TERMINATE").exists()


@pytest.mark.scenario("S43")
def test_a_contract_being_terminated_is_not_charged(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    contracts.plan_termination(contract)
    with pytest.raises(OperationPending, match="being terminated"):
        orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r")


@pytest.mark.scenario("S38")
def test_the_same_form_twice_terminates_once(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    contracts.terminate(contract, reference="token")
    again = contracts.terminate(contract, reference="token")
    assert again.state == "TERMINATED"
    assert Operation.objects.filter(action="TERMINATE").count() == 1


def test_a_contract_made_by_another_system_is_adopted(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract(openid="o-one")
    code, plan_id = contract.out_contract_code, contract.plan_id
    Transition.objects.all().delete()
    Contract.objects.all().delete()
    adopted = contracts.adopt(out_contract_code=code, plan_id=plan_id)
    assert (adopted.state, adopted.openid) == ("SIGNED", "o-one")
    assert contracts.adopt(out_contract_code=code, plan_id=plan_id).pk == adopted.pk


def test_what_nobody_signed_cannot_be_adopted(wxpay_sandbox):
    with pytest.raises(NotFound):
        contracts.adopt(out_contract_code="c" * 32, plan_id=12345)
    assert not Contract.objects.exists()


def test_another_plan_than_said_is_not_adopted(wxpay_sandbox):
    contract = wxpay_sandbox.signed_contract()
    code = contract.out_contract_code
    Transition.objects.all().delete()
    Contract.objects.all().delete()
    with pytest.raises((NotAllowedNow, NotFound)):
        contracts.adopt(out_contract_code=code, plan_id=contract.plan_id + 1)
    assert not Contract.objects.exists()
    assert not Discrepancy.objects.exists()
