"""Service orders of the mainland, asked for as any client would: their states, their collection, their refusals."""

import pytest
import requests

from django_wxpay.sandbox import special
from django_wxpay.sandbox.mainland import OTHER_SERVICE_ID
from tests.sandbox.shop import NOTIFY_URL, School
from tests.sandbox.test_payscore import reason, refused

PAID = "PAYSCORE.USER_PAID"
AT_10_S, NEVER, RUNNING, RUNS_UNPAID, RACES, KEPT, LOST, FAILS_FIRST = (
    special.COLLECTION_AMOUNTS + number for number in range(1, 9)
)
PAID_AT = {"type": "Order_Paid", "detail": {"paid_time": "20260301"}}


def asks_of(school):
    """What may be asked of an order by its number, with what such a call says."""
    return {
        "complete": school.complete_body(NEVER), "cancel": {"reason": "rain"}, "sync": PAID_AT,
        "modify": school.modification(1), "pay": {},
    }  # fmt: skip


def test_a_service_is_started_completed_and_paid(school, mailbox):
    signed = school.signed_plan()
    answer = school.post(
        school.starts, **school.start_body(signed, attach="a%26b", location={"start_location": "Pool"})
    )
    begun = answer.json()
    assert (begun["state"], begun["state_description"], begun["attach"]) == ("DOING", "USER_CONFIRM", "a%26b")
    assert (begun["mchid"], begun.get("sub_mchid")) == (school.mchid, school.sub.get("sub_mchid"))
    number = begun["out_order_no"]
    end = {"time_range": {"end_time": "20260301110000"}, "location": {"end_location": "Desk"}}
    body = school.complete_body(12000, 1500, 500, goods_tag="tag", profit_sharing=False, **end)
    done = school.post(f"{school.orders}/{number}/complete", **body)
    if school.mode == "partner":
        assert (done.status_code, done.content) == (204, b"") and school.verifies(done.headers, b"")
    else:
        assert done.status_code == 200 and "collection" not in done.json()

    shown = school.order(number)
    assert (shown["state"], shown["total_amount"], "state_description" in shown) == ("DONE", 10000, False)
    assert shown["time_range"] == {"start_time": "20260301100000", "end_time": "20260301110000"}
    assert shown["location"] == {"start_location": "Pool", "end_location": "Desk"}
    collection = shown["collection"]
    [entry] = collection["details"]
    assert (collection["state"], collection["paid_amount"], collection["paying_amount"]) == ("USER_PAID", 10000, 0)
    assert (entry["seq"], entry["amount"], entry["paid_type"]) == (1, 10000, "NEWTON") and entry["transaction_id"]
    by_other = school.get(school.orders, **school.own, **school.service, query_id=shown["order_id"])
    assert by_other.json() == shown

    school.sandbox.deliver_due()
    assert mailbox.types[-1] == PAID and mailbox.message(school)["collection"] == collection
    [used, *_] = school.sandbox.sign_plans.get(signed["sign_plan_id"])["details"]
    assert (used["plan_detail_state"], used["actual_pay_price"], used["order_id"]) == ("USED", 10000, shown["order_id"])


def test_the_number_may_be_spelt_in_two_ways_but_is_the_services(school):
    signed = school.signed_plan()
    number = signed["signed_detail_list"][0]["merchant_plan_detail_no"]
    for wrong in (
        {"out_trade_no": "another"},
        {"out_trade_no": None, "out_order_no": "another"},
        {"out_trade_no": None},
    ):
        assert refused(school.post(school.starts, **school.start_body(signed, **wrong))) == (400, "PARAM_ERROR")
    spelt = school.post(school.starts, **school.start_body(signed, out_trade_no=None, out_order_no=number))
    assert spelt.json()["out_order_no"] == number


def test_the_same_start_again_is_the_same_order(school):
    body = school.start_body(school.signed_plan())
    first = school.post(school.starts, **body).json()
    assert school.post(school.starts, **body).json()["order_id"] == first["order_id"]
    answer = school.post(school.starts, **body | {"service_introduction": "Dive"})
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316598


