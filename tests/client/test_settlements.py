from datetime import date

import pytest

from django_wxpay.client.errors import APIError, InvalidField, NotFound

from .wire import Reply, make_client

MARCH = {"state": "SETTLED", "start": date(2026, 3, 1), "end": "20260331"}


def page(*batches, total=None):
    first_page = {"data": [{"batch_id": batch} for batch in batches], "limit": len(batches), "offset": 0}
    return Reply(200, first_page if total is None else first_page | {"total_count": total})


def test_settled_money_is_asked_for_by_days_and_without_the_callers_number():
    client = make_client(page("1"))
    client.settlements.query(**MARCH, limit=30, offset=60)
    assert client.wire.last.path_url == (
        "/v3/global/settle/settlements"
        "?settle_state=SETTLED&settle_start_date=20260301&settle_end_date=20260331&limit=30&offset=60"
    )


def test_unsettled_money_is_asked_for_without_days_and_for_a_sub_merchant_when_one_is_named():
    client = make_client(page("1"), mode="institution")
    client.settlements.query(state="UNSETTLE", sub_mchid="19")
    assert client.wire.last.path_url == (
        "/v3/global/settle/settlements?settle_state=UNSETTLE&limit=10&offset=0&sub_mchid=19"
    )


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("state", {"state": "UNSETTLED"}),
        ("start", {"state": "SETTLED"}),
        ("end", {"state": "SETTLED", "start": "20260301"}),
        ("end", {"state": "SETTLED", "start": "20260302", "end": "20260301"}),
        ("start", {"state": "UNSETTLE", "start": "20260301"}),
        ("limit", {**MARCH, "limit": 31}),
        ("offset", {**MARCH, "offset": -1}),
        ("sub_mchid", {**MARCH, "sub_mchid": "19"}),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(field, asked):
    with pytest.raises(InvalidField) as caught:
        make_client().settlements.query(**asked)
    assert caught.value.field == field


def test_all_settlements_are_walked_through_by_what_came_not_by_what_was_asked():
    client = make_client(page("1", "2", total=3), page("3", total=1))
    assert [one["batch_id"] for one in client.settlements.iter_all(**MARCH, limit=30)] == ["1", "2", "3"]
    assert "limit=30&offset=2" in client.wire.last.path_url


@pytest.mark.parametrize("reply", [page(total=0), Reply(200, {}), Reply(404, {"code": "RESOURCE_NOT_EXISTS"})])
def test_no_record_is_an_empty_list(reply):
    assert list(make_client(reply).settlements.iter_all(**MARCH)) == []


@pytest.mark.parametrize(
    "reply", [Reply(404, {"code": "RESOURCE_NOT_EXISTS"}, sign=False), Reply(404, {"code": "MCH_NOT_EXISTS"})]
)
def test_another_not_found_is_not_taken_for_an_empty_list(reply):
    with pytest.raises(APIError) as caught:
        list(make_client(reply).settlements.iter_all(**MARCH))
    assert not isinstance(caught.value, NotFound)


def test_a_listing_without_a_count_ends_with_its_first_empty_page():
    client = make_client(page("1"), page())
    assert len(list(client.settlements.iter_all(**MARCH))) == 1
