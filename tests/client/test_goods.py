import pytest

from django_wxpay.client import goods
from django_wxpay.client.errors import InvalidField

from .test_quick_pay import pay
from .wire import Reply, make_client

TEA = {"goods_id": "tea-1", "quantity": 2, "price": 1900}
WHOLE = {
    "cost_price": 4000,
    "receipt_id": "R-77",
    "goods_detail": [TEA, {**TEA, "goods_id": "cup_2", "wxpay_goods_id": "1001", "goods_name": "茶杯"}],
}


@pytest.mark.parametrize("detail", [WHOLE, {"cost_price": 0}, {"receipt_id": "R"}, {"goods_detail": (TEA,)}])
def test_what_was_bought_is_sent_as_it_was_given(detail):
    client = make_client(Reply(200, {}))
    pay(client, detail=detail)
    assert client.wire.sent["detail"] == {name: list(v) if isinstance(v, tuple) else v for name, v in detail.items()}


@pytest.mark.parametrize("detail", [None, {}])
def test_nothing_is_sent_where_nothing_was_said(detail):
    client = make_client(Reply(200, {}))
    pay(client, detail=detail)
    assert "detail" not in client.wire.sent


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        ("detail", "tea"),
        ("detail", [TEA]),
        ("detail", {"invoice_id": "x"}),
        ("detail", {"goods_detail": [TEA] * 200}),
        ("detail.cost_price", {"cost_price": "4000"}),
        ("detail.cost_price", {"cost_price": -1}),
        ("detail.cost_price", {"cost_price": True}),
        ("detail.cost_price", {"cost_price": 40.0}),
        ("detail.receipt_id", {"receipt_id": "x" * 33}),
        ("detail.receipt_id", {"receipt_id": ""}),
        ("detail.goods_detail", {"goods_detail": []}),
        ("detail.goods_detail", {"goods_detail": TEA}),
        ("detail.goods_detail[0]", {"goods_detail": ["tea"]}),
        ("detail.goods_detail[1]", {"goods_detail": [TEA, {**TEA, "unit_price": 1}]}),
        ("detail.goods_detail[0].goods_id", {"goods_detail": [{"quantity": 1, "price": 1}]}),
        ("detail.goods_detail[0].goods_id", {"goods_detail": [{**TEA, "goods_id": "茶"}]}),
        ("detail.goods_detail[0].goods_id", {"goods_detail": [{**TEA, "goods_id": "x" * 33}]}),
        (
            "detail.goods_detail[0].goods_name",
            {"goods_detail": [{**TEA, "goods_name": "\U0001f375"}]},
        ),
        ("detail.goods_detail[0].quantity", {"goods_detail": [{**TEA, "quantity": 0}]}),
        ("detail.goods_detail[0].price", {"goods_detail": [{**TEA, "price": -1}]}),
    ],
)
def test_what_wechat_pay_would_not_take_is_refused_before_sending_and_named(field, detail):
    client = make_client()
    with pytest.raises(InvalidField) as caught:
        pay(client, detail=detail)
    assert caught.value.field == field and client.wire.requests == []


def test_the_longest_detail_is_counted_in_bytes_of_compact_json():
    ring = {"goods_id": "a", "quantity": 1, "price": 1, "goods_name": "茶" * 230}
    assert len(goods.detail({"goods_detail": [ring] * 8})["goods_detail"]) == 8
    with pytest.raises(InvalidField):
        goods.detail({"goods_detail": [ring] * 9})


def test_a_store_needs_no_number_but_a_name_and_an_address():
    client = make_client(Reply(200, {}))
    pay(client, store_name="Central", store_address="1 Road")
    assert client.wire.sent["scene_info"]["store_info"] == {"name": "Central", "address": "1 Road"}
