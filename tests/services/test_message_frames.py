"""What error trackers write down while a message is applied: no openid, nothing of what was sealed in it."""

import json
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import APIError, OutcomeUnknown, WxPayError
from django_wxpay.engine import operations, transactions
from django_wxpay.engine.facts import Fact
from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.models import Bill, Contract, Discrepancy, MerchantState, Notification, Operation, Order, Transition
from django_wxpay.services import contracts, orders, refunds
from django_wxpay.testing import make_contract, make_order, make_refund
from tests.letters import write
from tests.test_frames import written_down

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S52")]
TESTS = str(Path(__file__).parents[1])
OPENID, OTHER = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "oAnother01234567890123456789"
BANK = "BANK_OF_THE_PAYER"
HIDDEN = (OPENID, OTHER, BANK, '"operate_time"', '"trade_state"', '"refund_status"', '\\"payer')


def frames_below(error):
    """Every frame that an error passed, Django's and the database driver's too; the test's own not."""
    seen, errors = set(), [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        errors += [one.__cause__, one.__context__]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                yield frame


def assert_frames_hide(error, hidden=HIDDEN):
    frames = list(frames_below(error))
    assert any("apply_" in frame.f_code.co_name for frame in frames), "the error came from elsewhere"
    found = {
        f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name} {name}"
        for frame in frames
        for name, value in frame.f_locals.items()
        if any(secret in written_down(value) for secret in hidden)
    }
    assert found == set()


def payload_of(row, **changes):
    """What WeChat Pay says of a row, people named in it."""
    if row.subject == "contract":
        payload = {
            "out_contract_code": row.out_contract_code, "plan_id": row.plan_id, "contract_id": "2026030112",
            "openid": OPENID, "operate_time": "2026-03-01T12:00:00+08:00", "state": "SIGNED",
        }  # fmt: skip
    elif row.subject == "order":
        payload = {
            "out_trade_no": row.out_trade_no, "transaction_id": "42000000001", "trade_state": "SUCCESS",
            "bank_type": BANK, "payer": {"openid": OPENID},
            "amount": {"total": row.amount_total, "currency": row.currency},
        }  # fmt: skip
    else:
        payload = {
            "out_refund_no": row.out_refund_no, "refund_id": "50300000001", "refund_status": "SUCCESS",
            "recv_account": BANK, "amount": {"refund": row.amount, "currency": row.currency},
        }  # fmt: skip
    return {"mchid": row.mchid, "payer_is": OPENID} | payload | changes


MAKE = {
    "contract": lambda: make_contract(state="PENDING", openid=OPENID),
    "learning contract": lambda: make_contract(state="PENDING", openid=""),
    "order": lambda: make_order(state="CREATED"),
    "refund": lambda: make_refund(state="PROCESSING"),
}
EVENTS = {"contract": "PAPAY.SIGN", "order": "TRANSACTION.SUCCESS", "refund": "REFUND.SUCCESS"}
APPLY = {"contract": contracts.apply_contract, "order": orders.apply_order, "refund": refunds.apply_refund}


def breaking(part):
    """A bug, as the database's driver would show it: statements that contain `part` raise."""

    def wrapper(execute, sql, params, many, context):
        if part in sql.replace('"', "").replace("`", ""):
            raise ZeroDivisionError("a bug")
        return execute(sql, params, many, context)

    return connection.execute_wrapper(wrapper)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("part", ["INTO django_wxpay_transition", "UPDATE django_wxpay_{}"])
def test_no_frame_shows_what_was_being_applied_when_a_notification_broke(wxpay_sandbox, kind, part):
    row = MAKE[kind]()
    letter = write(wxpay_sandbox, EVENTS[row.subject], payload_of(row))
    with breaking(part.format(row.subject)), pytest.raises(ProcessingFailed) as raised:
        letter.receive()
    assert_frames_hide(raised.value)


@pytest.mark.parametrize("kind", MAKE)
def test_no_frame_shows_what_was_being_applied_when_a_query_or_an_answer_broke(wxpay_sandbox, kind):
    row = MAKE[kind]()
    payload = payload_of(row)
    for source in ("QUERY", "ANSWER"):
        fact = Fact(conf.merchant("default").mchid, payload, source, text=json.dumps(payload), begun_at=timezone.now())
        with breaking("INTO django_wxpay_transition"), pytest.raises(ZeroDivisionError) as raised:
            transactions.run(lambda fact=fact: APPLY[row.subject](fact))
        assert_frames_hide(raised.value)


