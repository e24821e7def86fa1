"""Two merchants, one of each region, in one shop: what is checked of each, and that both are proved."""

from io import StringIO

import pytest
from django.core.management import call_command

from django_wxpay import conf
from tests.checks.test_checks import GOOD, ids, put, shop  # noqa: F401  (a fixture)

MAINLAND = {
    **{name: value for name, value in GOOD.items() if name != "MERCHANT_CATEGORY_CODE"},
    "REGION": "mainland",
    "MCHID": "1900000201",
    "SERVICE_ID": "00002000000000000000000000000001",
    "BACKUP_HOSTS": ["api2.mch.weixin.qq.com"],
}


def test_a_shop_of_both_regions_has_no_complaints(shop):  # noqa: F811
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {"default": GOOD, "courses": MAINLAND}}
    assert ids() == []
    assert conf.client("courses").identity.region == "mainland"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SERVICE_ID": "5000-01"}, ["E063"]),
        ({"SERVICE_ID": 500001}, ["E027"]),
        ({"PLAN_DURATION_MAX": -1}, ["E064"]),
        ({"DEDUCTION_QUANTITY_MAX": "3"}, ["E064"]),
        ({"RISK_AMOUNT_MAX": True}, ["E064"]),
        ({"MERCHANT_CATEGORY_CODE": "5734"}, []),
        ({"PAYEE_SIGN_FORM": "C"}, ["E067"]),
        ({"HOST": "apihk.mch.weixin.qq.com"}, ["E066"]),
        ({"BACKUP_HOSTS": ["https://apihk.mch.weixin.qq.com"]}, ["E066"]),
        ({"HOST": "https://api2.mch.weixin.qq.com"}, []),
    ],
)
def test_a_mainland_merchant_is_looked_at_with_its_own_eyes(shop, changes, expected):  # noqa: F811
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {"default": MAINLAND | changes}}
    assert ids() == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SERVICE_ID": "1"}, ["W065"]),
        ({"RISK_AMOUNT_MAX": 1}, ["W065"]),
        ({"HOST": "api.mch.weixin.qq.com"}, ["E066"]),
        ({"BACKUP_HOSTS": ["api2.mch.weixin.qq.com"]}, ["E066"]),
    ],
)
def test_a_global_merchant_has_no_payscore(shop, changes, expected):  # noqa: F811
    put(shop, **changes)
    assert ids() == expected


@pytest.mark.parametrize("alias", ["mainland", "mainland_partner"])
def test_the_doctor_proves_a_mainland_merchant_by_its_own_certificates(wxpay_sandbox, db, alias):
    out = StringIO()
    call_command("wxpay_doctor", "--merchant", alias, "--skip-workers", stdout=out, no_color=True)
    said = out.getvalue()
    assert "1 platform certificate downloaded and decrypted" in said
    assert f"WeChat Pay is told to send notifications to https://shop.example/wxpay/notify/{alias}/" in said
    assert "PayScore service: 00002000000000000000000000000001." in said
    assert "terminations" not in said and "\N{BALLOT X}" not in said
    assert {path for _, path in wxpay_sandbox.calls} == {"/v3/certificates"}
