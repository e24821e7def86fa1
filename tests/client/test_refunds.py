import pytest

from django_wxpay.client.errors import InvalidField

from .wire import Reply, make_client

REFUND = {
    "out_refund_no": "R20260301000001",
    "amount": 1000,
    "amount_total": 3800,
    "currency": "HKD",
    "notify_url": "https://shop.example/wxpay/notify/",
    "out_trade_no": "Q20260301000001",
}


def test_a_refund_of_a_direct_merchant_is_sent_as_the_manual_shows():
    client = make_client(Reply(200, {"id": "5030"}))
    client.refunds.create(**REFUND, reason="item missing", source="REFUND_SOURCE_RECHARGE_FUNDS")
    assert client.wire.last.path_url == "/v3/global/refunds"
    assert client.wire.sent == {
        "mchid": "1900000100",
        "appid": "wx1111111111111111",
        "out_trade_no": "Q20260301000001",
        "out_refund_no": "R20260301000001",
        "amount": {"refund": 1000, "total": 3800, "currency": "HKD"},
        "notify_url": "https://shop.example/wxpay/notify/",
        "reason": "item missing",
        "source": "REFUND_SOURCE_RECHARGE_FUNDS",
    }


def test_a_refund_of_an_institution_names_both_merchants():
    client = make_client(Reply(200, {}), mode="institution")
    client.refunds.create(**(REFUND | {"out_trade_no": "", "transaction_id": "4200"}), sub_mchid="19", sub_appid="wx2")
    sent = client.wire.sent
    assert (sent["sp_mchid"], sent["sub_mchid"]) == ("1900000100", "19")
    assert (sent["sp_appid"], sent["sub_appid"]) == ("wx1111111111111111", "wx2")
    assert sent["transaction_id"] == "4200" and "out_trade_no" not in sent


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("amount", {"amount": 0}),
        ("amount", {"amount": 3801}),
        ("amount_total", {"amount_total": -1}),
        ("currency", {"currency": ""}),
        ("out_refund_no", {"out_refund_no": "R#1"}),
        ("out_refund_no", {"out_refund_no": "R" * 65}),
        ("out_trade_no", {"out_trade_no": ""}),
        ("out_trade_no", {"transaction_id": "4200"}),
        ("reason", {"reason": "x" * 81}),
        ("reason", {"reason": "\N{GRINNING FACE}"}),
        ("source", {"source": "MY_POCKET"}),
        ("notify_url", {"notify_url": ""}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_nothing_is_sent(field, changed):
    client = make_client()
    with pytest.raises(InvalidField) as caught:
        client.refunds.create(**(REFUND | changed))
    assert caught.value.field == field
    assert not client.wire.requests


@pytest.mark.parametrize(
    ("mode", "given", "path"),
    [
        ("direct", {"out_refund_no": "R|1@*"}, "/out-refund-no/R%7C1%40%2A?mchid=1900000100"),
        ("direct", {"refund_id": "5030"}, "/id/5030?mchid=1900000100"),
        ("institution", {"refund_id": "5030", "sub_mchid": "19"}, "/id/5030?sp_mchid=1900000100&sub_mchid=19"),
    ],
)
def test_a_refund_is_queried_by_either_number(mode, given, path):
    client = make_client(Reply(200, {}), mode=mode)
    client.refunds.query(**given)
    assert client.wire.last.path_url == "/v3/global/refunds" + path


def page(numbers, total):
    return Reply(200, {"data": [{"id": n} for n in numbers], "total_num": total, "current_total_num": len(numbers)})


def test_one_page_of_an_orders_refunds_is_asked_for_by_offset_and_count():
    client = make_client(page(["1"], 1))
    client.refunds.query_all(transaction_id="4200", offset=20, count=5)
    assert client.wire.last.path_url == ("/v3/global/refunds?transaction_id=4200&offset=20&count=5&mchid=1900000100")


@pytest.mark.parametrize("wrong", [{"count": 21}, {"count": 0}, {"offset": -1}])
def test_a_page_outside_the_manuals_bounds_is_refused(wrong):
    with pytest.raises(InvalidField):
        make_client().refunds.query_all(out_trade_no="Q1", **wrong)


def test_all_refunds_of_an_order_are_walked_through_page_by_page():
    client = make_client(page(["1", "2"], 3), page(["3"], 3))
    assert [refund["id"] for refund in client.refunds.iter_all(out_trade_no="Q1")] == ["1", "2", "3"]
    assert "offset=2" in client.wire.last.path_url


@pytest.mark.parametrize("reply", [page([], 0), page([], 9), Reply(200, {}), Reply(200, {"data": None})])
def test_an_order_without_refunds_has_one_empty_page(reply):
    client = make_client(reply)
    assert list(client.refunds.iter_all(out_trade_no="Q1")) == []
    assert len(client.wire.requests) == 1


def test_a_listing_without_a_total_ends_with_its_first_empty_page():
    client = make_client(Reply(200, {"data": [{"id": "1"}]}), Reply(200, {"data": []}))
    assert len(list(client.refunds.iter_all(out_trade_no="Q1"))) == 1