@pytest.mark.parametrize("kind", ["contract", "order"])
def test_no_frame_shows_what_was_being_applied_when_the_database_refused_it(wxpay_sandbox, kind):
    row = MAKE[kind]()
    taken = {"contract": ("contract_id", "2026030112"), "order": ("transaction_id", "42000000001")}[kind]
    type(row).objects.filter(pk={"contract": make_contract, "order": make_order}[kind]().pk).update(**dict([taken]))
    letter = write(wxpay_sandbox, EVENTS[row.subject], payload_of(row))
    with pytest.raises(ProcessingFailed) as raised:
        letter.receive()
    assert isinstance(raised.value.__cause__, IntegrityError)
    assert_frames_hide(raised.value)


@pytest.mark.parametrize("kind", ["contract", "order", "refund"])
def test_no_frame_shows_what_did_not_fit_when_that_could_not_be_noted(wxpay_sandbox, kind):
    row = MAKE[kind]()
    changes = {"openid": OTHER} if kind == "contract" else {"mchid": None, "amount": {"total": 1, "refund": 1}}
    letter = write(wxpay_sandbox, EVENTS[row.subject], payload_of(row, **changes))
    with breaking("INTO django_wxpay_discrepancy"), pytest.raises(ProcessingFailed) as raised:
        letter.receive()
    assert_frames_hide(raised.value)


@pytest.mark.parametrize("ask", [contracts.sign, contracts.plan_signing])
def test_no_frame_shows_whose_signature_was_asked_for_when_that_could_not_be_written_down(wxpay_sandbox, ask):
    with breaking("INTO django_wxpay_contract"), pytest.raises(ZeroDivisionError) as raised:
        ask(plan_id=1, user_display_name="Li M.", openid=OPENID)
    found = {
        f"{frame.f_code.co_name} {name}"
        for frame in frames_below(raised.value)
        for name, value in frame.f_locals.items()
        if OPENID in written_down(value)
    }
    assert found == set()


def test_what_these_tests_look_for_would_be_found_in_a_plain_message(wxpay_sandbox):
    """The opposite: the same walk finds what is not hidden."""
    row = MAKE["order"]()
    fact = Fact(conf.merchant("default").mchid, payload_of(row), "QUERY", begun_at=timezone.now())
    object.__setattr__(fact, "text", json.dumps(payload_of(row)))
    with breaking("INTO django_wxpay_transition"), pytest.raises(ZeroDivisionError) as raised:
        transactions.run(lambda: orders.apply_order(fact))
    with pytest.raises(AssertionError, match="evidence"):
        assert_frames_hide(raised.value)


# Error texts in which WeChat Pay quotes people


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("fault", [{"status": 400, "code": "PARAM_ERROR"}, {"status": 500, "code": "SYSTEM_ERROR"}])
def test_an_error_text_that_quotes_an_openid_stands_in_no_log_row_or_error(wxpay_sandbox, caplog, fault, signed):
    caplog.set_level("DEBUG")
    contract = wxpay_sandbox.signed_contract(openid=OPENID)
    order = wxpay_sandbox.paid_order(contract)
    payload = f"the payer {OPENID} (also {OTHER}) is not the user of appid wx0123456789abcdef"
    wxpay_sandbox.fault("refuse", "/v3/", times=-1, message=payload, signed=signed, **fault)
    shown = []
    for call in (
        lambda: contracts.sign(plan_id=1, openid=OPENID, user_display_name="Li"),
        lambda: contracts.sync(contract),
        lambda: contracts.terminate(contract),
        lambda: contracts.adopt(out_contract_code="other", plan_id=1),
        lambda: orders.deduct(make_contract(openid=OPENID), amount=1, currency="HKD", description="x", reference="r"),
        lambda: orders.sync(order),
        lambda: refunds.create(order, amount=1, reference="r"),
        lambda: refunds.sync_all(order),
    ):
        with pytest.raises((APIError, OutcomeUnknown, WxPayError)) as raised:
            call()
        shown.append(f"{raised.value} {raised.value!r} {vars(raised.value)}")
    Operation.objects.update(created_at=timezone.now() - timedelta(days=2), next_try_at=timezone.now())
    for model in (Contract, Order):
        model.objects.update(next_poll_at=timezone.now())
    operations.send_due()
    contracts.poll()
    orders.poll()
    shown += [str(list(model.objects.values("error"))) for model in (Notification, Bill)]
    shown += [str(list(Operation.objects.values("error_code", "error_message")))]
    shown += [str(list(Discrepancy.objects.values("ours", "theirs"))), str(list(MerchantState.objects.values()))]
    shown += [str(list(Transition.objects.exclude(source="NOTIFICATION").values("note", "delivery_error")))]
    assert "is not the user of appid" in "".join(shown)
    for secret in (OPENID, OTHER):
        for text in (*shown, caplog.text):
            assert secret not in text, text[max(0, text.find(secret) - 300) : text.find(secret) + 100]
