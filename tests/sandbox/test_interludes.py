import pytest
import requests

DEDUCT = "/v3/global/papay/transactions"
QUERY = f"{DEDUCT}/out-trade-no/d1"


@pytest.fixture
def contract(shop):
    return shop.signed()


def test_an_answer_is_held_back_while_the_world_goes_on(shop, contract):
    shop.deduct(contract, "d1", total=6660011)
    shop.sandbox.meanwhile(lambda: shop.sandbox.orders.user_pays("d1"), QUERY)
    assert shop.get(QUERY).json()["trade_state"] == "USERPAYING"
    assert shop.get(QUERY).json()["trade_state"] == "SUCCESS"


def test_a_request_travels_while_the_world_goes_on(shop, contract):
    shop.deduct(contract, "d1", total=6660011)
    shop.sandbox.meanwhile(lambda: shop.sandbox.orders.user_pays("d1"), QUERY, before=True)
    assert shop.get(QUERY).json()["trade_state"] == "SUCCESS"


def test_another_worker_may_call_meanwhile(shop, contract):
    """The late one arrives second, and waits in vain for its answer."""
    answers = []
    shop.sandbox.meanwhile(lambda: answers.append(shop.deduct(contract, "d1")), DEDUCT, before=True)
    shop.sandbox.fault("lost_answer", DEDUCT, skip=1)
    with pytest.raises(requests.ReadTimeout):
        shop.deduct(contract, "d1")
    assert answers[0].json()["trade_state"] == "SUCCESS"
    assert [call["code"] for call in shop.sandbox.describe()["calls"][-2:]] == [None, "LostAnswer"]


def test_it_happens_once_in_the_call_that_is_meant(shop, contract):
    heard = []
    shop.sandbox.meanwhile(lambda: heard.append("deduct"), DEDUCT, method="POST", skip=1)
    shop.deduct(contract, "d1")
    shop.get(QUERY)
    assert heard == []
    shop.deduct(contract, "d2")
    shop.deduct(contract, "d3")
    assert heard == ["deduct"]


def test_what_it_raises_reaches_the_caller(shop):
    shop.sandbox.meanwhile(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shop.get("/v3/certificates")
    assert shop.get("/v3/certificates").status_code == 200
