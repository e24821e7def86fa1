"""Individual payees, from their enrolment to their withdrawal, through the sandbox in both modes."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_wxpay.client.errors import APIError, InvalidField, OutcomeUnknown
from django_wxpay.engine import transactions, transitions
from django_wxpay.exceptions import CalledInTransaction, NotAllowedNow
from django_wxpay.models import Discrepancy, Operation, PayeeAuthorization, Transition
from django_wxpay.services import payees
from tests.letters import hearing

pytestmark = pytest.mark.django_db
CONTRACTS = "/v3/ecommerce/individual-contracts"


@pytest.fixture(params=["mainland", "mainland_partner"])
def merchant(request):
    return request.param


@pytest.fixture
def enrolled(wxpay_sandbox, merchant):
    return payees.enrol(openid="o-one", merchant=merchant)


def asked(sandbox, what=""):
    return [path for method, path in sandbox.calls if path.startswith(CONTRACTS) and what in path]


# Who he is


def test_a_person_has_one_row_at_a_merchant_however_often_he_is_enrolled(wxpay_sandbox, enrolled, merchant):
    user = get_user_model().objects.create_user("wang")
    again = payees.enrol(openid="o-one", user=user, merchant=merchant)
    assert (again.pk, again.user, again.state) == (enrolled.pk, user, "UNAUTHORIZED")
    assert payees.enrol(user=user, merchant=merchant).pk == enrolled.pk
    assert payees.enrol(openid="o-two", merchant=merchant).pk != enrolled.pk
    assert not asked(wxpay_sandbox)


def test_an_openid_is_one_users(wxpay_sandbox, merchant):
    wang, li = (get_user_model().objects.create_user(name) for name in ("wang", "li"))
    payees.enrol(openid="o-one", user=wang, merchant=merchant)
    with pytest.raises(InvalidField, match="another user"):
        payees.enrol(openid="o-one", user=li, merchant=merchant)


def test_who_cannot_be_a_payee_is_refused_before_anything_is_written(wxpay_sandbox):
    with pytest.raises(InvalidField):
        payees.enrol(merchant="mainland")
    with pytest.raises(InvalidField):
        payees.enrol(openid="o/../x", merchant="mainland")
    with pytest.raises(ImproperlyConfigured, match="region"):
        payees.enrol(openid="o-one", merchant="default")
    assert not PayeeAuthorization.objects.exists()


# Signing


def test_who_signs_is_authorised_once_wechat_pay_says_so_not_when_he_comes_back(wxpay_sandbox, enrolled):
    with hearing("payee_authorized") as heard:
        back = wxpay_sandbox.authorize(enrolled, form="A")
        assert back.state == "UNAUTHORIZED" and not back.is_authorized
        known = payees.sync(back)
        transitions.deliver_due()
    assert known.is_authorized and known.individual_auth_id.startswith("IA") and known.operation_time
    assert len(heard) == 1 and payees.sign_params(known) is None


def test_the_guides_form_is_signed_where_the_setting_says_so(wxpay_sandbox, settings, merchant):
    merchants = settings.WXPAY["MERCHANTS"]
    formed = {**merchants[merchant], "PAYEE_SIGN_FORM": "B"}
    settings.WXPAY = {**settings.WXPAY, "MERCHANTS": {**merchants, merchant: formed}}
    assert payees.sync(wxpay_sandbox.authorize(payees.enrol(openid="o-one", merchant=merchant), form="B")).is_authorized


def test_what_is_signed_is_fresh_each_time(wxpay_sandbox, enrolled):
    first, second = payees.sign_params(enrolled), payees.sign_params(enrolled)
    assert first["nonceStr"] != second["nonceStr"] and first["signature"] != second["signature"]
    assert first["package"] == "openid=o-one&permissionType=INDIVIDUAL_PAYEE"
    assert not asked(wxpay_sandbox)


def test_a_withdrawal_is_found_by_a_query_and_he_may_sign_again_under_another_number(wxpay_sandbox, merchant):
    payee = wxpay_sandbox.payee(merchant=merchant)
    first = payee.individual_auth_id
    assert wxpay_sandbox.withdraw(payee).state == "AUTHORIZED"  # nobody was told
    with hearing("payee_withdrawn") as heard:
        assert payees.sync(payee).state == "UNAUTHORIZED"
        transitions.deliver_due()
    assert len(heard) == 1
    again = payees.sync(wxpay_sandbox.authorize(payee))
    assert again.is_authorized and again.individual_auth_id != first
    assert [moved.to_state for moved in Transition.objects.of(payee).order_by("pk")] == [
        "AUTHORIZED", "UNAUTHORIZED", "AUTHORIZED",
    ]  # fmt: skip
    assert not Discrepancy.objects.exists()


def test_who_signed_again_meanwhile_is_paid_by_his_new_number(wxpay_sandbox, merchant):
    payee = wxpay_sandbox.payee(merchant=merchant)
    wxpay_sandbox.withdraw(payee)
    wxpay_sandbox.wechat.payees.authorize("o-payee-1", mchid=payee.mchid)
    newest = wxpay_sandbox.wechat.payees.get("o-payee-1", mchid=payee.mchid)["individual_auth_id"]
    assert payees.sync(payee).individual_auth_id == newest


def test_an_answer_of_nobody_known_means_not_authorised(wxpay_sandbox, merchant):
    payee = wxpay_sandbox.payee(merchant=merchant)
    wxpay_sandbox.fault("refuse", CONTRACTS, code="RESOURCE_NOT_EXISTS", status=404)
    assert payees.sync(payee).state == "UNAUTHORIZED"


@pytest.mark.scenario("S56")
@pytest.mark.parametrize("code", ["", "NOT_FOUND", "NO_AUTH", "ORDER_NOT_EXIST"])
def test_a_404_of_something_else_ends_no_authorisation(wxpay_sandbox, merchant, code):
    payee = wxpay_sandbox.payee(merchant=merchant)
    wxpay_sandbox.fault("refuse", CONTRACTS, code=code, status=404)
    with pytest.raises(APIError):
        payees.sync(payee)
    assert payees.status(payee).is_authorized


@pytest.mark.parametrize(
    "told",
    [
        {"individual_auth_id": ""},
        {"individual_auth_id": "x" * 33},
        {"individual_auth_id": 7},
        {"auth_state": "TOMORROW"},
        {"auth_state": None},
    ],
)
def test_an_answer_that_proves_no_authorisation_authorises_nobody_and_a_person_is_told(wxpay_sandbox, enrolled, told):
    wxpay_sandbox.authorize(enrolled)
    wxpay_sandbox.fault("altered", CONTRACTS, answer=told)
    assert not payees.sync(enrolled).is_authorized
    assert Discrepancy.objects.get().object_id == enrolled.pk


# Prepared at WeChat Pay


@pytest.mark.parametrize("checked", [{}, {"real_name": "张三", "cred_id": "11010119900101001X"}])
def test_a_prepared_signature_of_a_mini_program(wxpay_sandbox, enrolled, checked):
    params = payees.pre_sign(enrolled, **checked)
    enrolled.refresh_from_db()
    assert enrolled.out_contract_code in params["package"] and "preEntrustwebId=" in params["package"]
    wxpay_sandbox.wechat.payees.agree(params)
    assert payees.sync(enrolled).is_authorized
    with pytest.raises(NotAllowedNow):
        payees.pre_sign(enrolled)


@pytest.mark.parametrize("checked", [{}, {"real_name": "张三", "cred_id": "11010119900101001X"}])
def test_an_app_learns_the_openid_from_the_signature(wxpay_sandbox, merchant, checked):
    from urllib.parse import parse_qsl

    user = get_user_model().objects.create_user("wang")
    payee = payees.enrol(user=user, merchant=merchant)
    launch = payees.pre_sign(payee, client="app", **checked)
    assert launch["businessType"] == "liteAppC2CSignPay"
    wxpay_sandbox.wechat.payees.agree(dict(parse_qsl(launch["query"])), openid="o-app")
    payee = payees.sync(payee)
    assert payee.is_authorized and payee.openid == "o-app" and payee.user == user
    assert asked(wxpay_sandbox, "out-contract-code")
    rows = f"{list(PayeeAuthorization.objects.values())}{list(Transition.objects.values())}"
    assert "access_token" not in rows and "张三" not in rows and "1101" not in rows


def test_name_and_card_leave_nothing_behind(wxpay_sandbox, enrolled, caplog):
    caplog.set_level("DEBUG")
    wxpay_sandbox.fault("lost_answer", CONTRACTS, method="POST")
    with pytest.raises(OutcomeUnknown) as caught:
        payees.pre_sign(enrolled, real_name="张三丰", cred_id="11010119900101001X")
    calls = wxpay_sandbox.wechat.store.all("SELECT body FROM calls")
    assert "张三丰" not in f"{caplog.text}{caught.value}{calls}" and "11010119900101001X" not in f"{caplog.text}{calls}"
    frames, frame = "", caught.tb
    while frame:
        frames += repr(frame.tb_frame.f_locals) if "tests" not in frame.tb_frame.f_code.co_filename else ""
        frame = frame.tb_next
    assert "11010119900101001X" not in frames
    assert not Operation.objects.exists()


def test_preparing_is_refused_before_anything_is_sent(wxpay_sandbox, enrolled):
    with pytest.raises(InvalidField) as caught:
        payees.pre_sign(enrolled, real_name="张三")
    assert caught.value.field == "cred_id"
    with pytest.raises(InvalidField):
        payees.pre_sign(enrolled, client="fridge")
    with transactions.atomic(), pytest.raises(CalledInTransaction):
        payees.pre_sign(enrolled)
    assert not asked(wxpay_sandbox)


# Asked about, for a while


def test_who_was_asked_to_sign_is_asked_about_for_two_hours_and_no_more(wxpay_sandbox, enrolled):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        payees.sign_params(enrolled)
        counts = []
        for _ in range(2):
            before = len(asked(wxpay_sandbox))
            for _ in range(24 * 6):
                clock.shift(600 / 10)
                payees.poll()
            counts.append(len(asked(wxpay_sandbox)) - before)
        assert 6 < counts[0] < 16 and counts[1] <= 1
        enrolled.refresh_from_db()
        assert enrolled.next_poll_at is None and not Discrepancy.objects.exists()


def test_polling_finds_who_signed_and_who_withdrew(wxpay_sandbox, enrolled):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        wxpay_sandbox.authorize(enrolled)
        clock.shift(60)
        assert payees.poll() == 1
        enrolled.refresh_from_db()
        assert enrolled.is_authorized
        wxpay_sandbox.withdraw(enrolled)
        clock.shift(timedelta(days=1, minutes=1))
        assert payees.poll() == 1
        enrolled.refresh_from_db()
        assert enrolled.state == "UNAUTHORIZED"
        clock.shift(timedelta(days=2))
        assert payees.poll() == 0


def test_a_poll_without_an_answer_is_tried_again_soon(wxpay_sandbox, enrolled):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        wxpay_sandbox.authorize(enrolled)
        wxpay_sandbox.fault("error_500", CONTRACTS, method="GET", times=1)
        clock.shift(60)
        payees.poll()
        clock.shift(300)
        payees.poll()
        enrolled.refresh_from_db()
        assert enrolled.is_authorized and not Discrepancy.objects.exists()
