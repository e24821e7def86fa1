"""One user has an openid under each appid: they are compared within one appid only."""

import pytest

from django_wxpay.models import Discrepancy, Notification, Transition
from django_wxpay.services import contracts
from django_wxpay.testing import make_contract
from tests.letters import write

pytestmark = pytest.mark.django_db
UNDER_SUB, UNDER_SP = "o-under-sub-appid-0123456789", "o-under-sp-appid-0123456789"
SUB_APPID = "wx2222222222222222"


def signed(contract, **changes):
    """PAPAY.SIGN as WeChat Pay's sample of an institution has it: sp_appid and openid, no sub_appid."""
    payload = {
        "sp_mchid": contract.mchid, "sub_mchid": contract.sub_mchid, "sp_appid": contract.appid,
        "contract_id": "202603011234567890", "plan_id": contract.plan_id, "openid": UNDER_SP,
        "out_contract_code": contract.out_contract_code, "operate_time": "2026-03-01T12:10:00+08:00",
    } | changes  # fmt: skip
    return {name: value for name, value in payload.items() if value is not None}


def tell(sandbox, contract, event_type="PAPAY.SIGN", **changes):
    alias = "institution" if contract.sub_mchid else "default"
    letter = write(sandbox, event_type, signed(contract, **changes), alias=alias, original_type="papay")
    assert letter.post().status_code == 200
    contract.refresh_from_db()
    return Notification.objects.order_by("pk").last()


@pytest.fixture
def pending(wxpay_sandbox):
    """An institution's contract, asked for with sub_appid and the openid under it."""
    contract = make_contract(merchant="institution", state="PENDING", openid=UNDER_SUB, sub_appid=SUB_APPID)
    assert contract.sub_mchid and contract.openid_under == SUB_APPID != contract.appid
    return contract


@pytest.mark.scenario("S64")
def test_an_openid_under_another_appid_than_ours_is_accepted_where_all_numbers_fit_and_noted(wxpay_sandbox, pending):
    assert tell(wxpay_sandbox, pending).state == "PROCESSED"
    assert (pending.state, pending.openid, pending.openid_appid) == ("SIGNED", UNDER_SUB, "")
    assert Transition.objects.get().note == f"openid under {pending.appid}: not compared"
    assert tell(wxpay_sandbox, pending, "PAPAY.TERMINATE").outcome == "APPLIED"
    assert not Discrepancy.objects.exists()


@pytest.mark.scenario("S64")
def test_an_openid_under_the_same_appid_must_be_ours(wxpay_sandbox, pending):
    assert tell(wxpay_sandbox, pending, sub_appid=SUB_APPID).state == "REFUSED"
    assert pending.state == "PENDING"
    assert tell(wxpay_sandbox, pending, sub_appid=SUB_APPID, openid=UNDER_SUB).state == "PROCESSED"
    assert (pending.state, Transition.objects.get(subject="contract").note) == ("SIGNED", "")


@pytest.mark.scenario("S64")
@pytest.mark.parametrize(
    "changes", [{"sub_mchid": "1900000199"}, {"sp_appid": "wx0000000000000000"}, {"plan_id": 9}, {"sub_mchid": None}]
)
def test_all_other_numbers_must_fit_though_the_openid_is_not_compared(wxpay_sandbox, pending, changes):
    assert tell(wxpay_sandbox, pending, **changes).state == "REFUSED"
    assert pending.state == "PENDING"


@pytest.mark.scenario("S64")
def test_the_same_openid_is_noted_nowhere_whatever_appid_is_named(wxpay_sandbox, pending):
    assert tell(wxpay_sandbox, pending, openid=UNDER_SUB).state == "PROCESSED"
    assert Transition.objects.get().note == ""


@pytest.mark.scenario("S64")
def test_an_openid_that_is_learned_is_kept_with_its_appid_and_compared_under_that(wxpay_sandbox, pending):
    type(pending).objects.filter(pk=pending.pk).update(openid="")
    assert tell(wxpay_sandbox, pending).state == "PROCESSED"
    assert (pending.openid, pending.openid_under) == (UNDER_SP, pending.appid)
    assert tell(wxpay_sandbox, pending, "PAPAY.TERMINATE", openid="o-somebody-else").state == "REFUSED"
    terminated = tell(wxpay_sandbox, pending, "PAPAY.TERMINATE", openid=UNDER_SUB, sub_appid=SUB_APPID)
    assert (terminated.state, pending.openid) == ("PROCESSED", UNDER_SP)


@pytest.mark.scenario("S64")
def test_without_a_sub_appid_of_ours_the_openid_is_the_institutions(wxpay_sandbox):
    contract = make_contract(merchant="institution", state="PENDING", openid=UNDER_SP, sub_appid="")
    assert tell(wxpay_sandbox, contract, openid="o-somebody-else").state == "REFUSED"
    assert tell(wxpay_sandbox, contract, openid=UNDER_SUB, sub_appid=SUB_APPID).state == "PROCESSED"
    assert contract.state == "SIGNED"


@pytest.mark.scenario("S64")
def test_a_direct_merchant_has_one_appid_and_its_openids_are_always_compared(wxpay_sandbox):
    contract = make_contract(state="PENDING", openid=UNDER_SUB)
    direct = {"sp_mchid": None, "sp_appid": None, "sub_mchid": None, "mchid": contract.mchid}
    for others in ({"appid": contract.appid}, {}, {"sub_appid": SUB_APPID}):
        assert tell(wxpay_sandbox, contract, **direct, **others, openid=UNDER_SP).state == "REFUSED"
    assert tell(wxpay_sandbox, contract, **direct, openid=UNDER_SUB).state == "PROCESSED"


@pytest.mark.scenario("S64")
def test_a_query_that_names_the_institutions_openid_confirms_a_signature(wxpay_sandbox):
    wxpay_sandbox.delivers = False
    contract = contracts.sign(plan_id=12345, openid=UNDER_SUB, user_display_name="Wu", merchant="institution")
    assert contract.sub_appid
    wxpay_sandbox.sign(contract)
    wxpay_sandbox.fault("altered", "/v3/global/papay/contracts", answer={"openid": UNDER_SP, "sub_appid": None})
    assert contracts.sync(contract).state == "SIGNED"
    assert not Discrepancy.objects.exists()