def test_no_service_is_skipped_and_none_begins_before_the_last_is_paid(school):
    signed = school.signed_plan(NEVER, NEVER, NEVER)
    assert refused(school.post(school.starts, **school.start_body(signed, 2))) == (400, "INVALID_REQUEST")
    number = school.post(school.starts, **school.start_body(signed)).json()["out_order_no"]
    assert refused(school.post(school.starts, **school.start_body(signed, 2))) == (400, "INVALID_REQUEST")
    school.post(f"{school.orders}/{number}/complete", **school.complete_body(NEVER))
    assert refused(school.post(school.starts, **school.start_body(signed, 2))) == (400, "INVALID_REQUEST")
    school.sandbox.service_orders.user_pays(number)
    assert school.post(school.starts, **school.start_body(signed, 2)).status_code == 200


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("PARAM_ERROR", {"service_introduction": "x" * 21}),
        ("PARAM_ERROR", {"service_introduction": None}),
        ("PARAM_ERROR", {"attach": "x" * 257}),
        ("PARAM_ERROR", {"plan_detail_no": 9}),
        ("PARAM_ERROR", {"time_range": {}}),
        ("PARAM_ERROR", {"time_range": {"start_time": "2026-03-01"}}),
        ("PARAM_ERROR", {"time_range": {"start_time": "20260230"}}),
        ("PARAM_ERROR", {"notify_url": None}),
        ("INVALID_REQUEST", {"openid": "o-2"}),
        ("RESOURCE_NOT_EXISTS", {"sign_plan_id": "0" * 32}),
        ("NO_AUTH", {"service_id": "0" * 32}),
        ("INVALID_REQUEST", {"service_id": OTHER_SERVICE_ID}),
        ("PARAM_ERROR", {"time_range": {"start_time": "20260301100000", "end_time": "20260301095959"}}),
    ],
)
def test_a_start_that_cannot_be_is_refused(school, code, changes):
    answer = school.post(school.starts, **school.start_body(school.signed_plan(), **changes))
    assert refused(answer)[1] == code
    assert school.sandbox.describe()["service_orders"] == []


def test_a_start_that_ends_before_it_begins_says_so(school):
    times = {"start_time": "20260301100000", "end_time": "20260301095959"}
    answer = school.post(school.starts, **school.start_body(school.signed_plan(), time_range=times))
    assert refused(answer) == (400, "PARAM_ERROR") and reason(answer) == 271316637


@pytest.mark.parametrize(
    "changes",
    [
        {"total_amount": 9999},
        {"post_payments": []},
        {"post_payments": [{"name": "x" * 21, "amount": 10000}]},
        {"post_payments": [{"name": "a", "amount": 0}], "total_amount": 0},
        {"post_payments": [{"name": "a", "amount": 10000, "count": 101}]},
        {"post_payments": [{"name": "a", "amount": 1}] * 101, "total_amount": 101},
        {"post_discounts": [{"name": "a", "amount": 20000}], "total_amount": -10000},
        {"post_discounts": [{"name": "a", "amount": 1}, {"name": "a", "amount": 1}], "total_amount": 9998},
        {"time_range": {"end_time": "20260301095959"}},
        {"time_range": {"end_time": "20991231"}},
        {"profit_sharing": "yes"},
        {"goods_tag": "x" * 33},
    ],
)
def test_a_completion_that_cannot_be_is_a_param_error(school, changes):
    number = school.started()
    answer = school.post(f"{school.orders}/{number}/complete", **school.complete_body(10000) | changes)
    assert refused(answer) == (400, "PARAM_ERROR")
    assert school.order(number)["state_description"] == "USER_CONFIRM"


def test_no_more_than_the_service_may_charge_is_collected(school):
    number = school.started()
    answer = school.post(f"{school.orders}/{number}/complete", **school.complete_body(10_000_001))
    assert answer.status_code == 400 and reason(answer) == 271316656


def test_a_free_service_ends_without_a_collection_and_without_a_message(school, mailbox):
    number = school.started(0)
    body = school.complete_body(10000, 10000)
    assert school.post(f"{school.orders}/{number}/complete", **body).status_code == school.done
    shown = school.order(number)
    assert (shown["state"], shown["total_amount"], "collection" in shown) == ("DONE", 0, False)
    school.sandbox.deliver_due()
    assert PAID not in mailbox.types


