from datetime import datetime, timedelta, timezone

import pytest

from tests.sandbox.test_quickpay import pay

SETTLEMENTS = "/v3/global/settle/settlements"
CHINA = timezone(timedelta(hours=8))


@pytest.fixture
def traded(any_shop):
    shop = any_shop
    shop.sandbox.set_clock(shift=datetime(2026, 3, 1, 12, tzinfo=CHINA).timestamp() - shop.sandbox.clock.now())
    pay(shop, "q1")
    pay(shop, "q2", amount={"total": 500, "currency": "CNY"})
    shop.refund("q1", "r1", 1000)
    shop.sandbox.advance(5)
    return shop


def ask(shop, state="SETTLED", **more):
    days = {"settle_start_date": "20260301", "settle_end_date": "20260331"} if state == "SETTLED" else {}
    return shop.get(SETTLEMENTS, **{"settle_state": state, "limit": 10, "offset": 0, **days, **more})


def test_money_is_unsettled_first_and_settled_two_days_later(traded):
    waiting = ask(traded, "UNSETTLE").json()
    assert waiting["total_count"] == 2 and ask(traded).json()["data"] == []
    amounts = {record["amount"]["currency"]: record["amount"] for record in waiting["data"]}
    assert amounts["HKD"] == {
        "settled": 0, "unsettle": 2772, "currency": "HKD", "pay": 3800, "refund": 1000, "net": 2800, "fee": 28,
    }  # fmt: skip
    assert "batch_id" not in waiting["data"][0]

    traded.sandbox.advance(2 * 86400)
    assert ask(traded, "UNSETTLE").json()["data"] == []
    paid_out = ask(traded).json()["data"]
    assert {record["settlement_date"] for record in paid_out} == {"20260303"}
    assert {record["trade_start_date"] for record in paid_out} == {"20260301"}
    assert len({record["batch_id"] for record in paid_out}) == 2
    assert sum(record["amount"]["settled"] for record in paid_out) == 2772 + 495


def test_pages_say_how_many_they_hold(traded):
    traded.sandbox.advance(2 * 86400)
    first, second, third = (ask(traded, limit=1, offset=offset).json() for offset in (0, 1, 2))
    assert [page["total_count"] for page in (first, second, third)] == [2, 2, 2]
    assert [page["limit"] for page in (first, second, third)] == [1, 1, 0]
    assert first["data"] != second["data"] and third["data"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"settle_state": "UNSETTLED"},
        {"limit": 31},
        {"limit": 0},
        {"offset": -1},
        {"settle_start_date": "20260401"},
        {"settle_end_date": "20260299"},
    ],
)
def test_wrong_questions_are_refused(traded, wrong):
    answer = ask(traded, **wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


def test_records_can_be_added_by_hand(app, shop):
    record = {"batch_id": "x", "settlement_date": "20260310", "amount": {"settled": 1, "currency": "HKD"}}
    body = {"mchid": shop.mchid, "record": record}
    assert app.test_client().post("/_sandbox/settlements", json=body).status_code == 201
    assert ask(shop).json()["data"] == [record]


def test_profit_sharing_is_shown_beside_each_batch(app, traded):
    """The part for others moves from waiting to paid out with its batch."""
    assert "split_amount" not in ask(traded, "UNSETTLE").json()["data"][0]
    assert app.test_client().post("/_sandbox/settlements", json={"split_percent": 10}).status_code == 201
    (waiting,) = [one for one in ask(traded, "UNSETTLE").json()["data"] if one["amount"]["currency"] == "HKD"]
    assert waiting["split_amount"] == {"settled": 0, "unsettle": 277, "currency": "HKD", "pay": 380, "refund": 100}
    traded.sandbox.advance(2 * 86400)
    (paid_out,) = [one for one in ask(traded).json()["data"] if one["amount"]["currency"] == "HKD"]
    assert (paid_out["split_amount"]["settled"], paid_out["split_amount"]["unsettle"]) == (277, 0)
    assert {**paid_out["amount"], "settled": 0, "unsettle": 2772} == waiting["amount"]


@pytest.mark.parametrize("wrong", [{}, {"record": "x"}, {"split_percent": 101}, {"split_percent": "x"}])
def test_what_is_no_settlement_is_refused(app, wrong):
    assert app.test_client().post("/_sandbox/settlements", json=wrong).status_code == 400
