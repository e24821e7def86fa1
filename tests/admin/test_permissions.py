import logging

import pytest

from django_wxpay.models import Discrepancy, Notification, Operation, Transition
from django_wxpay.testing import make_contract, make_order, make_refund, make_service_order

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.scenario("S41")]

ACTIONS = [
    ("contract", "terminate", "terminate_contract"),
    ("contract", "query", "query_contract"),
    ("order", "refund", "refund_order"),
    ("order", "query", "query_order"),
    ("order", "close", "close_order"),
    ("order", "retry", "retry_order"),
    ("refund", "query", "query_refund"),
    ("refund", "give_up", "give_up_refund"),
    ("notification", "retry", "retry_notification"),
    ("transition", "deliver", "deliver_transition"),
    ("discrepancy", "resolve", "resolve_discrepancy"),
    ("discrepancy", "ignore", "resolve_discrepancy"),
    ("operation", "end", "end_operation"),
    ("payscoreplan", "stop", "stop_plan"),
    ("payscoreplan", "query", "query_payscoreplan"),
    ("signplan", "start", "start_serviceorder"),
    ("signplan", "cancel", "cancel_sign_plan"),
    ("signplan", "query", "query_signplan"),
    ("serviceorder", "complete", "complete_serviceorder"),
    ("serviceorder", "modify", "complete_serviceorder"),
    ("serviceorder", "collect", "complete_serviceorder"),
    ("serviceorder", "report_paid", "report_serviceorder_paid"),
    ("serviceorder", "cancel", "cancel_serviceorder"),
    ("serviceorder", "query", "query_serviceorder"),
]
LIST_ACTIONS = [
    ("contract", "terminate", "terminate_contract"),
    ("order", "refund", "refund_order"),
    ("order", "query", "query_order"),
    ("discrepancy", "resolve", "resolve_discrepancy"),
    ("signplan", "cancel", "cancel_sign_plan"),
    ("serviceorder", "cancel", "cancel_serviceorder"),
    ("payscoreplan", "query", "query_payscoreplan"),
    ("signplan", "query", "query_signplan"),
    ("serviceorder", "query", "query_serviceorder"),
]
MODELS = ["contract", "order", "refund", "operation", "notification", "transition", "payscoreplan", "signplan",
          "serviceorder"]  # fmt: skip


@pytest.fixture
def rows(wxpay_sandbox):
    order = make_order()
    service_order = make_service_order()
    return {
        "payscoreplan": service_order.sign_plan.plan,
        "signplan": service_order.sign_plan,
        "serviceorder": service_order,
        "contract": order.contract,
        "order": order,
        "refund": make_refund(order=order),
        "notification": Notification.objects.create(
            merchant="default", mchid=order.mchid, event_id="e-1", event_type="TRANSACTION.SUCCESS", state="FAILED",
            subject="order", number=order.number, body=b"{}",
        ),
        "transition": Transition.objects.create(
            merchant="default", subject="order", object_id=order.pk, to_state="SUCCESS", source="ANSWER",
        ),
        "discrepancy": Discrepancy.objects.create(
            merchant="default", kind="MISMATCH", about="order", object_id=order.pk, open_key="x",
        ),
        "operation": Operation.objects.create(
            merchant="default", mchid=order.mchid, subject="order", object_id=order.pk, action="DEDUCT", open_key="x",
        ),
    }  # fmt: skip


@pytest.mark.parametrize(("model", "name", "permission"), ACTIONS)
def test_the_address_typed_by_hand_without_permission_is_refused_and_logged(
    rows, viewer, caplog, model, name, permission
):
    for way in (viewer.get, viewer.post):
        caplog.clear()
        assert way(f"{model}_{name}", rows[model].pk).status_code == 403
        ours = [record for record in caplog.records if record.name.startswith("django_wxpay")]
        assert [(record.levelno, f"action={name}" in record.getMessage()) for record in ours] == [
            (logging.WARNING, True)
        ]
        assert f"user={viewer.user.pk}" in ours[0].getMessage()


