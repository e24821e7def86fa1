import pytest

from django_wxpay.models import Contract, Operation
from django_wxpay.services import contracts
from django_wxpay.testing import make_contract, make_order

pytestmark = pytest.mark.django_db(transaction=True)
OPENID = "o-synthetic-secret-0001"


@pytest.fixture
def agent(staff):
    return staff("view_contract", "terminate_contract", "query_contract")


@pytest.fixture
def contract(wxpay_sandbox):
    return wxpay_sandbox.signed_contract(openid=OPENID)


def test_terminate_asks_first_then_ends_the_contract(wxpay_sandbox, contract, agent):
    page = agent.get("contract_terminate", contract.pk)
    assert "Terminate this contract?" in page.text
    assert "It cannot be undone" in page.text
    page = agent.confirm("contract_terminate", contract.pk, note="asked by phone")
    contract.refresh_from_db()
    assert (contract.state, contract.termination_note) == ("TERMINATED", "asked by phone")
    assert "The contract is terminated." in page.text
    assert agent.url("contract_terminate", contract.pk) not in page.links


@pytest.mark.scenario("S38")
def test_the_same_form_twice_terminates_once_and_shows_the_first(wxpay_sandbox, contract, agent):
    form = agent.get("contract_terminate", contract.pk)
    for _ in range(2):
        page = agent.post("contract_terminate", contract.pk, token=form.token, note="")
    assert "asked for before; nothing more was asked now. The contract is terminated." in page.text
    assert Operation.objects.filter(action="TERMINATE").count() == 1


@pytest.mark.scenario("S43")
def test_a_contract_with_an_unknown_deduction_is_not_terminated_and_the_page_says_why(wxpay_sandbox, contract, agent):
    form = agent.get("contract_terminate", contract.pk)
    order = make_order(contract=contract, state="USERPAYING")
    page = agent.get("contract_terminate", contract.pk)
    assert f"The deduction {order.number} of this contract has no outcome yet" in page.text
    assert not page.token
    page = agent.post("contract_terminate", contract.pk, token=form.token, note="")
    assert f"The deduction {order.number} of this contract has no outcome yet" in page.text
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    assert agent.url("contract_terminate", contract.pk) not in agent.get("contract_change", contract.pk).links


@pytest.mark.scenario("S43")
def test_in_a_list_that_contract_says_why_and_the_others_are_terminated(wxpay_sandbox, agent):
    first, busy, last = (make_contract() for _ in range(3))
    make_order(contract=busy, state="USERPAYING")
    page = agent.choose("contract", "terminate_selected", [first, busy, last])
    results = agent.post("contract_terminate_selected", token=page.token, note="plan withdrawn")
    assert f"{busy} signed A deduction of this contract has no outcome yet." in results.text
    planned = Operation.objects.filter(action="TERMINATE", state="PLANNED")
    assert set(planned.values_list("object_id", flat=True)) == {first.pk, last.pk}


def test_query_finds_a_termination_that_we_did_not_hear_of(wxpay_sandbox, contract, agent):
    wxpay_sandbox.delivers = False
    wxpay_sandbox.terminate(contract)
    page = agent.confirm("contract_query", contract.pk)
    assert "It is: terminated." in page.text
    contract.refresh_from_db()
    assert contract.state == "TERMINATED"


def test_query_without_an_answer_says_so_and_changes_nothing(wxpay_sandbox, contract, agent):
    wxpay_sandbox.fault("closed_connection", "/v3/global/papay", times=-1)
    page = agent.confirm("contract_query", contract.pk)
    assert "could not be reached" in page.text
    contract.refresh_from_db()
    assert contract.state == "SIGNED"


def test_a_list_of_queries_makes_the_rows_due(wxpay_sandbox, contract, agent):
    page = agent.choose("contract", "query_selected", [contract])
    results = agent.post("contract_query_selected", token=page.token)
    assert "WeChat Pay will be asked within seconds." in results.text
    assert contracts.poll() == 1


@pytest.mark.scenario("S52")
def test_an_openid_is_masked_in_lists_and_on_the_order_s_page(wxpay_sandbox, contract, viewer):
    order = make_order(contract=contract)
    operation = Operation.objects.get(action="SIGN")
    masked = [
        viewer.get("contract_changelist"),
        viewer.get("order_changelist"),
        viewer.get("order_change", order.pk),
        viewer.get("operation_changelist"),
        viewer.get("operation_change", operation.pk),
    ]
    for page in masked:
        assert page.status_code == 200 and OPENID not in page.html
    assert "o-s…001" in masked[0].text
    assert OPENID in viewer.get("contract_change", contract.pk).text


def test_a_contract_s_page_shows_its_orders_and_what_they_brought(wxpay_sandbox, viewer):
    contract = make_contract()
    make_order(contract=contract)
    make_order(contract=contract, amount_total=500, currency="JPY")
    make_order(contract=contract, state="NOTPAY")
    page = viewer.get("contract_change", contract.pk)
    assert "Deducted so far HK$38.00 + ¥500" in page.text
    assert page.html.count("/order/") >= 3
    assert Contract.objects.count() == 1
