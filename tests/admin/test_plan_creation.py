"""The page on which staff write a new plan: shown once more with its sums, created once, each error at its field."""

import logging
from types import SimpleNamespace

import pytest
from django.contrib.admin.models import LogEntry

from django_wxpay import conf
from django_wxpay.models import PayscorePlan
from tests.admin.conftest import Page

pytestmark = pytest.mark.django_db(transaction=True)
PLAN = {
    "name": "Swim 3x",
    "duration_days": "90",
    "merchant": "mainland",
    "details-TOTAL_FORMS": "3",
    "details-INITIAL_FORMS": "0",
    "details-0-name": "Lesson 1",
    "details-0-original_price": "100.00",
    "details-0-actual_price": "100",
    "details-1-name": "Lesson 2",
    "details-1-original_price": "100.00",
    "details-1-actual_price": "0",
    "details-1-discount_description": "free",
}


@pytest.fixture
def agent(staff):
    return staff("view_payscoreplan", "create_plan", name="ann")


def create(agent, **changed):
    """Fill in the page of a new plan. Returns what it shows then, and a function that presses its button."""
    shown = agent.fill("payscoreplan_create", **PLAN | changed)
    return shown, lambda: agent.post("payscoreplan_create", token=shown.token, **PLAN | changed)


def errors(page):
    """As `Page.errors`; a field of a service begins with its place."""
    parts = page.html.split("<h2>Service ")
    return {
        f"{place}.{name}" if place else name: words
        for place, part in enumerate(parts)
        for name, words in Page.errors.fget(SimpleNamespace(html=part)).items()
    }


def test_a_plan_is_shown_with_its_sums_before_it_is_created(wxpay_sandbox, agent):
    assert "Create a plan" in agent.get("payscoreplan_changelist").text
    shown, confirm = create(agent)
    assert shown.asks_to_confirm and "CN¥200.00" in shown.text and not PayscorePlan.objects.exists()
    page = confirm()
    assert "The plan is created: customers can sign it." in page.text
    plan = PayscorePlan.objects.get()
    assert (plan.state, plan.total_original_price, plan.total_actual_price) == ("NORMAL", 20000, 10000)
    assert list(plan.details.values_list("actual_price", flat=True)) == [10000, 0]


def test_a_partner_says_whose_plan_it_is(wxpay_sandbox, agent):
    assert 'name="sub_mchid"' in agent.get("payscoreplan_create").html
    _, confirm = create(agent, merchant="mainland_partner", sub_mchid="")
    confirm()
    config = conf.merchant("mainland_partner")
    assert PayscorePlan.objects.get().sub_mchid == config.sub_mchid
    shown, _ = create(agent, merchant="mainland_partner", sub_mchid="1900000999")
    assert "mainland_partner (1900000999)" in shown.text
    shown, _ = create(agent, sub_mchid="1900000999")
    assert "direct mode" in errors(shown)["sub_mchid"]


@pytest.mark.scenario("S62")
def test_a_form_sent_twice_creates_one_plan_and_shows_the_first_one(wxpay_sandbox, agent):
    _, confirm = create(agent)
    confirm()
    assert "This was asked for before; nothing more was asked now. The plan is created" in confirm().text
    assert LogEntry.objects.get().object_id == str(PayscorePlan.objects.get().pk)


@pytest.mark.parametrize("fault", ["lost_answer", "closed_connection"])
def test_a_creation_without_an_answer_is_told_in_words_and_done_once(wxpay_sandbox, agent, fault):
    _, confirm = create(agent)
    wxpay_sandbox.fault(fault, "/v3/payscore/plan/payscore-plans", method="POST")
    page = confirm()
    assert "The outcome is unknown" in page.text or "written down and will be sent again" in page.text
    assert "asked for before" in confirm().text
    assert PayscorePlan.objects.count() == 1


def test_who_confirms_sees_what_was_created_since_the_page_was_made(wxpay_sandbox, agent, staff):
    shown, confirm = create(agent)
    _, confirm_elsewhere = create(staff("view_payscoreplan", "create_plan", name="bea"), name="Bea’s plan")
    confirm_elsewhere()
    page = confirm()
    assert "Meanwhile something has changed" in page.text and "“Bea’s plan” for CN¥100.00" in page.text
    assert page.asks_to_confirm and PayscorePlan.objects.count() == 1
    agent.post("payscoreplan_create", token=page.token, **PLAN)
    assert PayscorePlan.objects.count() == 2


