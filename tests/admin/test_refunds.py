import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.urls import reverse

from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.engine import operations
from django_wxpay.exceptions import RefundWaits
from django_wxpay.models import Operation, Refund
from django_wxpay.services import refunds
from django_wxpay.testing import make_order, make_refund
from tests.admin.conftest import Staff

pytestmark = pytest.mark.django_db(transaction=True)
REFUNDS = "/v3/global/refunds"


@pytest.fixture
def order(wxpay_sandbox):
    return wxpay_sandbox.paid_order()


@pytest.fixture
def agent(staff):
    return staff("view_order", "view_refund", "refund_order")


def refund_calls(wxpay_sandbox):
    return [call for call in wxpay_sandbox.calls if call == ("POST", REFUNDS)]


def test_the_page_says_what_will_happen_before_anything_does(wxpay_sandbox, order, agent):
    page = agent.get("order_refund", order.pk)
    assert page.status_code == 200
    assert "Amount HK$38.00" in page.text
    assert "Remains refundable HK$38.00" in page.text
    assert "It cannot be called back." in page.text
    assert 'value="38.00"' in page.html
    assert not Refund.objects.exists() and not refund_calls(wxpay_sandbox)


def test_a_part_is_refunded_and_the_outcome_told_in_words(wxpay_sandbox, order, agent):
    page = agent.confirm("order_refund", order.pk, amount="3.50", reason="late delivery", source="")
    refund = Refund.objects.get()
    assert (refund.amount, refund.state, refund.reason) == (350, "PROCESSING", "late delivery")
    assert page.answer.redirect_chain == [(reverse("admin:django_wxpay_refund_change", args=[refund.pk]), 302)]
    assert "Refund of HK$3.50: WeChat Pay accepted it" in page.text
    asked = Operation.objects.get(subject="refund")
    assert asked.requested_by == agent.user
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (agent.user, str(order.pk))
    assert "HK$3.50" in entry.get_change_message()


def test_without_permission_to_see_refunds_one_comes_back_to_the_order(wxpay_sandbox, order, staff):
    agent = staff("view_order", "refund_order")
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert page.answer.redirect_chain == [(reverse("admin:django_wxpay_order_change", args=[order.pk]), 302)]
    assert "Refund of HK$3.50" in page.text


@pytest.mark.scenario("S38")
def test_the_same_form_twice_refunds_once_and_shows_the_first(wxpay_sandbox, order, agent):
    form = agent.fill("order_refund", order.pk, amount="3.50")
    first = agent.post("order_refund", order.pk, token=form.token, amount="3.50")
    second = agent.post("order_refund", order.pk, token=form.token, amount="3.50")
    assert Refund.objects.count() == len(refund_calls(wxpay_sandbox)) == 1
    assert second.answer.redirect_chain == first.answer.redirect_chain
    assert "asked for before; nothing more was asked now. Refund of HK$3.50" in second.text
    assert LogEntry.objects.count() == 1


@pytest.mark.scenario("S38")
def test_going_back_and_changing_the_amount_shows_the_first_refund(wxpay_sandbox, order, agent):
    form = agent.fill("order_refund", order.pk, amount="3.50")
    agent.post("order_refund", order.pk, token=form.token, amount="3.50")
    second = agent.post("order_refund", order.pk, token=form.token, amount="9.00")
    assert Refund.objects.get().amount == 350
    assert "asked for before" in second.text and "HK$3.50" in second.text


@pytest.mark.scenario("S38")
def test_the_same_form_twice_for_all_that_remains_shows_the_first(wxpay_sandbox, order, agent):
    form = agent.fill("order_refund", order.pk, amount="38.00")
    agent.post("order_refund", order.pk, token=form.token, amount="38.00")
    second = agent.post("order_refund", order.pk, token=form.token, amount="38.00")
    assert Refund.objects.count() == 1
    assert "asked for before" in second.text