@pytest.mark.parametrize(("model", "name", "permission"), ACTIONS)
def test_a_permission_to_act_without_one_to_see_is_refused(rows, staff, model, name, permission):
    agent = staff(permission)
    assert agent.get(f"{model}_{name}", rows[model].pk).status_code == 403
    assert agent.post(f"{model}_{name}", rows[model].pk).status_code == 403


@pytest.mark.parametrize(("model", "name", "permission"), LIST_ACTIONS)
def test_a_list_action_without_permission_is_not_offered_nor_done(rows, viewer, staff, model, name, permission):
    agent = staff(f"view_{model}", permission)
    token = agent.choose(model, f"{name}_selected", [rows[model]]).token
    assert token
    assert f"{name}_selected" not in viewer.get(f"{model}_changelist").html
    forged = viewer.choose(model, f"{name}_selected", [rows[model]])
    assert not forged.token
    assert viewer.post(f"{model}_{name}_selected", token=token).status_code == 403
    assert not Operation.objects.exclude(pk=rows["operation"].pk).exists()


def test_view_only_staff_sees_pages_without_actions(rows, viewer):
    for model, row in rows.items():
        page = viewer.get(f"{model}_change", row.pk)
        assert page.status_code == 200
        assert [link for link in page.links if not link.endswith("/history/")] == []
        assert 'name="_save"' not in page.html


def test_somebody_else_s_token_does_nothing(rows, staff):
    one = staff("view_order", "refund_order", name="one")
    other = staff("view_order", "refund_order", name="other")
    token = one.get("order_refund", rows["order"].pk).token
    page = other.post("order_refund", rows["order"].pk, token=token, amount="1")
    assert "Nothing was done. Look again" in page.text
    assert not Operation.objects.exclude(pk=rows["operation"].pk).exists()


def test_a_token_of_another_row_or_action_does_nothing(rows, boss):
    other = make_order()
    for token in (
        boss.get("order_refund", other.pk).token,
        boss.get("order_query", rows["order"].pk).token,
        "forged",
        "",
    ):
        page = boss.post("order_refund", rows["order"].pk, token=token, amount="1")
        assert "Nothing was done. Look again" in page.text
        assert page.token
    assert not Operation.objects.exclude(pk=rows["operation"].pk).exists()


def test_a_token_of_yesterday_does_nothing(rows, boss, monkeypatch):
    token = boss.get("order_refund", rows["order"].pk).token
    monkeypatch.setattr("django_wxpay.admin.tokens.VALID_SECONDS", -1)
    page = boss.post("order_refund", rows["order"].pk, token=token, amount="1")
    assert "open for too long" in page.text
    assert not Operation.objects.exclude(pk=rows["operation"].pk).exists()


def test_strangers_are_sent_to_the_login(rows, client):
    from django.urls import reverse

    for name, args in [("order_refund", [rows["order"].pk]), ("dashboard", []), ("order_refund_selected", [])]:
        answer = client.get(reverse(f"admin:django_wxpay_{name}", args=args))
        assert answer.status_code == 302 and "/login/" in answer["Location"]


@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes_rows_by_hand(rows, boss, model):
    row = rows.get(model) or Operation.objects.create(
        merchant="default", mchid="1", subject="order", object_id=rows["order"].pk, action="REFUND"
    )
    assert boss.get(f"{model}_add").status_code == 403
    assert boss.get(f"{model}_delete", row.pk).status_code == 403
    assert boss.post(f"{model}_change", row.pk, state="SUCCESS").status_code == 403
    assert "delete_selected" not in boss.get(f"{model}_changelist").html


def test_an_unknown_row_leads_back_with_a_message(wxpay_sandbox, boss):
    page = boss.get("order_refund", 4711)
    assert page.status_code == 302


def test_a_signed_contract_is_needed_by_name(wxpay_sandbox, boss):
    contract = make_contract(state="TERMINATED")
    assert "nothing to terminate" in boss.get("contract_terminate", contract.pk).text