def test_the_same_completion_again_is_harmless_and_another_one_refused(school):
    number = school.started(NEVER)
    body = school.complete_body(NEVER)
    path = f"{school.orders}/{number}/complete"
    assert school.post(path, **body).status_code == school.post(path, **body).status_code
    answer = school.post(path, **school.complete_body(100))
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316598
    assert school.order(number)["total_amount"] == NEVER


def test_it_is_cancelled_in_use_and_while_it_is_collected_and_again_for_the_same_reason(school, mailbox):
    for number in (school.started(), school.completed(NEVER)):
        for _ in range(2):
            ended = school.ask(number, "cancel", reason="rain")
            assert ended.status_code == (204 if school.mode == "partner" else 200)
        answer = school.ask(number, "cancel", reason="snow")
        assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316598
        assert school.order(number)["state"] == "REVOKED"
    school.sandbox.deliver_due()
    assert PAID not in mailbox.types
    assert refused(school.ask(school.started(), "cancel", reason="x" * 51)) == (400, "PARAM_ERROR")


def test_what_is_paid_cannot_be_cancelled_modified_synced_or_collected(school):
    number = school.completed(10000)
    answer = school.ask(number, "cancel", reason="rain")
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316592
    for what, body in {"modify": school.modification(1), "sync": PAID_AT, "pay": {}}.items():
        answer = school.ask(number, what, **body)
        assert refused(answer) == (400, "ORDER_DONE") and reason(answer) == 271316657, what


def test_what_is_in_use_is_not_yet_modified_synced_or_collected(school):
    number = school.started()
    for what, body in {"modify": school.modification(1), "sync": PAID_AT, "pay": {}}.items():
        answer = school.ask(number, what, **body)
        assert answer.status_code == 400 and reason(answer) == 271316657, what


def test_an_amount_is_only_ever_lowered(school):
    number = school.completed(NEVER)
    assert refused(school.ask(number, "modify", **school.modification(NEVER + 1))) == (400, "PARAM_ERROR")
    assert school.ask(number, "modify", **school.modification(900)).status_code == school.done
    assert refused(school.ask(number, "modify", **school.modification(1, total_amount=2))) == (400, "PARAM_ERROR")
    shown = school.order(number)
    assert (shown["total_amount"], shown["collection"]["paying_amount"]) == (900, 900)
    school.sandbox.service_orders.user_pays(number)
    assert school.order(number)["collection"]["paid_amount"] == 900


def test_what_was_paid_elsewhere_ends_it_without_a_message(school, mailbox):
    number = school.completed(NEVER)
    for _ in range(2):
        assert school.ask(number, "sync", **PAID_AT).status_code == school.done
    shown = school.order(number)
    [entry] = shown["collection"]["details"]
    assert (shown["state"], entry["paid_type"], entry["paid_time"]) == ("DONE", "MCH", "20260301000000")
    assert "transaction_id" not in entry
    school.sandbox.deliver_due()
    assert PAID not in mailbox.types
    assert refused(school.ask(school.completed(NEVER), "sync", **PAID_AT | {"type": "Order"})) == (400, "PARAM_ERROR")


def test_nothing_was_paid_elsewhere_in_the_future(school):
    number = school.completed(NEVER)
    answer = school.ask(number, "sync", **PAID_AT | {"detail": {"paid_time": "20991231"}})
    assert refused(answer) == (400, "PARAM_ERROR")
    assert school.order(number)["state_description"] == "MCH_COMPLETE"


# Special amounts


def test_paid_after_ten_seconds(school, mailbox):
    number = school.completed(AT_10_S)
    assert school.order(number)["collection"]["state"] == "USER_PAYING"
    school.sandbox.advance(9)
    assert school.order(number)["state_description"] == "MCH_COMPLETE"
    school.sandbox.advance(2)
    assert school.order(number)["state"] == "DONE" and mailbox.types[-1] == PAID


def test_never_paid_until_the_user_does_it_on_the_phone(app, school):
    number = school.completed(NEVER)
    school.sandbox.advance(40 * 86400)
    assert school.ask(number, "pay").status_code == school.done
    assert school.order(number)["state"] == "DOING"
    back = app.test_client().post(f"/_sandbox/phone/service-orders/{number}", data={"do": "pay"})
    assert back.status_code == 303 and school.order(number)["state"] == "DONE"


