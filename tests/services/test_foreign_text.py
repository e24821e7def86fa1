"""Text that is only shown stops nothing; numbers that no column can hold are refused, kept and shown."""

import json

import pytest
from django.utils import timezone

from django_wxpay.client.errors import APIError, OutcomeUnknown
from django_wxpay.engine import operations
from django_wxpay.models import Contract, Discrepancy, Notification, Operation, Order, Refund, Transition
from django_wxpay.services import contracts, notifications, orders, refunds
from django_wxpay.testing import make_contract, make_order, make_refund
from tests.letters import catch, payload_of_order, write

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S58")]
NUL, HALF = "支付\x00成功", "ok\ud83d"
DEDUCTION = {"amount": 3800, "currency": "HKD", "description": "March plan", "reference": "march"}


def fresh(row):
    row.refresh_from_db()
    return row


def everywhere(text):
    """That text in every field of a message that is only shown."""
    return {
        "trade_state_desc": text,
        "trade_type": text,
        "bank_type": text,
        "attach": text,
        "amount": {"payer_currency": text},
        "success_time": text,
        "promotion_detail": [{"name": text}],
        text: text,
    }


def unpaid_here(sandbox):
    """An order that was paid, though we do not know it."""
    contract = sandbox.signed_contract()
    sandbox.delivers = False
    sandbox.fault("lost_answer", "/v3/global/papay/transactions")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **DEDUCTION)
    return Order.objects.get()


# What is only shown


@pytest.mark.parametrize("text", [NUL, HALF])
def test_text_that_no_database_takes_stops_no_payment_that_a_notification_tells(wxpay_sandbox, text):
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource=everywhere(text))
    order = unpaid_here(wxpay_sandbox)
    assert catch(wxpay_sandbox)[-1].post().status_code == 200
    assert fresh(order).state == "SUCCESS"
    order.full_clean(exclude=["error_code"])
    note = Transition.objects.of(order).get().note
    assert "\ufffd" in note and note.encode() and "\x00" not in note


@pytest.mark.parametrize("text", [NUL, HALF])
def test_text_that_no_database_takes_stops_no_payment_that_an_answer_or_a_query_tells(wxpay_sandbox, text):
    contract = wxpay_sandbox.signed_contract()
    wxpay_sandbox.delivers = False
    wxpay_sandbox.fault("altered", "/v3/global/papay/transactions", answer=everywhere(text))
    assert orders.deduct(contract, **DEDUCTION).state == "SUCCESS"

    order = make_order(state="CREATED", contract=contract)
    Order.objects.filter(pk=order.pk).update(out_trade_no="unknown-to-us-1")
    wxpay_sandbox.fault("lost_answer", "/v3/global/papay/transactions")
    with pytest.raises(OutcomeUnknown):
        orders.deduct(contract, **DEDUCTION | {"reference": "april"})
    order = Order.objects.get(reference="april")
    wxpay_sandbox.fault("altered", "/v3/global/papay/transactions/out-trade-no", answer=everywhere(text))
    assert orders.sync(order).state == "SUCCESS"


@pytest.mark.parametrize("text", [NUL, HALF])
def test_text_that_no_database_takes_stops_no_contract_and_no_refund(wxpay_sandbox, text):
    contract = make_contract(state="PENDING")
    signed = {
        "mchid": contract.mchid, "appid": contract.appid, "contract_id": "20260301", "plan_id": contract.plan_id,
        "out_contract_code": contract.out_contract_code, "openid": contract.openid, "operate_time": text,
        "contract_expire_time": text, "contract_termination_mode": text, "termination_note": text,
    }  # fmt: skip
    for event_type in ("PAPAY.SIGN", "PAPAY.TERMINATE"):
        assert write(wxpay_sandbox, event_type, signed, original_type="papay").post().status_code == 200
    assert fresh(contract).state == "TERMINATED"

    refund = make_refund(amount=1000)
    payload = payload_of_refund(refund) | {"channel": text, "recv_account": text, "user_received_account": text}
    assert write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund").post().status_code == 200
    assert fresh(refund).state == "SUCCESS"
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}


