import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_wxpay.client.errors import OutcomeUnknown
from django_wxpay.models import Notification, Operation, Order, PlatformCertificate, Refund, Transition
from django_wxpay.sandbox.special import PAYMENT_AMOUNTS
from django_wxpay.services import orders
from django_wxpay.testing import make_contract, make_order, make_refund

pytestmark = pytest.mark.django_db(transaction=True)
DEDUCT = "/v3/global/papay/transactions"


@pytest.fixture
def agent(staff):
    return staff("view_order", "query_order", "close_order", "retry_order", "view_refund")


@pytest.fixture
def unknown(wxpay_sandbox):
    """A deduction whose answer was lost, long enough ago that no request can be under way."""
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.fault("lost_answer", DEDUCT)
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, amount=1000, currency="HKD", description="March", reference="m-1")
    Operation.objects.update(busy_until="2020-01-01T00:00Z", leased_until=None)
    return Order.objects.get()


def unpaid(wxpay_sandbox):
    """A deduction that WeChat Pay knows and that is not paid: special amount number 6."""
    contract = wxpay_sandbox.signed_contract()
    return orders.deduct(contract, amount=PAYMENT_AMOUNTS + 6, currency="HKD", description="March", reference="m-1")


def test_the_page_tells_the_whole_story(wxpay_sandbox, viewer):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.refund(order, 1000)
    wxpay_sandbox.advance(60)
    page = viewer.get("order_change", order.pk)
    assert "Amount HK$38.00" in page.text
    assert "Refunded or being refunded HK$10.00 Remains refundable HK$28.00" in page.text
    for words in ("We asked Deduct done", "We were told TRANSACTION.SUCCESS", "It became SUCCESS paid"):
        assert words in page.text
    assert "refunded in part" in page.text


@pytest.mark.scenario("S52")
def test_no_decrypted_text_key_or_raw_body_is_on_any_page(wxpay_sandbox, boss):
    contract = wxpay_sandbox.signed_contract(openid="o-synthetic-secret-0002")
    order = wxpay_sandbox.paid_order(contract)
    refund = wxpay_sandbox.refund(order, 1000)
    wxpay_sandbox.advance(60)
    known = wxpay_sandbox.wechat.merchant
    secrets = [known["apiv3_key"], "PRIVATE KEY", "ciphertext", "Wechatpay-Signature", "&quot;trade_state&quot;",
               "&quot;mchid&quot;", '"mchid"']  # fmt: skip
    pages = [boss.get(f"{row.subject}_change", row.pk) for row in (contract, order, refund)]
    pages += [boss.get("operation_change", one.pk) for one in Operation.objects.all()]
    pages += [boss.get("notification_change", one.pk) for one in Notification.objects.all()]
    pages += [boss.get("transition_change", one.pk) for one in Transition.objects.all()]
    pages += [boss.get("platformcertificate_change", one.pk) for one in PlatformCertificate.objects.all()]
    assert len(pages) > 10
    for page in pages:
        assert page.status_code == 200
        assert [secret for secret in secrets if secret in page.html] == []


def test_query_asks_about_the_order_and_adopts_refunds_made_elsewhere(wxpay_sandbox, agent):
    order = wxpay_sandbox.paid_order()
    refund = wxpay_sandbox.refund(order, 1000)
    Refund.objects.filter(pk=refund.pk).delete()
    Order.objects.filter(pk=order.pk).update(refund_reserved=0)
    wxpay_sandbox.delivers = False
    page = agent.confirm("order_query", order.pk)
    assert "WeChat Pay was asked. It is:" in page.text
    adopted = Refund.objects.get()
    assert (adopted.foreign, adopted.amount) == (True, 1000)


def test_a_paid_order_cannot_be_closed(wxpay_sandbox, agent):
    order = wxpay_sandbox.paid_order()
    page = agent.get("order_close", order.pk)
    assert "The order is paid: it is refunded, never closed." in page.text and not page.token
    assert agent.url("order_close", order.pk) not in agent.get("order_change", order.pk).links


def test_closing_an_unpaid_order_reverses_it(wxpay_sandbox, agent):
    order = unpaid(wxpay_sandbox)
    assert order.state == "NOTPAY"
    form = agent.get("order_close", order.pk)
    page = agent.post("order_close", order.pk, token=form.token)
    order.refresh_from_db()
    assert order.is_dead
    assert "The order is closed: it will not be paid." in page.text
    again = agent.post("order_close", order.pk, token=form.token)
    assert "asked for before; nothing more was asked now. The order is closed" in again.text
    assert Operation.objects.filter(action="REVERSE").count() == 1