@pytest.mark.scenario("S38")
@pytest.mark.real
def test_the_same_form_from_four_tabs_at_once_refunds_once(wxpay_sandbox, order, agent):
    form = agent.fill("order_refund", order.pk, amount="3.50")
    pages, ready = [], threading.Barrier(4)

    def submit():
        tab = Staff(agent.user)
        ready.wait()
        try:
            pages.append(tab.post("order_refund", order.pk, token=form.token, amount="3.50", follow=False))
        finally:
            connection.close()

    tabs = [threading.Thread(target=submit) for _ in range(4)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert [page.status_code for page in pages] == [302] * 4
    assert Refund.objects.count() == len(refund_calls(wxpay_sandbox)) == 1
    assert LogEntry.objects.count() == 1


def test_what_was_filled_in_is_confirmed_under_a_button_that_names_the_amount(wxpay_sandbox, order, agent):
    form = agent.get("order_refund", order.pk)
    assert form.button == "Continue"
    page = agent.post("order_refund", order.pk, token=form.token, amount="3.50", reason="late", source="")
    assert (page.button, page.asks_to_confirm) == ("Refund HK$3.50", True)
    assert "To be refunded now HK$3.50 Remains then HK$34.50 Reason late" in page.text
    assert not Refund.objects.exists() and not refund_calls(wxpay_sandbox)


def test_another_amount_than_the_one_that_was_shown_is_asked_for_anew(wxpay_sandbox, order, agent):
    shown = agent.fill("order_refund", order.pk, amount="3.50")
    page = agent.post("order_refund", order.pk, token=shown.token, amount="35.00")
    assert (page.button, Refund.objects.count()) == ("Refund HK$35.00", 0)


@pytest.mark.scenario("S62")
def test_after_a_refund_the_page_names_it_and_nothing_is_filled_in(wxpay_sandbox, order, agent):
    agent.confirm("order_refund", order.pk, amount="1.00", reason="a cup")
    page = agent.get("order_refund", order.pk)
    assert 'name="amount" value' not in page.html
    assert "HK$1.00 · being refunded · sam ·" in page.text and "· a cup" in page.text
    assert "This field is required" in agent.post("order_refund", order.pk, token=page.token, amount="").text
    assert Refund.objects.count() == 1


@pytest.mark.scenario("S62")
def test_back_to_a_page_that_the_browser_fills_in_again_is_a_question_that_names_the_first(wxpay_sandbox, order, agent):
    agent.confirm("order_refund", order.pk, amount="1.00")
    page = agent.fill("order_refund", order.pk, amount="1.00")
    assert (page.button, Refund.objects.count()) == ("Refund HK$1.00", 1)
    assert "HK$1.00 · being refunded · sam" in page.text


@pytest.mark.scenario("S62")
def test_back_to_the_page_that_was_there_before_is_a_question_that_names_the_first(wxpay_sandbox, order, agent):
    form = agent.get("order_refund", order.pk)
    shown = agent.post("order_refund", order.pk, token=form.token, amount="1.00")
    agent.post("order_refund", order.pk, token=shown.token, amount="1.00")
    page = agent.post("order_refund", order.pk, token=form.token, amount="37.00")
    assert "Meanwhile something has changed. Nothing was done." in page.text
    assert page.text.count("HK$1.00 · being refunded · sam") == 2  # among the facts, too
    assert (page.button, Refund.objects.count()) == ("Refund HK$37.00", 1)


@pytest.mark.scenario("S62")
def test_of_two_tabs_the_second_is_told_of_the_first_and_asked_again(wxpay_sandbox, order, agent):
    one, other = (agent.fill("order_refund", order.pk, amount="1.00") for _ in range(2))
    agent.post("order_refund", order.pk, token=one.token, amount="1.00")
    page = agent.post("order_refund", order.pk, token=other.token, amount="1.00")
    assert "Meanwhile something has changed" in page.text and "HK$1.00 · being refunded · sam" in page.text
    assert Refund.objects.count() == len(refund_calls(wxpay_sandbox)) == 1
    agent.post("order_refund", order.pk, token=page.token, amount="1.00")  # it is meant
    assert Refund.objects.count() == 2


@pytest.mark.scenario("S62")
@pytest.mark.real
def test_two_people_who_confirm_at_the_same_moment_refund_once(wxpay_sandbox, order, staff):
    permissions = ("view_order", "view_refund", "refund_order")
    people = [staff(*permissions, name=name) for name in ("ann", "bob", "cat")]
    tokens = [one.fill("order_refund", order.pk, amount="1.00").token for one in people]
    pages, ready = [], threading.Barrier(3)

    def confirm(person, token):
        ready.wait()
        try:
            pages.append(person.post("order_refund", order.pk, token=token, amount="1.00", follow=False))
        finally:
            connection.close()

    threads = [threading.Thread(target=confirm, args=pair) for pair in zip(people, tokens, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(page.status_code for page in pages) == [200, 200, 302]
    assert Refund.objects.count() == len(refund_calls(wxpay_sandbox)) == 1
    for page in pages:
        assert page.status_code == 302 or "Look again, then confirm." in page.text


@pytest.mark.scenario("S62")
def test_a_refund_that_gave_back_meanwhile_is_told_too(wxpay_sandbox, order, agent):
    refund = make_refund(order=order, amount=100)
    page = agent.fill("order_refund", order.pk, amount="2.00")
    Refund.objects.filter(pk=refund.pk).update(state="CLOSED")
    order.change_reserved(-100)
    page = agent.post("order_refund", order.pk, token=page.token, amount="2.00")
    assert "What remains refundable is another amount now." in page.text
    assert Refund.objects.count() == 1


@pytest.mark.scenario("S37")
def test_two_forms_with_equal_amounts_are_two_refunds(wxpay_sandbox, order, agent):
    agent.confirm("order_refund", order.pk, amount="3.50")
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert list(Refund.objects.values_list("amount", flat=True)) == [350, 350]
    assert "written down and will be sent by itself" in page.text  # one refund of an order at a time
    order.refresh_from_db()
    assert order.refund_reserved == 700


def test_a_lost_answer_is_told_as_unknown_and_found_out_later(wxpay_sandbox, order, agent):
    wxpay_sandbox.fault("lost_answer", REFUNDS)
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert "The outcome is unknown" in page.text
    assert "Please do not ask for the same again" in page.text
    assert Operation.objects.get(subject="refund").state == "UNKNOWN"
    Operation.objects.open().update(next_try_at="2020-01-01T00:00Z")
    operations.send_due()
    assert Refund.objects.get().state in ("PROCESSING", "SUCCESS")


def test_a_refusal_is_told_with_its_reason(wxpay_sandbox, order, agent):
    wxpay_sandbox.fault("refuse", REFUNDS, code="INVALID_REQUEST", status=400)
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert "Refused:" in page.text and "INVALID_REQUEST" in page.text
    order.refresh_from_db()
    assert (Refund.objects.get().state, order.refund_reserved) == ("REFUSED", 0)


def test_when_nothing_could_be_sent_the_page_says_that_it_will_be(wxpay_sandbox, order, agent):
    wxpay_sandbox.fault("error_429", REFUNDS)
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert "WeChat Pay has not taken it yet, so surely nothing has happened so far" in page.text
    assert Operation.objects.get(subject="refund").state == "PLANNED"


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("", "This field is required."),
        ("0", "more than zero"),
        ("-1", "more than zero"),
        ("3.505", "like 12.34"),
        ("1,000.00", "like 12.34"),
        ("abc", "like 12.34"),
        ("38.01", "Only HK$38.00 can still be refunded"),
    ],
)
def test_an_amount_that_cannot_be_is_refused_in_the_form(wxpay_sandbox, order, agent, amount, words):
    page = agent.confirm("order_refund", order.pk, amount=amount)
    assert words in page.text
    assert page.token and not Refund.objects.exists()


def test_a_reason_that_cannot_be_is_refused_at_its_field(wxpay_sandbox, order, agent):
    page = agent.confirm("order_refund", order.pk, amount="1", reason="🙂")
    assert "emoji" in page.text
    assert not Refund.objects.exists()


def test_a_currency_without_minor_unit_is_typed_and_shown_without_one(wxpay_sandbox, agent):
    order = make_order(amount_total=500, currency="JPY")
    assert 'value="500"' in agent.get("order_refund", order.pk).html
    page = agent.confirm("order_refund", order.pk, amount="1.5")
    assert "like 1234" in page.text


def test_an_unpaid_order_says_why_it_is_not_refunded(wxpay_sandbox, agent):
    order = make_order(state="NOTPAY")
    page = agent.get("order_refund", order.pk)
    assert "This is not possible now. The order is not paid" in page.text
    assert not page.token
    assert agent.url("order_refund", order.pk) not in agent.get("order_change", order.pk).links


def test_a_fully_refunded_order_offers_no_refund(wxpay_sandbox, agent):
    order = make_order()
    make_refund(order=order, amount=3800)
    assert agent.url("order_refund", order.pk) not in agent.get("order_change", order.pk).links
    assert "Nothing remains to refund" in agent.get("order_refund", order.pk).text


@pytest.mark.scenario("S39")
def test_an_order_paid_more_than_a_year_ago_is_refused_here_with_the_reason(wxpay_sandbox, agent):
    order = make_order(success_time="2020-01-01T00:00Z")
    page = agent.confirm("order_refund", order.pk, amount="1")
    assert "paid more than 365 days ago" in page.text
    assert not Refund.objects.exists() and not refund_calls(wxpay_sandbox)


def test_query_asks_about_the_refund(wxpay_sandbox, order, staff):
    agent = staff("view_refund", "query_refund")
    refund = wxpay_sandbox.refund(order, 1000)
    wxpay_sandbox.delivers = False
    wxpay_sandbox.advance(60)
    page = agent.confirm("refund_query", refund.pk)
    refund.refresh_from_db()
    assert refund.state == "SUCCESS"
    assert "WeChat Pay was asked. It is: refunded." in page.text


# Giving up


@pytest.fixture
def waiting(wxpay_sandbox, order):
    """A refund that WeChat Pay has not taken, for want of the merchant's money."""
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", code="NOT_ENOUGH", status=403)
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=1000, reference="r-1")
    return Refund.objects.get()