def test_asking_for_the_collection_does_not_wait_for_it(school, mailbox):
    number = school.completed(AT_10_S)
    assert school.ask(number, "pay").status_code in (200, 204)
    assert school.order(number)["collection"]["paid_amount"] == AT_10_S
    school.sandbox.advance(20)
    assert mailbox.types.count(PAID) == 1
    assert refused(school.ask(number, "pay"))[0] == 400


def test_asking_for_the_collection_begins_no_second_deduction(school, mailbox):
    number = school.completed(RUNNING)
    assert school.ask(number, "pay").status_code in (200, 204)
    assert school.order(number)["state_description"] == "MCH_COMPLETE"
    school.sandbox.advance(11)
    assert mailbox.types.count(PAID) == 1


def test_scripts_let_the_user_pay(app, school):
    running = school.started()
    assert app.test_client().post(f"/_sandbox/service-orders/{running}/pay").status_code == 409
    assert app.test_client().post("/_sandbox/service-orders/nobodys/pay").status_code == 404
    number = school.completed(NEVER)
    assert app.test_client().post(f"/_sandbox/service-orders/{number}/pay").json["state"] == "DONE"


@pytest.mark.parametrize("amount", [RUNNING, RUNS_UNPAID])
def test_while_a_deduction_runs_nothing_else_is_done(school, amount):
    number = school.completed(amount)
    asks = {"cancel": {"reason": "rain"}, "sync": PAID_AT, "modify": school.modification(1)}
    for what, body in asks.items():
        answer = school.ask(number, what, **body)
        assert answer.status_code == 400 and reason(answer) == 271316754, what
    school.sandbox.advance(11)
    if amount == RUNNING:
        assert school.order(number)["state"] == "DONE"
    else:
        assert school.ask(number, "sync", **PAID_AT).status_code == school.done


def test_paid_twice_when_the_deduction_wins_beside_the_report(school):
    number = school.completed(RACES)
    assert school.ask(number, "sync", **PAID_AT).status_code == school.done
    collection = school.order(number)["collection"]
    assert [one["paid_type"] for one in collection["details"]] == ["MCH", "NEWTON"]
    assert collection["paid_amount"] == 2 * RACES


def test_one_that_cannot_be_cancelled_any_more(school):
    number = school.completed(KEPT)
    answer = school.ask(number, "cancel", reason="rain")
    assert refused(answer) == (400, "INVALID_REQUEST") and reason(answer) == 271316592
    assert school.ask(number, "modify", **school.modification(1)).status_code == school.done


def test_a_lost_answer_to_a_completion_that_was_done(school):
    number = school.started(LOST)
    with pytest.raises(requests.RequestException):
        school.post(f"{school.orders}/{number}/complete", **school.complete_body(LOST))
    assert school.order(number)["state"] == "DONE"


def test_an_error_first_and_then_it_works(school):
    number = school.started(FAILS_FIRST)
    path, body = f"{school.orders}/{number}/complete", school.complete_body(FAILS_FIRST)
    assert refused(school.post(path, **body)) == (500, "SYSTEM_ERROR")
    assert school.order(number)["state_description"] == "USER_CONFIRM"
    assert school.post(path, **body).status_code == school.done


def test_a_payment_is_told_for_four_hours(school, mailbox):
    school.completed(10000)
    school.sandbox.notifications.all()  # the signature's message goes first
    school.sandbox.deliver_due()
    mailbox.received.clear()
    mailbox.answers = [(500, b"")] * 30
    school.completed(10000)
    for _ in range(6 * 60):
        school.sandbox.advance(60)
    tries = [kind for kind in mailbox.types if kind == PAID]
    assert len(tries) == 10


@pytest.mark.parametrize("event_type", [PAID, "PAYSCORE.USER_CONFIRM"])
def test_messages_of_an_order_are_tried_ten_times_in_three_hours_and_four_minutes(sandbox, mailbox, event_type):
    mailbox.answers = [(500, b"")] * 30
    sandbox.notify(event_type, {}, url=NOTIFY_URL)
    sandbox.advance(3 * 3600 + 4 * 60 - 1)
    assert len(mailbox.received) == 9
    sandbox.advance(2 * 86400)
    assert len(mailbox.received) == 10


# Numbers, faults


