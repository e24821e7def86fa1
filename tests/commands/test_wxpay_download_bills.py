from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_wxpay.models import Bill
from django_wxpay.services import bills

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kept_in(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def yesterday():
    return bills.china_today() - timedelta(days=1)


def run(*args):
    out, err = StringIO(), StringIO()
    call_command("wxpay_download_bills", *args, stdout=out, stderr=err)
    return out.getvalue()


def test_several_days_are_fetched_and_told(wxpay_sandbox, yesterday):
    first = yesterday - timedelta(days=2)
    for back in range(3):
        wxpay_sandbox.wechat.statements.want(f"{yesterday - timedelta(days=back):%Y%m%d}", rows=5)
    output = run("--from", str(first), "--to", str(yesterday))
    assert output.count("5 rows") == 3
    assert Bill.objects.filter(state="DOWNLOADED").count() == 3


def test_a_failure_is_told_and_the_exit_is_not_zero(wxpay_sandbox, yesterday):
    wxpay_sandbox.wechat.statements.want(f"{yesterday:%Y%m%d}", rows=5, error="wrong_hash")
    with pytest.raises(CommandError, match="1 of 1"):
        run("--merchant", "default")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--date", "20260301x"], "no day"),
        (["--date", "2026-03-01", "--from", "2026-03-01"], "not both"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "after --to"),
        (["--merchant", "nobody"], "no merchant"),
        (["--date", "2099-01-01"], "before today"),
        (["--merchant", "incomplete"], "lacks APIV3_KEY"),
        (["--merchant", "institution", "--sub-mchid", "../x"], "sub_mchid may only have digits"),
    ],
)
def test_wrong_arguments_are_explained(wxpay_sandbox, settings, args, says):
    merchants = settings.WXPAY["MERCHANTS"]
    incomplete = {"incomplete": merchants["default"] | {"APIV3_KEY": ""}}
    settings.WXPAY = settings.WXPAY | {"MERCHANTS": merchants | incomplete}
    with pytest.raises(CommandError, match=says):
        run(*args)
    assert wxpay_sandbox.calls == []