def test_a_refund_without_money_is_told_as_waiting_and_not_to_be_made_again(wxpay_sandbox, order, agent):
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", code="NOT_ENOUGH", status=403)
    page = agent.confirm("order_refund", order.pk, amount="3.50")
    assert "asked again every hour under the same number. Do not refund the same again" in page.text


def test_a_waiting_refund_is_given_up_with_a_reason_by_whoever_may(wxpay_sandbox, order, waiting, staff):
    agent = staff("view_refund", "give_up_refund")
    assert agent.url("refund_give_up", waiting.pk) in agent.get("refund_change", waiting.pk).links
    form = agent.get("refund_give_up", waiting.pk)
    assert "NOT_ENOUGH" in form.text and "HK$10.00 are refundable again" in form.text
    assert "NOT_ENOUGH NOT_ENOUGH" not in form.text and "Fund source WeChat Pay’s default" in form.text
    assert form.button == "Give up the refund of HK$10.00"
    assert "This field is required" in agent.post("refund_give_up", waiting.pk, token=form.token, reason="").text
    page = agent.post("refund_give_up", waiting.pk, token=form.token, reason="paid in cash")
    assert "The refund is given up: HK$10.00 are refundable again." in page.text
    waiting.refresh_from_db()
    order.refresh_from_db()
    assert (waiting.state, order.refund_reserved) == ("REFUSED", 0)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (agent.user, str(waiting.pk))
    assert "paid in cash" in entry.get_change_message()
    again = agent.post("refund_give_up", waiting.pk, token=form.token, reason="paid in cash")
    assert "asked for before; nothing more was asked now" in again.text


