"""Notifications, transitions, discrepancies, certificates, and the dashboard that counts them."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from django_wxpay import conf, signals
from django_wxpay.admin.base import NUMBERS
from django_wxpay.engine import discrepancies, registry, remote, transitions
from django_wxpay.models import (
    SUBJECTS,
    Discrepancy,
    MerchantState,
    Notification,
    Operation,
    Order,
    PlatformCertificate,
    Transition,
)
from django_wxpay.testing import make_contract, make_order, make_refund
from tests.letters import write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failing_receiver():
    """A receiver of the shop that raises until `heal()`."""

    class Receiver:
        broken = True

        def __call__(self, **given):
            if self.broken:
                raise RuntimeError("the shop's own bug")

        def heal(self):
            self.broken = False

    receiver = Receiver()
    signals.state_changed.connect(receiver, weak=False)
    yield receiver
    signals.state_changed.disconnect(receiver)


def parked(row, **values):
    return Transition.objects.create(
        merchant="default", subject=row.subject, object_id=row.pk, to_state=row.state, source="ANSWER",
        deliver_after=None, delivery_attempts=10, delivery_error="RuntimeError: the shop's own bug", **values,
    )  # fmt: skip


# Notifications


@pytest.fixture
def waiting(wxpay_sandbox):
    """A genuine notification whose order we do not have (yet)."""
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.delivers = False
    order = wxpay_sandbox.paid_order(contract)
    Transition.objects.all().delete()
    Order.objects.filter(pk=order.pk).update(out_trade_no="hidden")
    wxpay_sandbox.deliver()
    Order.objects.filter(pk=order.pk).update(out_trade_no=order.out_trade_no)
    return Notification.objects.get(event_type="TRANSACTION.SUCCESS")


def test_a_waiting_notification_is_processed_again(wxpay_sandbox, waiting, staff):
    agent = staff("view_notification", "retry_notification")
    assert waiting.state == "WAITING"
    page = agent.confirm("notification_retry", waiting.pk)
    waiting.refresh_from_db()
    assert waiting.state == "PROCESSED"
    assert "It was processed; it is now: processed." in page.text
    assert "It is processed already." in agent.get("notification_retry", waiting.pk).text


def test_a_notification_that_fails_again_says_why(wxpay_sandbox, waiting, staff):
    agent = staff("view_notification", "retry_notification")
    Notification.objects.filter(pk=waiting.pk).update(body=b"{}", state="FAILED")
    page = agent.confirm("notification_retry", waiting.pk)
    assert "It failed again" in page.text and "MessageMalformed" in page.text


def test_a_list_of_notifications_is_processed_again(wxpay_sandbox, waiting, staff):
    agent = staff("view_notification", "retry_notification")
    page = agent.choose("notification", "retry_selected", [waiting])
    results = agent.post("notification_retry_selected", token=page.token)
    assert "It was processed" in results.text
    waiting.refresh_from_db()
    assert waiting.state == "PROCESSED"


def test_news_of_an_unknown_kind_is_shown_and_can_be_tried_by_hand(wxpay_sandbox, staff):
    order = make_order()
    write(wxpay_sandbox, "TRANSACTION.PAY_BACK", {"mchid": order.mchid, "out_trade_no": order.out_trade_no}).post()
    write(wxpay_sandbox, "COUPON.USE", {"mchid": order.mchid}).post()
    agent = staff("view_notification", "retry_notification")
    news = Notification.objects.get(event_type="TRANSACTION.PAY_BACK")
    listed = agent.get("notification_changelist", attention="unknown").text
    assert "TRANSACTION.PAY_BACK" in listed and "COUPON.USE" not in listed
    page = agent.confirm("notification_retry", news.pk)
    assert "This version does not know its kind." in page.text


@pytest.mark.parametrize("merchant", ["mainland", "mainland_partner"])
def test_whatever_a_message_is_about_its_page_and_the_lists_show_it_with_a_link(wxpay_sandbox, staff, merchant):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.refund(wxpay_sandbox.paid_order(contract), 100)
    wxpay_sandbox.terminate(contract)
    course = wxpay_sandbox.signed_plan(wxpay_sandbox.plan(merchant=merchant))
    wxpay_sandbox.refund(wxpay_sandbox.completed(course).orders.get(), 100)
    wxpay_sandbox.cancel_plan(course)
    wxpay_sandbox.advance(10)
    kinds = set(registry.event_types()) - {"PAYSCORE.USER_CONFIRM", "REFUND.ABNORMAL", "REFUND.CLOSED"}
    known = Notification.objects.order_by("pk")
    assert kinds <= set(known.values_list("event_type", flat=True))

    agent = staff(*(f"view_{model._meta.model_name}" for model in (Notification, Transition, *SUBJECTS.values())))
    listed = agent.get("notification_changelist").text
    for notification in known:
        page = agent.get("notification_change", notification.pk).html
        row = SUBJECTS[notification.subject].objects.get(**{NUMBERS[notification.subject][0]: notification.number})
        link = f"/{row._meta.model_name}/{row.pk}/change/"
        assert link in page, notification.event_type
        assert notification.event_type in listed
    assert {one.subject for one in known} == {"contract", "order", "refund", "sign_plan", "service_order"}
    moved = agent.get("transition_changelist").text
    assert all(str(SUBJECTS[name]._meta.verbose_name) in moved for name in ("sign_plan", "service_order"))


# Deliveries


def test_a_parked_transition_is_delivered_again(wxpay_sandbox, staff, failing_receiver):
    agent = staff("view_transition", "deliver_transition")
    transition = parked(make_order())
    page = agent.confirm("transition_deliver", transition.pk)
    assert "A receiver failed again" in page.text and "the shop's own bug" in page.text
    failing_receiver.heal()
    page = agent.confirm("transition_deliver", transition.pk)
    assert "It is delivered." in page.text
    transition.refresh_from_db()
    assert transition.delivered_at


def test_an_earlier_one_of_the_same_object_goes_first(wxpay_sandbox, staff):
    agent = staff("view_transition", "deliver_transition")
    order = make_order()
    first, second = parked(order), parked(order)
    assert f"deliver number {first.pk} of the same object first" in agent.get("transition_deliver", second.pk).text
    page = agent.choose("transition", "deliver_selected", [second, first])
    agent.post("transition_deliver_selected", token=page.token)
    assert not Transition.objects.undelivered().exists()
    assert transitions.deliver_due() == 0


# Discrepancies


@pytest.fixture
def discrepancy(wxpay_sandbox):
    order = make_order()
    return discrepancies.record("MISMATCH", order, ours="amount.total: 3800", theirs="amount.total: 3900")


def test_a_discrepancy_is_resolved_with_a_note(discrepancy, staff):
    agent = staff("view_discrepancy", "resolve_discrepancy")
    page = agent.confirm("discrepancy_resolve", discrepancy.pk, note="")
    assert "This field is required." in page.text
    page = agent.confirm("discrepancy_resolve", discrepancy.pk, note="our price list was old")
    discrepancy.refresh_from_db()
    assert (discrepancy.state, discrepancy.resolved_by) == ("RESOLVED", agent.user)
    assert "The discrepancy is resolved." in page.text and "our price list was old" in page.text


@pytest.mark.scenario("S38")
def test_two_people_end_a_discrepancy_and_the_second_sees_what_the_first_said(discrepancy, staff):
    one, other = (staff("view_discrepancy", "resolve_discrepancy", name=name) for name in ("one", "other"))
    form = other.get("discrepancy_resolve", discrepancy.pk)
    one.confirm("discrepancy_ignore", discrepancy.pk, note="a test of theirs")
    page = other.post("discrepancy_resolve", discrepancy.pk, token=form.token, note="mended")
    discrepancy.refresh_from_db()
    assert (discrepancy.state, discrepancy.resolution) == ("IGNORED", "a test of theirs")
    assert "It is ignored: a test of theirs" in page.text


def test_a_list_of_discrepancies_is_resolved_with_one_note(discrepancy, staff):
    agent = staff("view_discrepancy", "resolve_discrepancy")
    page = agent.choose("discrepancy", "resolve_selected", [discrepancy])
    page = agent.post("discrepancy_resolve_selected", token=page.token, note="")
    assert "This field is required." in page.text
    agent.post("discrepancy_resolve_selected", token=page.token, note="all mended")
    discrepancy.refresh_from_db()
    assert discrepancy.resolution == "all mended"


def test_a_side_that_said_nothing_is_a_dash_and_no_word_of_python(discrepancy, staff):
    Discrepancy.objects.filter(pk=discrepancy.pk).update(theirs="")
    page = staff("view_discrepancy").get("discrepancy_change", discrepancy.pk)
    assert "None" not in page.text


@pytest.mark.parametrize(("language", "kind", "about"), [("en", "order", "About"), ("zh-hans", "订单", "关于")])
def test_what_a_discrepancy_is_about_is_named_in_the_reader_s_language(discrepancy, staff, language, kind, about):
    agent = staff("view_discrepancy", "resolve_discrepancy")
    agent.browser.cookies["django_language"] = language
    assert f"{about} {kind} {discrepancy.number}" in agent.get("discrepancy_resolve", discrepancy.pk).text


def test_what_sends_nothing_does_not_say_that_a_worker_sends_it(waiting, discrepancy, staff):
    agent = staff("view_notification", "retry_notification", "view_discrepancy", "resolve_discrepancy")
    for model, action, row in (
        ("notification", "retry_selected", waiting),
        ("discrepancy", "resolve_selected", discrepancy),
    ):
        page = agent.choose(model, action, [row])
        assert "sent by a worker" not in page.text and "Each is done at once" in page.text


# The dashboard


@pytest.fixture
def trouble(wxpay_sandbox, discrepancy):
    now = timezone.now()
    order = make_order()
    common = {"merchant": "default", "mchid": order.mchid}
    make_refund(order=order, state="ABNORMAL", amount=100)
    asked = {**common, "subject": "order", "action": "DEDUCT", "created_at": now - timedelta(hours=1)}
    Operation.objects.create(**asked, object_id=order.pk, state="UNKNOWN", open_key="a")
    Operation.objects.create(**asked, object_id=1, open_key="b", next_try_at=now - timedelta(hours=1))
    Operation.objects.create(**asked | {"created_at": now}, object_id=2, state="UNKNOWN", open_key="c")
    for number, state in enumerate(("FAILED", "WAITING", "PROCESSED")):
        Notification.objects.create(**common, event_id=f"e-{number}", event_type="REFUND.SUCCESS", state=state)
    parked(order)
    PlatformCertificate.objects.create(
        **common, serial_no="5F00", effective_time=now, expire_time=now + timedelta(days=2), item={}
    )
    MerchantState.objects.update_or_create(
        mchid=order.mchid, defaults={"merchant": "default", "refresh_error": "NO_AUTH"}
    )
    return order


def cards(page):
    """{title: (count, address)} of the dashboard."""
    found = re.findall(
        r'class="wxpay-card" href="([^"]+)">\s*<span[^>]+>(\d+)</span>\s*<span[^>]+>([^<]+)</span>', page.html
    )
    return {title: (int(count), url.replace("&amp;", "&")) for url, count, title in found}


def test_the_dashboard_counts_what_needs_a_person_and_leads_there(trouble, viewer):
    found = cards(viewer.get("dashboard"))
    assert {title: count for title, (count, _) in found.items()} == {
        "Open discrepancies": 1,
        "Refunds not delivered": 1,
        "Requests without an outcome": 1,
        "Requests not sent": 1,
        "Failed notifications": 1,
        "Notifications waiting for their object": 1,
        "Parked deliveries": 1,
        "Certificates that end soon": 1,
        "Merchants in trouble": 1,
    }
    for count, url in found.values():
        answer = viewer.browser.get(url)
        assert answer.status_code == 200
        assert answer.context["cl"].result_count == count


def test_a_quiet_dashboard_says_so(wxpay_sandbox, viewer):
    make_contract()
    page = viewer.get("dashboard")
    assert "Nothing needs a person at the moment." in page.text and cards(page) == {}


def test_the_dashboard_shows_each_person_what_they_may_see(trouble, staff):
    assert list(cards(staff("view_discrepancy", name="one").get("dashboard"))) == ["Open discrepancies"]
    assert staff(name="nobody").get("dashboard").status_code == 403


def test_the_dashboard_is_linked_from_every_list_and_from_the_app_s_page(trouble, viewer):
    url = viewer.url("dashboard")
    for model in ("contract", "order", "refund", "operation", "notification", "transition", "discrepancy",
                  "platformcertificate", "merchantstate"):  # fmt: skip
        page = viewer.get(f"{model}_changelist")
        assert page.status_code == 200 and url in page.links
    assert url in viewer.browser.get("/admin/django_wxpay/").content.decode()


@pytest.mark.parametrize("model", ["operation", "transition", "discrepancy"])
def test_rows_about_an_object_are_found_by_its_number(trouble, viewer, model):
    page = viewer.get(f"{model}_changelist", q=trouble.transaction_id)
    assert page.status_code == 200
    about = Discrepancy.objects.filter(object_id=trouble.pk).count() if model == "discrepancy" else 1
    assert page.answer.context["cl"].result_count == about


@pytest.mark.parametrize("model", ["order", "refund", "contract", "operation", "notification", "transition"])
def test_pages_have_no_script_nor_style_of_their_own(trouble, viewer, model):
    rows = {"contract": trouble.contract, "order": trouble, "refund": trouble.refunds.get()}
    others = {"operation": Operation, "notification": Notification, "transition": Transition}
    row = rows.get(model) or others[model].objects.first()
    html = viewer.get(f"{model}_change", row.pk).html
    assert "style=" not in html
    assert re.findall(r"<script(?![^>]*src=)[^>]*>", html) == []


@pytest.mark.parametrize("model", ["operation", "notification", "transition", "discrepancy"])
def test_a_list_links_to_its_own_rows_in_the_first_column(trouble, viewer, model):
    row = {"operation": Operation, "notification": Notification, "transition": Transition, "discrepancy": Discrepancy}
    html = viewer.get(f"{model}_changelist").html
    first = re.search(r'<th class="field-[^"]*"><a href="([^"?]+)[^"]*">((?:(?!</th>).)*)', html, re.S)
    assert first[1] == viewer.url(f"{model}_change", row[model].objects.first().pk)
    assert "<a " not in first[2]


@pytest.mark.scenario("S55")
def test_a_pause_is_shown_with_its_reason_and_ended_by_hand(wxpay_sandbox, staff):
    merchant = conf.merchant("default")
    for _ in range(3):
        remote.slow_down(merchant, "RATE_LIMITED", timezone.now(), 600)
    state = MerchantState.objects.get(mchid=merchant.mchid)
    agent = staff("view_merchantstate", "resume_merchantstate")
    listed = agent.get("merchantstate_changelist", attention="trouble").text
    assert "asked us to slow down" in listed and " 3 " in listed
    assert "The pause is over" in agent.confirm("merchantstate_resume", state.pk).text
    assert remote.slowed() == []
    assert "Nothing is held back" in agent.get("merchantstate_resume", state.pk).text
    assert staff("view_merchantstate", name="other").get("merchantstate_resume", state.pk).status_code == 403