def test_an_order_that_turns_out_to_be_paid_is_not_closed_and_the_page_says_so(wxpay_sandbox, agent, unknown):
    wxpay_sandbox.delivers = False
    page = agent.confirm("order_close", unknown.pk)
    unknown.refresh_from_db()
    assert unknown.state != "CLOSED"
    assert "paid" in page.text


def test_a_dead_deduction_is_charged_again_once(wxpay_sandbox, agent):
    order = unpaid(wxpay_sandbox)
    assert "may still be paid: close it first" in agent.get("order_retry", order.pk).text
    agent.confirm("order_close", order.pk)
    form = agent.get("order_retry", order.pk)
    assert "are deducted from the user again, under a new order number" in form.text
    assert form.button == "Charge HK$66,600.06 again"
    page = agent.post("order_retry", order.pk, token=form.token)
    later = Order.objects.get(attempt=2)
    assert page.answer.redirect_chain == [(agent.url("order_change", later.pk), 302)]
    page = agent.post("order_retry", order.pk, token=form.token)
    assert "asked for before" in page.text
    assert Order.objects.count() == 2
    assert "It was tried again already" in agent.get("order_retry", order.pk).text


def test_the_button_for_many_refunds_names_their_total(wxpay_sandbox, staff):
    agent = staff("view_order", "refund_order")
    rows = [make_order(), make_order(currency="CNY")]
    assert agent.choose("order", "refund_selected", rows).button == "Refund CN¥38.00 + HK$38.00"


def test_a_charge_that_another_sub_merchant_calls_the_same_is_no_later_attempt(wxpay_sandbox, agent):
    make_order(sub_mchid="1900000202", reference="membership-42", attempt=2)
    order = make_order(sub_mchid="1900000201", reference="membership-42", state="CLOSED")
    assert "It was tried again already" not in agent.get("order_retry", order.pk).text


def test_an_order_of_an_ended_contract_is_not_charged_again(wxpay_sandbox, agent):
    order = make_order(state="CLOSED", contract=make_contract(state="TERMINATED"))
    assert "it cannot be charged" in agent.get("order_retry", order.pk).text
    assert agent.url("order_retry", order.pk) not in agent.get("order_change", order.pk).links


def test_pages_that_send_work_under_atomic_requests(wxpay_sandbox, staff, settings):
    agent = staff("view_order", "refund_order", "view_refund")
    order = wxpay_sandbox.paid_order()
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        page = agent.confirm("order_refund", order.pk, amount="1")
        assert "WeChat Pay accepted it" in page.text
        page = agent.choose("order", "refund_selected", [order])
        results = agent.post("order_refund_selected", token=page.token, source="")
        assert "wxpay-result-success" in results.html
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.parametrize(("found_by", "count"), [("out_trade_no", 1), ("transaction_id", 1), ("reference", 1)])
def test_orders_are_found_by_their_numbers(wxpay_sandbox, viewer, found_by, count):
    order, other = make_order(), make_order()
    page = viewer.get("order_changelist", q=getattr(order, found_by))
    assert order.number in page.html and other.number not in page.html


@override_settings(LANGUAGE_CODE="zh-hans")
def test_amounts_follow_the_language_of_the_page(wxpay_sandbox, viewer):
    order = make_order(amount_total=123456, currency="CNY")
    assert "¥1,234.56" in viewer.get("order_change", order.pk).text


def test_lists_and_pages_ask_as_many_queries_for_many_rows_as_for_few(wxpay_sandbox, viewer):
    order = make_order()
    make_refund(order=order, amount=1)

    def queries():
        counts = []
        for name, *args in (
            ["contract_changelist"],
            ["order_changelist"],
            ["refund_changelist"],
            ["order_change", order.pk],
        ):
            with CaptureQueriesContext(connection) as captured:
                assert viewer.get(name, *args).status_code == 200
            counts.append(len(captured))
        return counts

    queries()  # fills Django's own caches
    few = queries()
    for _ in range(5):
        make_refund(order=order, amount=1)
        make_refund(order=make_order(), amount=1)
    assert queries() == few


def test_a_quick_payment_that_hangs_is_reversed(wxpay_sandbox, agent):
    order = make_order(state="USERPAYING", product="MICROPAY", contract=None)
    page = agent.get("order_close", order.pk)
    assert "the money goes back to the payer" in page.text and page.token
    assert agent.url("order_retry", order.pk) not in agent.get("order_change", order.pk).links


def test_what_is_not_there_is_a_dash_and_not_the_word_none(wxpay_sandbox, viewer):
    order = make_order(contract=None, product="MICROPAY", payer_total=None)
    page = viewer.get("order_change", order.pk)
    assert "None" not in page.text.split()
