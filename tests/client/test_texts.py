"""Foreign text: hidden from those who look at variables, and cleaned for databases."""

import copy
import json
import pickle

import pytest

from django_wxpay.client.texts import Hidden, clean, hide, is_storable

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"


def test_hidden_text_is_the_text_and_only_its_repr_does_not_show_it():
    hidden = Hidden(OPENID)
    assert (hidden, f"{hidden}", str(hidden), hash(hidden)) == (OPENID, OPENID, OPENID, hash(OPENID))
    assert json.loads(json.dumps({"openid": hidden})) == {"openid": OPENID}
    for shown in (repr(hidden), repr([hidden]), repr({"openid": (hidden,)}), f"{hidden!r}"):
        assert OPENID not in shown
    for same in (copy.deepcopy(hidden), pickle.loads(pickle.dumps(hidden))):
        assert same == OPENID and OPENID not in repr(same)


def test_every_text_in_a_message_is_hidden_and_other_values_are_as_they_were():
    message = {"payer": {"openid": OPENID}, "list": [OPENID, {"x": OPENID}], "total": 100, "yes": True, "none": None}
    assert hide(message) == message
    assert OPENID not in repr(hide(message)) and "100" in repr(hide(message))


def test_what_is_nested_beyond_reason_is_cut_off():
    deep = json.loads('{"a":' * 800 + '"end"' + "}" * 800)
    hidden = hide({"deep": deep, "total": 1})
    assert hidden["total"] == 1
    assert "end" not in json.dumps(hidden) and json.dumps(hidden).count("{") == 32


@pytest.mark.parametrize("broken", ["a\x00b", "a\ud83db", "a\udc00b"])
def test_text_that_a_database_refuses_is_replaced_character_by_character(broken):
    assert not is_storable(broken)
    assert clean(broken) == "a\N{REPLACEMENT CHARACTER}b"
    assert is_storable(clean(broken)) and clean(broken).encode()


def test_text_is_cut_and_otherwise_kept():
    assert is_storable("支付成功 🎉 \n")
    assert clean("支付成功 🎉 \n") == "支付成功 🎉 \n"
    assert clean("支付成功", 2) == "支付"
    assert OPENID not in repr(clean(Hidden(OPENID))) and clean(Hidden(OPENID), 3) == "oUp"