def test_an_order_whose_refund_waits_for_money_says_what_to_do_about_it(wxpay_sandbox, staff):
    agent = staff("view_order", "refund_order")
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.fault("refuse", REFUNDS, method="POST", code="NOT_ENOUGH", status=403)
    with pytest.raises(RefundWaits):
        refunds.create(order, amount=3800, reference="r")
    assert "Nothing remains to refund" in agent.get("order_refund", order.pk).text
    assert "One of them waits for money: give it up on its own page" in agent.get("order_refund", order.pk).text
    refunds.give_up(order.refunds.get())
    assert "waits for money" not in agent.get("order_refund", order.pk).text


def test_a_refund_that_may_have_been_taken_says_why_it_is_not_given_up(wxpay_sandbox, order, staff):
    agent = staff("view_refund", "give_up_refund")
    wxpay_sandbox.fault("lost_answer", REFUNDS, method="POST")
    with pytest.raises(OutcomeUnknown):
        refunds.create(order, amount=1000, reference="r-1")
    refund = Refund.objects.get()
    page = agent.get("refund_give_up", refund.pk)
    assert "may have taken it" in page.text and not page.token
    assert agent.url("refund_give_up", refund.pk) not in agent.get("refund_change", refund.pk).links
    assert "Only a refund that WeChat Pay has not taken yet" in agent.get("refund_give_up", make_refund().pk).text