@pytest.mark.parametrize(
    ("changed", "where", "words"),
    [
        ({"details-1-actual_price": "101"}, "2.actual_price", "more than the original price"),
        (
            {"details-0-actual_price": "50", "details-1-actual_price": "60"}, "2.actual_price",
            "more than the price of the service before",
        ),
        ({"details-0-original_price": "1.234"}, "1.original_price", "Write an amount of CNY"),
        ({"details-0-actual_price": "-1"}, "1.actual_price", "more than zero"),
        ({"details-0-name": ""}, "1.name", "This field is required"),
        ({"duration_days": "0"}, "duration_days", "greater than or equal to 1"),
        ({"name": "x" * 21}, "name", "at most 20 characters"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_says_at_the_field_why(wxpay_sandbox, agent, changed, where, words):
    shown, _ = create(agent, **changed)
    assert not shown.asks_to_confirm
    assert list(errors(shown)) == [where] and words in errors(shown)[where]


@pytest.mark.parametrize(
    ("option", "most", "where"),
    [("PLAN_DURATION_MAX", 30, "duration_days"), ("RISK_AMOUNT_MAX", 5000, "1.actual_price"),
     ("DEDUCTION_QUANTITY_MAX", 1, "")],
)  # fmt: skip
def test_what_the_service_does_not_allow_is_told_at_its_field(wxpay_sandbox, agent, settings, option, most, where):
    merchants = settings.WXPAY["MERCHANTS"]
    allowing = merchants | {"mainland": merchants["mainland"] | {option: most}}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": allowing}
    _, confirm = create(agent)
    assert option in errors(confirm()).get(where, "")
    assert not PayscorePlan.objects.exists()


def test_a_plan_without_services_is_not_shown_for_confirmation(wxpay_sandbox, agent):
    empty = {name: "" for name in PLAN if name.endswith(("name", "_price", "_description")) and name != "name"}
    shown, _ = create(agent, **empty)
    assert errors(shown) == {"": "A plan has one service at least."}


def test_more_services_keep_what_was_filled_in(wxpay_sandbox, agent):
    more = agent.fill("payscoreplan_create", more="1", **PLAN | {"details-1-name": ""})
    assert 'name="details-5-name"' in more.html and 'value="Swim 3x"' in more.html
    assert errors(more) == {}
    forged = agent.fill("payscoreplan_create", more="1", **PLAN | {"details-TOTAL_FORMS": "many"})
    assert forged.status_code == 200


def test_who_wants_to_change_something_finds_it_filled_in(wxpay_sandbox, agent):
    shown, _ = create(agent)
    page = agent.post("payscoreplan_create", token=shown.token, change="1", **PLAN)
    assert not page.asks_to_confirm and 'value="Lesson 2"' in page.html


def test_a_service_left_empty_between_others_is_left_out(wxpay_sandbox, agent):
    moved = {name.replace("details-1", "details-2"): value for name, value in PLAN.items()}
    _, confirm = create(agent, **{name: "" for name in PLAN if name.startswith("details-1")} | moved)
    confirm()
    assert list(PayscorePlan.objects.get().details.values_list("plan_detail_name", flat=True)) == [
        "Lesson 1", "Lesson 2",
    ]  # fmt: skip


def test_somebody_else_s_page_creates_nothing(wxpay_sandbox, agent, staff):
    shown, _ = create(agent)
    other = staff("view_payscoreplan", "create_plan", name="bea")
    assert "belongs to somebody else" in other.post("payscoreplan_create", token=shown.token, **PLAN).text
    assert not PayscorePlan.objects.exists()


@pytest.mark.scenario("S41")
@pytest.mark.parametrize("permissions", [["view_payscoreplan"], ["create_plan"]])
def test_without_permission_nothing_is_created_and_it_is_logged(wxpay_sandbox, staff, caplog, permissions):
    somebody = staff(*permissions)
    for answer in (somebody.get("payscoreplan_create"), somebody.post("payscoreplan_create", **PLAN)):
        assert isinstance(answer, Page) and answer.status_code == 403
    ours = [record for record in caplog.records if record.name.startswith("django_wxpay")]
    assert [(record.levelno, "action=create" in record.getMessage()) for record in ours] == [
        (logging.WARNING, True)
    ] * 2
    assert not PayscorePlan.objects.exists()
