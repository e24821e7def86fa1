"""Individual payees in the admin: who is authorised, and a query."""

import pytest

from django_wxpay.models import PayeeAuthorization
from django_wxpay.testing import make_payee

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_payee_is_shown_and_queried(wxpay_sandbox, staff):
    payee = wxpay_sandbox.payee()
    wxpay_sandbox.withdraw(payee)
    agent = staff("view_payeeauthorization", "query_payeeauthorization")
    listed = agent.get("payeeauthorization_changelist").text
    assert payee.individual_auth_id in listed and payee.openid not in listed
    page = agent.get("payeeauthorization_change", payee.pk)
    assert payee.openid in page.text and "authorised" in page.text
    asked = agent.confirm("payeeauthorization_query", payee.pk)
    assert "It is: not authorised." in asked.text
    payee.refresh_from_db()
    assert payee.state == "UNAUTHORIZED"


def test_a_list_of_payees_is_queried_soon(wxpay_sandbox, staff):
    payees = [make_payee(openid=f"o-{n}") for n in range(3)]
    agent = staff("view_payeeauthorization", "query_payeeauthorization")
    page = agent.choose("payeeauthorization", "query_selected", payees)
    agent.post("payeeauthorization_query_selected", token=page.token)
    assert PayeeAuthorization.objects.due().count() == 3


def test_a_payee_is_found_by_whatever_a_seller_reads_out(wxpay_sandbox, staff):
    payee = make_payee(openid="o-seller-0001")
    agent = staff("view_payeeauthorization")
    for value in (payee.payee_no, payee.individual_auth_id, payee.openid):
        assert payee.individual_auth_id in agent.get("payeeauthorization_changelist", q=value).text
    assert payee.individual_auth_id not in agent.get("payeeauthorization_changelist", q="o-seller").text