def payload_of_refund(refund, **changes):
    order = refund.order
    return {
        "mchid": order.mchid, "transaction_id": order.transaction_id, "out_trade_no": order.out_trade_no,
        "refund_id": refund.refund_id or "50300000002026030100000000001", "out_refund_no": refund.out_refund_no,
        "refund_status": "SUCCESS",
        "amount": {"refund": refund.amount, "total": order.amount_total, "currency": refund.currency},
    } | changes  # fmt: skip


@pytest.mark.parametrize("text", [NUL, HALF])
def test_a_list_of_refunds_with_text_that_no_database_takes_is_adopted(wxpay_sandbox, text):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.wechat.refunds.make_elsewhere(order.out_trade_no, 1000)
    odd = {"id": "50300", "status": "SUCCESS", "channel": text, "recv_account": text, "create_time": text}
    odd["amount"] = {"refund": 1000, "total": order.amount_total, "currency": order.currency, "payer_currency": text}
    wxpay_sandbox.fault("altered", "/v3/global/refunds", answer={"data": [odd]})
    refunds.sync_all(order)
    assert Refund.objects.get().state == "SUCCESS"


@pytest.mark.parametrize("signed", [True, False])
def test_a_refusal_with_text_that_no_database_takes_is_recorded(wxpay_sandbox, signed):
    contract = wxpay_sandbox.signed_contract()
    refusal = {"status": 400, "code": f"PARAM_{NUL}", "message": NUL, "signed": signed}
    wxpay_sandbox.fault("refuse", "/v3/global/papay/transactions", times=-1, **refusal)
    with pytest.raises(APIError):
        orders.deduct(contract, **DEDUCTION)
    operation = Operation.objects.get(action="DEDUCT")
    assert (operation.state, operation.attempts) == ("REFUSED" if signed else "UNKNOWN", 1)
    assert "\ufffd" in operation.error_code and "\ufffd" in operation.error_message
    if not signed:
        assert operations.send_due() == 0  # it was put off, and does not break each tick


@pytest.mark.parametrize(
    "changes",
    [
        {"success_time": "9999-12-31T23:59:59-12:00"},
        {"success_time": "0001-01-01T00:00:00+08:00"},
        {"success_time": ["2026-03-01T12:00:00+08:00"]},
        {"amount": {"payer_total": 10**30}},
        {"amount": {"payer_total": 2**63 - 1}},
        {"attach": "A" * 40_000},
        {"new": int("9" * 4000)},
    ],
    ids=["year 10000", "year 0", "list for a time", "huge", "2**63", "long", "4000 digits"],
)
def test_what_is_only_shown_and_fits_no_column_is_left_out(wxpay_sandbox, changes):
    order = make_order(state="CREATED")
    paid = {
        "mchid": order.mchid, "appid": order.appid, "out_trade_no": order.out_trade_no, "trade_state": "SUCCESS",
        "transaction_id": "4200000000202603010000000009",
        "amount": {"total": order.amount_total, "currency": order.currency} | changes.pop("amount", {}),
    }  # fmt: skip
    assert write(wxpay_sandbox, "TRANSACTION.SUCCESS", paid | changes).post().status_code == 200
    assert fresh(order).state == "SUCCESS"
    assert (order.success_time, order.payer_total) == (None, None)


def test_a_field_nested_beyond_reason_stops_no_payment(wxpay_sandbox):
    wxpay_sandbox.notification_fault("altered", "TRANSACTION", resource={"new": json.loads("[" * 300 + "]" * 300)})
    order = unpaid_here(wxpay_sandbox)
    assert catch(wxpay_sandbox)[-1].post().status_code == 200
    assert fresh(order).state == "SUCCESS"


# What counts