def test_refunds_that_wait_for_money_are_on_the_dashboard_and_lead_to_their_list(waiting, boss):
    make_refund()
    assert "1 Refunds that wait for money" in boss.get("dashboard").text
    listed = boss.get("refund_changelist", attention="money")
    assert str(waiting)[:14] in listed.html and "1 refund" in listed.text


# Many at once


def ask_for_refunds(agent, orders, **fields):
    page = agent.choose("order", "refund_selected", orders)
    return page, agent.post("order_refund_selected", token=page.token, source="", **fields)


@pytest.mark.scenario("S42")
def test_a_list_of_500_of_which_the_third_fails_gives_a_result_for_each(wxpay_sandbox, agent):
    contract = make_order().contract
    orders = [make_order(contract=contract) for _ in range(500)]
    page = agent.choose("order", "refund_selected", orders)
    assert "500 rows" in page.text and "HK$19,000.00" in page.text
    third = orders[2]
    make_refund(order=third, amount=100)  # meanwhile somebody else refunded a part of it
    results = agent.post("order_refund_selected", token=page.token, reason="recall", source="")
    assert results.html.count('class="wxpay-result ') == 500
    assert results.html.count("wxpay-result-success") == 499
    assert results.html.count("wxpay-result-error") == 1
    assert f"{third} HK$38.00 It has changed since the page was made: nothing was asked. HK$1.00 ·" in results.text
    planned = Operation.objects.filter(state="PLANNED", action="REFUND")
    assert planned.count() == 499
    assert not refund_calls(wxpay_sandbox)  # written down; a worker sends them
    assert LogEntry.objects.count() == 499


@pytest.mark.scenario("S42")
def test_a_bug_at_one_row_does_not_keep_the_others(wxpay_sandbox, agent, caplog):
    orders = [make_order() for _ in range(3)]
    page = agent.choose("order", "refund_selected", orders)
    type(orders[1]).objects.filter(pk=orders[1].pk).update(merchant="gone")
    results = agent.post("order_refund_selected", token=page.token, source="")
    assert "An unexpected fault" in results.text
    assert Refund.objects.count() == 2
    assert "list action broke" in caplog.text


@pytest.mark.scenario("S62")
def test_an_order_of_a_list_that_was_refunded_meanwhile_is_left_alone_though_it_would_fit(wxpay_sandbox, agent):
    order = make_order()
    refund = make_refund(order=order, amount=3700)
    page = agent.choose("order", "refund_selected", [order])
    Refund.objects.filter(pk=refund.pk).update(state="CLOSED")
    order.change_reserved(-3700)
    results = agent.post("order_refund_selected", token=page.token, source="")
    assert "What remains refundable is another amount now." in results.text
    assert Refund.objects.count() == 1


@pytest.mark.scenario("S62")
def test_a_list_s_page_made_again_after_its_refunds_has_nothing_left_to_refund(wxpay_sandbox, agent):
    orders = [make_order(), make_order()]
    ask_for_refunds(agent, orders)
    page = agent.choose("order", "refund_selected", orders)
    assert page.text.count("Nothing remains to refund") == 2
    assert not page.token


@pytest.mark.scenario("S62")
@pytest.mark.scenario("S38")
def test_the_same_list_twice_refunds_once(wxpay_sandbox, agent):
    orders = [make_order(), make_order()]
    page, first = ask_for_refunds(agent, orders)
    second = agent.post("order_refund_selected", token=page.token, source="")
    assert Refund.objects.count() == 2
    assert second.text.count("asked for before") == 2


def test_rows_that_cannot_be_refunded_are_left_out_and_named(wxpay_sandbox, agent):
    paid, unpaid = make_order(), make_order(state="NOTPAY")
    page, results = ask_for_refunds(agent, [paid, unpaid])
    assert "1 of the chosen rows is left out" in page.text
    assert "The order is not paid" in page.text
    assert Refund.objects.get().order == paid


def test_the_amounts_are_those_that_were_shown(wxpay_sandbox, agent):
    order = make_order()
    page = agent.choose("order", "refund_selected", [order])
    agent.post("order_refund_selected", token=page.token, amount="1", source="")
    assert Refund.objects.get().amount == 3800
