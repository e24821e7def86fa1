"""Nothing secret is written down where people and programs look: log lines, reprs, errors, kept rows."""

import json
import logging
import re
import traceback

import pytest
from django.db import IntegrityError, connection

from django_wxpay import conf
from django_wxpay.client.errors import SignatureInvalid, WxPayError
from django_wxpay.engine import operations, polling, transitions
from django_wxpay.engine.facts import Applied, Fact
from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.models import Discrepancy, Notification, Operation, PlatformCertificate, Transition
from django_wxpay.services import certificates, contracts, orders, refunds
from tests.letters import catch, receiver_of, write

pytestmark = [pytest.mark.django_db, pytest.mark.scenario("S52")]
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
NAME = "Li Xiaoming"


@pytest.fixture
def secrets_of(wxpay_sandbox):
    """What must stay hidden, by name; more of it once messages were sealed."""

    def collect(letters=()):
        known = wxpay_sandbox.wechat.merchant
        hidden = {
            "APIv3 key": [known["apiv3_key"]],
            "private key": [line for line in known["merchant_private_key"].splitlines() if "-----" not in line],
            "Authorization header": ["WECHATPAY2-SHA256-RSA2048 mchid", "nonce_str=", 'signature="'],
            "openid": [OPENID],
            "user's name": [NAME],
            "signature": [letter.headers["Wechatpay-Signature"] for letter in letters],
            "decrypted body": [letter.opened(wxpay_sandbox) for letter in letters],
            "piece of a decrypted body": ['"operate_time"', '"trade_state"', '"refund_status"', '"payer"'],
        }
        return hidden

    return collect


def assert_hidden(text, hidden):
    for name, values in hidden.items():
        for value in values:
            assert value not in text, f"{name} in {text[max(0, text.find(value) - 200) : text.find(value) + 80]}"


@pytest.fixture
def log(caplog):
    """Everything that is logged at any level, with tracebacks, as one text; SQL of a test's own cursor left out."""
    caplog.set_level(logging.DEBUG)
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")

    def text():
        return "\n".join(formatter.format(record) for record in caplog.records)

    return text


@pytest.mark.parametrize("merchant", ["default", "institution"])
def test_a_whole_story_logs_no_secret(wxpay_sandbox, secrets_of, log, merchant):
    contract = contracts.sign(plan_id=12345, openid=OPENID, user_display_name=NAME, merchant=merchant)
    wxpay_sandbox.sign(contract)
    order = wxpay_sandbox.paid_order(contract)
    refund = wxpay_sandbox.refund(order, 1000, reason="sorry")
    wxpay_sandbox.advance(10)
    for sync, row in ((contracts.sync, contract), (orders.sync, order), (refunds.sync, refund)):
        sync(row)
    refunds.sync_all(order)
    contracts.terminate(contract)
    wxpay_sandbox.deliver()
    certificates.refresh(merchant)
    logged = log()
    assert "wechat pay called" in logged and "moved number=" in logged
    assert_hidden(logged, secrets_of())


FAULTS = (
    "lost_answer", "closed_connection", "error_500", "error_429", "refuse", "bad_signature", "probe", "unsigned",
    "stale", "wrong_serial", "garbage", "empty",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_goes_wrong_shows_no_secret_in_log_error_or_row(wxpay_sandbox, secrets_of, log, fault):
    contract = wxpay_sandbox.signed_contract(openid=OPENID, user_display_name=NAME)
    wxpay_sandbox.fault(fault, "/v3/global/papay", times=-1)
    shown = []
    for call in (
        lambda: orders.deduct(contract, amount=100, currency="HKD", description="x", reference="r"),
        lambda: contracts.sync(contract),
        lambda: contracts.sign(plan_id=1, openid=OPENID, user_display_name=NAME),
    ):
        with pytest.raises(WxPayError) as raised:
            call()
        shown += [str(raised.value), repr(raised.value), str(vars(raised.value))]
    operations.send_due()
    polling.poll(type(contract).objects.all(), contracts.sync, 10)
    shown += [f"{one} {one!r} {one.error_code} {one.error_message}" for one in Operation.objects.all()]
    assert_hidden("\n".join(shown) + log(), secrets_of())


def test_a_request_refused_for_its_signature_shows_no_secret(wxpay_sandbox, secrets_of, log):
    wxpay_sandbox.wechat.set_clock(skew=900)
    with pytest.raises(WxPayError) as raised:
        contracts.sign(plan_id=1, openid=OPENID, user_display_name=NAME)
    assert_hidden(str(raised.value) + log(), secrets_of())


def test_messages_that_are_refused_or_fail_log_no_secret(wxpay_sandbox, secrets_of, log):
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid=OPENID, user_display_name=NAME)
    wxpay_sandbox.sign(contract)
    letter = catch(wxpay_sandbox)[-1]
    payload = json.loads(letter.opened(wxpay_sandbox))
    letters = [letter]
    for changes in ({"openid": "oAnother0123456789012345678"}, {"plan_id": 7}, {"out_contract_code": "unknown"}):
        letters.append(write(wxpay_sandbox, "PAPAY.SIGN", payload | changes, original_type="papay"))
        letters[-1].post()
    letters.append(write(wxpay_sandbox, "PAPAY.SUSPEND", payload))
    letters[-1].post()
    letters.append(
        letter.sealing(wxpay_sandbox, b"[" + letter.opened(wxpay_sandbox).encode()).altered(wxpay_sandbox, id="a")
    )
    letters[-1].post()
    unopened = letter.sealing(wxpay_sandbox, letter.opened(wxpay_sandbox).encode(), key="k" * 32)
    assert unopened.post().status_code == 500
    for broken in (letter._replace(body=letter.body + b" "), letter._replace(headers={})):
        with pytest.raises(SignatureInvalid):
            broken.receive()
        broken.post()
    with connection.execute_wrapper(failing_as_postgresql_would), pytest.raises(ProcessingFailed) as raised:
        letter.receive()
    hidden = secrets_of(letters)
    hidden["another openid"] = ["oAnother0123456789012345678"]
    kept = str(list(Notification.objects.values_list("error", "headers__User-Agent")))
    kept += str(list(Discrepancy.objects.values_list("ours", "theirs")))
    assert_hidden(str(raised.value) + kept + log(), hidden)
    assert "IntegrityError" in log()


