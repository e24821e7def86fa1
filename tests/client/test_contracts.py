import pytest

from django_wxpay.client.errors import InvalidField, NotFound, OutcomeUnknown

from .wire import Reply, make_client

SUB = {"sub_mchid": "1900000109", "sub_appid": "wx2222222222222222"}
NEEDED = {
    "plan_id": 12345,
    "out_contract_code": "C20260301000001",
    "user_display_name": "Li M.",
    "success_notify_url": "https://shop.example/wxpay/notify/",
}


def pre_sign(client, **changed):
    return client.contracts.pre_sign(**(NEEDED | {"channel": "mini_program"} | changed))


@pytest.mark.parametrize(
    ("channel", "path", "content"),
    [
        ("mini_program", "miniprogram-pre-entrust-sign", {"session_id": "1"}),
        ("app", "app-pre-entrust-sign", {"session_id": "1"}),
        ("jsapi", "jsapi-pre-entrust-sign", {"sign_url": "https://x/#wechat_redirect"}),
        ("h5", "h5-pre-entrust-sign", {"sign_url": "https://x/#wechat_redirect"}),
        ("web", "web-pre-entrust-sign", {"sign_url": "https://x/"}),
    ],
)
def test_each_channel_has_its_path_and_its_answer(channel, path, content):
    client = make_client(Reply(200, content))
    assert pre_sign(client, channel=channel).data == content
    assert client.wire.last.method == "POST"
    assert client.wire.last.path_url == f"/v3/global/papay/contracts/{path}"


def test_a_direct_merchant_sends_its_appid_and_no_merchant_number():
    client = make_client(Reply(200, {"session_id": "1"}))
    pre_sign(client, openid="o-1", user_client_ip="203.0.113.9", expired_time="2026-03-01T13:00:00+08:00")
    assert client.wire.sent == {
        "appid": "wx1111111111111111",
        **NEEDED,
        "openid": "o-1",
        "user_client_ip": "203.0.113.9",
        "expired_time": "2026-03-01T13:00:00+08:00",
    }


def test_an_institution_names_its_appid_and_the_sub_merchant():
    client = make_client(Reply(200, {"session_id": "1"}), mode="institution")
    pre_sign(client, **SUB)
    assert client.wire.sent == {"sp_appid": "wx1111111111111111", **SUB, **NEEDED}


def test_h5_takes_both_ways_back():
    client = make_client(Reply(200, {"sign_url": "https://x/"}))
    pre_sign(client, channel="h5", return_url="https://shop.example/back?x=1", return_appid="wx3")
    assert client.wire.sent["return_url"] == "https://shop.example/back?x=1"
    assert client.wire.sent["return_appid"] == "wx3"


def test_the_web_channels_address_has_one_name_for_callers():
    answer = pre_sign(make_client(Reply(200, {"show_code_url": "https://x/code"})), channel="web")
    assert answer.data["sign_url"] == "https://x/code"


def test_an_answer_without_a_session_is_unknown():
    with pytest.raises(OutcomeUnknown):
        pre_sign(make_client(Reply(200, {"surprise": 1})))


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("channel", {"channel": "fax"}),
        ("plan_id", {"plan_id": "12345"}),
        ("plan_id", {"plan_id": 0}),
        ("out_contract_code", {"out_contract_code": "C" * 33}),
        ("out_contract_code", {"out_contract_code": "C/1"}),
        ("user_display_name", {"user_display_name": "\N{GRINNING FACE}"}),
        ("user_display_name", {"user_display_name": ""}),
        ("success_notify_url", {"success_notify_url": "https://x.example/?a=1"}),
        ("openid", {"openid": "o 1"}),
        ("openid", {"openid": "o-1", "channel": "web"}),
        ("return_url", {"return_url": "https://x.example/"}),
        ("return_appid", {"return_appid": "wx3", "channel": "jsapi"}),
        ("expired_time", {"expired_time": "tomorrow"}),
        ("sub_mchid", {"sub_mchid": "1900000109"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = make_client()
    with pytest.raises(InvalidField) as caught:
        pre_sign(client, **changed)
    assert caught.value.field == field
    assert not client.wire.requests


def test_an_institution_without_a_sub_merchant_is_refused():
    with pytest.raises(InvalidField) as caught:
        pre_sign(make_client(mode="institution"))
    assert caught.value.field == "sub_mchid"


def test_a_contract_is_queried_by_wechat_pays_number():
    client = make_client(Reply(200, {"state": "SIGNED"}), mode="institution")
    client.contracts.query(contract_id="202603011234567890", **SUB)
    assert client.wire.last.path_url == (
        "/v3/global/papay/contracts/202603011234567890"
        "?sp_appid=wx1111111111111111&sub_appid=wx2222222222222222&sub_mchid=1900000109"
    )


def test_a_contract_is_queried_by_the_merchants_number_and_its_plan():
    client = make_client(Reply(200, {"state": "SIGNED"}))
    client.contracts.query_by_code(out_contract_code="C*1", plan_id=7)
    path, _, query = client.wire.last.path_url.partition("?")
    assert path == "/v3/global/papay/contracts/out-contract-code/C%2A1"
    assert query == "plan_id=7&appid=wx1111111111111111"


def test_a_contract_that_nobody_signed_is_not_found():
    reply = Reply(403, {"code": "CONTRACT_NOT_EXIST", "message": ""})
    with pytest.raises(NotFound):
        make_client(reply).contracts.query(contract_id="1")


def test_a_contract_is_terminated_with_a_note():
    client = make_client(Reply(204), mode="institution")
    client.contracts.terminate(contract_id="2026", termination_note="moved away", sub_mchid="1900000109")
    assert client.wire.last.path_url == "/v3/global/papay/contracts/2026/terminate"
    assert client.wire.sent == {
        "sp_appid": "wx1111111111111111",
        "sub_mchid": "1900000109",
        "termination_note": "moved away",
    }


def test_a_termination_needs_a_note():
    with pytest.raises(InvalidField) as caught:
        make_client().contracts.terminate(contract_id="1", termination_note=" ")
    assert caught.value.field == "termination_note"