def test_an_order_is_asked_for_with_its_service(school):
    number = school.completed(NEVER)
    for service_id, expected in {"0" * 32: (403, "NO_AUTH"), OTHER_SERVICE_ID: (400, "INVALID_REQUEST")}.items():
        school.service = {"service_id": service_id}
        for what, body in asks_of(school).items():
            answer = school.post(f"{school.orders}/{number}/{what}", **school.own | body | school.service)
            assert refused(answer) == expected, what
        answer = school.get(school.orders, **school.own, **school.service, out_order_no=number)
        assert refused(answer) == expected


@pytest.mark.parametrize(
    ("what", "optional"),
    [("complete", ()), ("cancel", ("direct", "partner")), ("sync", ()), ("modify", ("partner",)),
     ("pay", ("direct", "partner"))],
)  # fmt: skip
def test_the_service_may_be_left_out_where_the_manual_says_so(school, what, optional):
    number = school.started() if what == "complete" else school.completed(NEVER)
    body = {name: value for name, value in asks_of(school)[what].items() if name != "service_id"}
    answer = school.post(f"{school.orders}/{number}/{what}", **school.own | body)
    if school.mode in optional:
        assert answer.status_code in (200, 204)
    else:
        assert refused(answer) == (400, "PARAM_ERROR")


def test_a_query_names_its_service(school):
    number = school.started()
    assert refused(school.get(school.orders, **school.own, out_order_no=number)) == (400, "PARAM_ERROR")


def test_neither_number_stands_for_the_other(school):
    number = school.completed(NEVER)
    order_id, asked = school.order(number)["order_id"], {**school.own, **school.service}
    assert refused(school.get(school.orders, **asked, out_order_no=order_id)) == (404, "ORDER_NOT_EXIST")
    assert refused(school.get(school.orders, **asked, query_id=number)) == (404, "ORDER_NOT_EXIST")
    for what, body in asks_of(school).items():
        answer = school.post(f"{school.orders}/{order_id}/{what}", **asked | body)
        assert refused(answer) == (404, "ORDER_NOT_EXIST"), what


def test_who_plays_the_user_says_whose_order_he_means(app, sandbox):
    schools, browser = [School(app), School(app, mode="partner")], app.test_client()
    [number, again] = [school.completed(NEVER) for school in schools]
    assert number == again
    path = f"/_sandbox/service-orders/{number}/pay"
    answer = browser.post(path)
    assert answer.status_code == 409 and all(school.mchid in answer.json["message"] for school in schools)
    assert browser.post(path, json={"mchid": schools[1].mchid}).json["state"] == "DONE"
    assert [school.order(number)["state"] for school in schools] == ["DOING", "DONE"]
    assert browser.post(f"/_sandbox/service-orders/{schools[0].order(number)['order_id']}/pay").json["state"] == "DONE"


def test_an_unknown_order_is_not_found_and_one_number_is_wanted(school):
    asked = {**school.own, **school.service}
    answer = school.get(school.orders, **asked, out_order_no="nobodys")
    assert refused(answer) == (404, "ORDER_NOT_EXIST")
    assert refused(school.get(school.orders, **asked)) == (400, "PARAM_ERROR")
    assert refused(school.get(school.orders, **asked, out_order_no="a", query_id="b")) == (400, "PARAM_ERROR")
    assert school.ask("nobodys", "cancel", reason="rain").status_code == 404


def test_nobody_sees_anothers_order(app):
    direct, partner = School(app), School(app, mode="partner")
    number = direct.completed(10000)
    answer = partner.get(partner.orders, **partner.own, **partner.service, out_order_no=number)
    assert answer.status_code == 404


@pytest.mark.parametrize("fault", ["error_500", "error_429", "refuse"])
def test_faults_reach_each_route(school, fault):
    number = school.completed(NEVER)
    status = {"error_500": 500, "error_429": 429, "refuse": 403}[fault]
    school.sandbox.fault(fault, "/v3/payscore", times=-1)
    for what, body in {"cancel": {"reason": "r"}, "sync": PAID_AT, "modify": school.modification(1), "pay": {}}.items():
        assert school.ask(number, what, **body).status_code == status
    assert school.get(school.orders, **school.own, **school.service, out_order_no=number).status_code == status
    school.sandbox.faults.remove()
    assert school.order(number)["state_description"] == "MCH_COMPLETE"