def failing_as_postgresql_would(execute, sql, params, many, context):
    """An error of PostgreSQL quotes the whole row in its second line."""
    if "INTO" in sql and "transition" in sql:
        raise IntegrityError(f"new row violates a check\nDETAIL:  Failing row contains ({params}).")
    return execute(sql, params, many, context)


def test_a_receiver_that_raises_leaves_no_secret_behind(wxpay_sandbox, secrets_of, log):
    def receiver(sender, row, transition, **kwargs):
        raise IntegrityError(f"duplicate key\nDETAIL:  Key (openid)=({row.openid}) already exists.")

    with receiver_of("contract_signed", receiver):
        wxpay_sandbox.signed_contract(openid=OPENID, user_display_name=NAME)
    assert "duplicate key" in Transition.objects.get().delivery_error
    assert_hidden(Transition.objects.get().delivery_error + log(), secrets_of())


def test_no_repr_shows_a_secret(wxpay_sandbox, secrets_of):
    contract = wxpay_sandbox.signed_contract(openid=OPENID, user_display_name=NAME)
    order = wxpay_sandbox.paid_order(contract)
    refund = wxpay_sandbox.refund(order, 100)
    letter = write(wxpay_sandbox, "PAPAY.SIGN", {"mchid": contract.mchid, "openid": OPENID}, original_type="papay")
    letter.post()
    client, merchant = conf.client("default"), conf.merchant("default")
    envelope = client.notifications.decode(letter.body)
    data, text = client.notifications.decrypt(envelope)
    answer = client.contracts.query(contract_id=contract.contract_id)
    fact = Fact(merchant.mchid, data, "NOTIFICATION", text=text)
    shown = [client, client.identity, client.keys, client.transport, merchant, envelope, answer, fact]
    shown += [contract, order, refund, Applied("SAME", contract)]
    shown += [*client.certificates.download()]
    for model in (Notification, Operation, Transition, PlatformCertificate, Discrepancy):
        shown += list(model.objects.all())
    text = "\n".join(f"{one!r} {one}" for one in shown)
    assert_hidden(text, secrets_of([letter]))


def test_kept_rows_hold_no_secret(wxpay_sandbox, secrets_of):
    wxpay_sandbox.refund(wxpay_sandbox.paid_order(), 100)
    wxpay_sandbox.advance(10)
    known = secrets_of()
    hidden = {name: known[name] for name in ("APIv3 key", "private key", "Authorization header")}
    for model in (Notification, Operation, Transition, PlatformCertificate):
        assert_hidden(str(list(model.objects.values())), hidden)
    headers = {name.lower() for kept in Notification.objects.values_list("headers", flat=True) for name in kept}
    assert headers <= {
        "wechatpay-nonce", "wechatpay-serial", "wechatpay-signature", "wechatpay-signature-type",
        "wechatpay-timestamp", "request-id", "content-type", "user-agent",
    }  # fmt: skip


CODE = "134567890123456789"


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "?"},
        {"auth_code": CODE + "0"},
        {"amount": 0},
        {"reference": ""},
        {"goods_tag": "x" * 99},
        {"by": 5},
    ],
)
def test_no_frame_of_a_quick_payment_that_fails_shows_the_payers_code(wxpay_sandbox, wrong):
    asked = {"auth_code": CODE, "amount": 100, "currency": "HKD", "description": "Tea", "reference": "r1"}
    with pytest.raises((ValueError, TypeError)) as caught:
        orders.pay_by_code(**asked | wrong)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert len(frames) > 1
    assert [frame for frame in frames if CODE in repr(frame.f_locals)] == []


def test_a_delivery_error_names_the_receiver_in_one_line(wxpay_sandbox):
    def receiver(sender, row, transition, **kwargs):
        raise LookupError("first line\nsecond line")

    with receiver_of("contract_signed", receiver):
        wxpay_sandbox.signed_contract()
        transitions.deliver_due()
    assert re.fullmatch(r"LookupError: first line", Transition.objects.get().delivery_error)


def test_an_error_text_that_quotes_the_payer_is_kept_and_logged_without(wxpay_sandbox, log):
    text = f"{OPENID} is not of this appid, says {NAME}"
    wxpay_sandbox.fault(
        "refuse", "/v3/global/papay/contracts", method="POST", status=400, code="PARAM_ERROR", message=text
    )
    with pytest.raises(WxPayError) as caught:
        contracts.sign(plan_id=12345, openid=OPENID, user_display_name=NAME)
    kept = Operation.objects.get().error_message
    assert kept == "… is not of this appid, says …"
    assert OPENID not in f"{log()} {caught.value} {vars(caught.value)}"