UNFIT = ["9" * 33, 4200000000, NUL, HALF, ["4200"], {"4200": 1}, True]


@pytest.mark.parametrize("number", UNFIT)
@pytest.mark.parametrize("name", ["transaction_id", "id"])
def test_a_payment_whose_number_no_column_holds_is_refused_kept_and_shown(wxpay_sandbox, name, number):
    order = unpaid_here(wxpay_sandbox)
    payload = payload_of_order(wxpay_sandbox, order) | {"transaction_id": None, name: number}
    letter = write(wxpay_sandbox, "TRANSACTION.SUCCESS", payload)
    assert [letter.post().status_code for _ in range(2)] == [200, 200]
    notification = Notification.objects.get(event_type="TRANSACTION.SUCCESS")
    assert (notification.state, notification.attempts, fresh(order).state) == ("REFUSED", 2, "CREATED")
    discrepancy = Discrepancy.objects.get()
    assert (discrepancy.kind, discrepancy.object_id) == ("MISMATCH", order.pk)
    assert f"{name}: 'a text of 32 characters at most'" in discrepancy.ours
    assert notifications.retry_due() == 0


@pytest.mark.parametrize("number", ["c" * 65, 2026, NUL, HALF])
def test_a_contract_whose_number_no_column_holds_is_refused_kept_and_shown(wxpay_sandbox, number):
    contract = make_contract(state="PENDING")
    signed = {
        "mchid": contract.mchid, "appid": contract.appid, "contract_id": number, "plan_id": contract.plan_id,
        "out_contract_code": contract.out_contract_code, "openid": contract.openid,
    }  # fmt: skip
    assert write(wxpay_sandbox, "PAPAY.SIGN", signed, original_type="papay").post().status_code == 200
    assert (fresh(contract).state, Notification.objects.get().state) == ("PENDING", "REFUSED")
    assert Discrepancy.objects.get().about == "contract"


@pytest.mark.parametrize(
    "changes",
    [
        {"out_refund_no": "r" * 65},
        {"out_refund_no": NUL},
        {"out_refund_no": HALF},
        {"out_refund_no": 77},
        {"refund_id": "5" * 33},
        {"refund_id": 50300},
        {"refund_id": NUL},
        {"refund_id": None, "id": 50300},
        {"out_refund_no": None, "refund_id": 50300},
        {"amount": {"refund": 10**17, "total": 3800, "currency": "HKD"}},
    ],
)
def test_a_foreign_refund_whose_numbers_no_column_holds_is_not_half_adopted(wxpay_sandbox, changes):
    order = make_order()
    foreign = Refund(order=order, out_refund_no="platform-1", amount=1000, currency=order.currency)
    letter = write(wxpay_sandbox, "REFUND.SUCCESS", payload_of_refund(foreign, **changes), original_type="refund")
    assert [letter.post().status_code for _ in range(2)] == [200, 200]
    assert Notification.objects.get().state == "REFUSED"
    assert not Refund.objects.exists() and fresh(order).refund_reserved == 0
    assert Discrepancy.objects.get().about == "order"


def test_a_number_of_another_type_matches_no_row(wxpay_sandbox):
    refund = make_refund(amount=1000, out_refund_no="507", refund_id="508")
    for changes in ({"out_refund_no": 507, "refund_id": 508}, {"out_refund_no": 507, "refund_id": "999"}):
        payload = payload_of_refund(refund) | changes
        write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund").post()
    assert fresh(refund).state == "PROCESSING"
    assert set(Notification.objects.values_list("state", "number")) == {("REFUSED", "")}


