import pytest

from django_wxpay.client.errors import InvalidField

from .wire import APIV3_KEY, PREVIOUS_APIV3_KEY, make_identity, private_pem


@pytest.mark.scenario("S52")
def test_an_identity_shows_no_secret():
    shown = repr(make_identity(private_key=private_pem("merchant"), apiv3_key_previous=PREVIOUS_APIV3_KEY))
    assert "1900000100" in shown
    assert APIV3_KEY not in shown and PREVIOUS_APIV3_KEY not in shown and "PrivateKey" not in shown


def test_partner_is_the_mainlands_word_for_institution():
    assert make_identity(mode="partner").mode == make_identity(mode="institution").mode == "institution"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"mode": "both"}, "mode"),
        ({"region": "mars"}, "region"),
        ({"mchid": ""}, "mchid"),
        ({"mchid": "19000 00100"}, "mchid"),
        ({"appid": "wx 1"}, "appid"),
        ({"serial_no": 'A",x="'}, "serial_no"),
        ({"apiv3_key": "short"}, "apiv3_key"),
        ({"apiv3_key_previous": "x" * 33}, "apiv3_key_previous"),
    ],
)
def test_what_cannot_be_right_is_refused_and_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        make_identity(**wrong)


def test_a_direct_merchant_names_itself_and_refuses_sub_merchants():
    identity = make_identity()
    assert identity.numbers() == {"mchid": "1900000100"}
    assert identity.appids() == {"appid": "wx1111111111111111"}
    assert identity.sub_number() == {}
    with pytest.raises(InvalidField, match="sub_mchid has no meaning in direct mode"):
        identity.numbers(sub_mchid="1900000109")


def test_an_institution_always_names_a_sub_merchant():
    identity = make_identity(mode="institution")
    assert identity.numbers(sub_mchid="1900000109") == {"sp_mchid": "1900000100", "sub_mchid": "1900000109"}
    assert identity.appids() == {"sp_appid": "wx1111111111111111"}
    assert identity.appids(sub_appid="wx2")["sub_appid"] == "wx2"
    with pytest.raises(InvalidField) as caught:
        identity.sub_number()
    assert caught.value.field == "sub_mchid"
