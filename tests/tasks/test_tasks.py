"""Celery's tasks: names that are promised, a schedule that cannot pile up, one service call each."""

import pytest
from celery import current_app

from django_wxpay import tasks
from django_wxpay.models import Contract, Notification, Operation
from django_wxpay.services import contracts, orders
from django_wxpay.testing import make_contract
from django_wxpay.testing.sandbox import ALIASES

NAMES = {
    "send_operations", "deliver_transitions", "poll_contracts", "poll_orders", "poll_refunds", "close_expired_orders",
    "retry_notifications", "refresh_certificates", "prune_notifications", "download_due_bills", "fetch_settlements",
    "watch_open_rows", "poll_payscore_plans", "poll_sign_plans", "poll_service_orders", "poll_payees",
    "poll_combine_orders",
}  # fmt: skip


def test_every_task_has_its_promised_name_and_a_place_in_the_schedule():
    scheduled = {entry["task"] for entry in tasks.BEAT_SCHEDULE.values()}

    assert scheduled == {f"django_wxpay.tasks.{name}" for name in NAMES}
    assert scheduled <= set(current_app.tasks)


def test_a_backlog_does_not_pile_up():
    for entry in tasks.BEAT_SCHEDULE.values():
        assert 0 < entry["options"]["expires"] <= entry["schedule"]


def test_results_are_not_stored_and_messages_are_acknowledged_early():
    for name in NAMES:
        task = getattr(tasks, name)
        assert task.ignore_result and not task.acks_late


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_task_runs_when_there_is_nothing_to_do(name, db):
    assert getattr(tasks, name).apply().get() == 0


def test_planned_operation_is_sent(wxpay_sandbox, db):
    contract = contracts.plan_signing(plan_id=12345, user_display_name="Li M.")

    assert tasks.send_operations.apply().get() == 1
    contract.refresh_from_db()
    assert contract.session_id
    assert Operation.objects.get().state == "DONE"


@pytest.mark.scenario("S44")
def test_signature_whose_notification_was_lost_is_found_by_polling(wxpay_sandbox, db):
    wxpay_sandbox.delivers = False
    contract = wxpay_sandbox.sign(contracts.sign(plan_id=12345, user_display_name="Li M."))
    Contract.objects.update(next_poll_at=contract.created_at)

    assert tasks.poll_contracts.apply().get() == 1
    contract.refresh_from_db()
    assert contract.state == "SIGNED"


def test_deduction_and_refund_are_polled(wxpay_sandbox, db):
    order = wxpay_sandbox.paid_order()
    refund = wxpay_sandbox.refund(order, 100)
    wxpay_sandbox.delivers = False
    wxpay_sandbox.advance(3600)
    type(refund).objects.update(next_poll_at=refund.created_at)

    assert tasks.poll_refunds.apply().get() == 1
    refund.refresh_from_db()
    assert refund.state == "SUCCESS"


def test_certificates_are_fetched_and_then_left_alone(wxpay_sandbox, db):
    assert tasks.refresh_certificates.apply().get() == len(ALIASES)
    assert tasks.refresh_certificates.apply().get() == 0


def test_old_processed_notifications_are_deleted(wxpay_sandbox, db, settings):
    wxpay_sandbox.signed_contract()
    assert Notification.objects.exists()
    Notification.objects.update(received_at="2020-01-01T00:00:00Z")

    assert tasks.prune_notifications.apply().get() >= 1
    assert not Notification.objects.exists()


def test_failing_row_does_not_stop_the_others(wxpay_sandbox, db, caplog):
    first = make_contract(state="SIGNED")
    orders.plan_deduction(first, amount=1, currency="HKD", description="x", reference="a")
    wxpay_sandbox.fault("error_500", "/v3/global/papay/transactions")
    orders.plan_deduction(wxpay_sandbox.signed_contract(), amount=1, currency="HKD", description="x", reference="b")

    assert tasks.send_operations.apply().get() == 2