@pytest.mark.parametrize("number", [NUL, HALF, "9" * 5000, 7, None, ["x"]])
@pytest.mark.parametrize(
    ("event_type", "name"),
    [("PAPAY.SIGN", "out_contract_code"), ("TRANSACTION.SUCCESS", "out_trade_no"), ("REFUND.SUCCESS", "out_refund_no")],
)
def test_a_message_about_a_number_that_cannot_be_is_kept_and_acknowledged(wxpay_sandbox, event_type, name, number):
    letter = write(wxpay_sandbox, event_type, {"mchid": "1900000001", name: number})
    assert [letter.post().status_code for _ in range(2)] == [200, 200]
    notification = Notification.objects.get()
    assert (notification.state, notification.attempts) == ("WAITING", 2)
    assert len(notification.number) <= 64


# What came up in answers


@pytest.mark.parametrize("session_id", [7, "s" * 129, NUL, HALF, ["s"], {"s": 1}])
def test_a_session_that_no_column_holds_is_no_session(wxpay_sandbox, session_id):
    wxpay_sandbox.fault("altered", "/v3/global/papay/contracts", answer={"session_id": session_id})
    with pytest.raises(OutcomeUnknown):
        contracts.sign(plan_id=12345, openid="o-one", user_display_name="Li M.")
    assert Contract.objects.get().session_id == ""


@pytest.mark.parametrize("name", [NUL, HALF, "N" * 100, 7, None])
def test_a_contract_is_adopted_whatever_its_users_name_looks_like(wxpay_sandbox, name):
    contract = wxpay_sandbox.signed_contract()
    Contract.objects.all().delete()
    wxpay_sandbox.fault("altered", "/v3/global/papay/contracts", answer={"user_display_name": name})
    adopted = contracts.adopt(out_contract_code=contract.out_contract_code, plan_id=contract.plan_id)
    assert (fresh(adopted).state, len(adopted.user_display_name) <= 32) == ("SIGNED", True)


@pytest.mark.parametrize("number", ["../../a%2F?x=1#y", "退款", "a b", "n" * 64])
def test_a_foreign_refund_whose_number_cannot_be_asked_by_is_queried_by_wechat_pays(wxpay_sandbox, number):
    order = wxpay_sandbox.paid_order()
    wxpay_sandbox.wechat.refunds.make_elsewhere(order.out_trade_no, 1000)
    refund_id = wxpay_sandbox.wechat.store.one("SELECT refund_id FROM refunds")["refund_id"]
    foreign = Refund(order=order, out_refund_no=number, amount=1000, currency=order.currency)
    payload = payload_of_refund(foreign, refund_id=refund_id, refund_status="PROCESSING")
    write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund").post()
    refund = Refund.objects.get()
    assert (refund.state, refund.out_refund_no) == ("PROCESSING", number)
    wxpay_sandbox.advance(10)
    wxpay_sandbox.fault("altered", "/v3/global/refunds", answer={"out_refund_no": number})
    assert refunds.sync(refund).state == "SUCCESS"


# A state that we do not know


@pytest.mark.parametrize("status", ["CHANGE", NUL, HALF, "X" * 300, 7, {"a": [1]}])
def test_a_foreign_refund_of_an_unknown_state_is_queried_and_people_are_told(wxpay_sandbox, status):
    order = wxpay_sandbox.paid_order()
    made = wxpay_sandbox.wechat.refunds.make_elsewhere(order.out_trade_no, 1000)
    number = wxpay_sandbox.wechat.store.one("SELECT out_refund_no FROM refunds")["out_refund_no"]
    foreign = Refund(order=order, out_refund_no=number, refund_id=made and None, amount=1000, currency=order.currency)
    payload = payload_of_refund(foreign, refund_status=status, refund_id=None)
    assert write(wxpay_sandbox, "REFUND.SUCCESS", payload, original_type="refund").post().status_code == 200
    refund = Refund.objects.get()
    assert (refund.state, fresh(order).refund_reserved) == ("CREATED", 1000)
    assert timezone.now() < refund.next_poll_at
    assert Discrepancy.objects.get().kind == "UNKNOWN_STATE"
    wxpay_sandbox.advance(10)
    Refund.objects.update(next_poll_at=timezone.now())
    refunds.poll()
    assert fresh(refund).state == "SUCCESS"
