"""Quick payments with real connections and tills that are really killed: SUCCESS or REVOKED, never both, confirmed."""

import functools

import pytest

from django_wxpay.engine import operations
from django_wxpay.models import Action, Discrepancy, Operation, Order, Transition
from django_wxpay.sandbox.special import CODE_PREFIX
from django_wxpay.services import certificates, orders
from tests.real import weaken
from tests.real.world import PATIENCE_SECONDS, at_once, returned, time_passes, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

MICROPAY = "/v3/global/micropay/transactions/"
PAY = f"{MICROPAY}pay"
QUERY = "/v3/global/transactions/out-trade-no/"
PAID, PAYING_FOR_EVER = (f"{CODE_PREFIX}{number:04d}" for number in (0, 11))
ROUNDS = 20


@pytest.fixture(autouse=True)
def known_keys(world):
    """The shop has been open for a while: it knows WeChat Pay's keys."""
    certificates.refresh("default")


def scan(code, reference, **asked):
    asked = {"amount": 3800, "currency": "HKD", "description": "Coffee"} | asked
    return orders.pay_by_code(auth_code=code, reference=reference, **asked)


def theirs(world, order):
    [known] = [one for one in world.sandbox.state()["orders"] if one["out_trade_no"] == order.out_trade_no]
    return known


def asked(world, order):
    """How often WeChat Pay was asked anything about an order."""
    about = order.out_trade_no
    return sum(world.sandbox.calls(method, path, about) for method, path in (("POST", MICROPAY), ("GET", QUERY)))


def kill_while_answering(world, path, happened, action, **arguments):
    """Another process does that; kill it once WeChat Pay did what it was asked and before it answers."""
    world.sandbox.fault("slow", path, seconds=60)
    process = world.actor(action, **arguments)
    wait_until(happened, "WeChat Pay to do it")
    process.kill()


def kill_till(world, code):
    """A till that is killed right after WeChat Pay took its payment; returns the order it leaves behind."""

    def taken():
        return any(world.sandbox.calls("POST", PAY, order.out_trade_no) for order in Order.objects.all())

    kill_while_answering(world, PAY, taken, "scan", auth_code=code, reference="till-3/1")
    return Order.objects.get()


def poll_elsewhere(world, seconds):
    """Time passes, then the poller of another process advances what is due."""
    time_passes(seconds)
    world.sandbox.tell("clock", advance=seconds)
    return world.actor("poll_orders").result()


def ended(world, order, state):
    """What must be true in the end, here and there: that state, confirmed, one payment asked for, nothing open."""
    order.refresh_from_db()
    assert (order.state, theirs(world, order)["trade_state"]) == (state, state)
    assert order.next_poll_at is None
    assert not Operation.objects.of(order).open().exists()
    assert world.sandbox.calls("POST", PAY, order.out_trade_no) == 1
    became = [moved.to_state for moved in Transition.objects.of(order)]
    assert became.count(state) == 1 and not {"SUCCESS", "REVOKED"} <= set(became)
    assert not Discrepancy.objects.exists()


# The till is killed


@pytest.mark.scenario("S27")
@pytest.mark.scenario("S33")
def test_a_till_killed_right_after_the_charge_is_found_paid_by_the_poller_of_another_process(world):
    order = kill_till(world, PAID)
    assert (order.state, Operation.objects.get().state) == ("CREATED", "SENT")

    assert scan(PAID, "till-3/1").state == "CREATED"  # the cashier scans again: same reference, nothing is sent
    assert poll_elsewhere(world, seconds=10) == 1
    order.refresh_from_db()
    assert order.state == "SUCCESS"
    time_passes(seconds=60)
    operations.send_due()
    ended(world, order, "SUCCESS")


@pytest.mark.scenario("S33")
def test_a_till_killed_while_the_payer_decides_is_reversed_and_confirmed_by_the_poller(world):
    order = kill_till(world, PAYING_FOR_EVER)
    assert poll_elsewhere(world, seconds=10) == 1
    order.refresh_from_db()
    assert order.state == "USERPAYING"
    assert poll_elsewhere(world, seconds=60) == 1  # asks once more
    assert poll_elsewhere(world, seconds=10) == 1
    order.refresh_from_db()
    assert order.state == "REVOKED" and order.next_poll_at  # still to be confirmed
    assert poll_elsewhere(world, seconds=20) == 1
    ended(world, order, "REVOKED")


@pytest.mark.scenario("S33")
def test_a_payer_who_pays_after_the_till_was_killed_has_paid(world):
    order = kill_till(world, PAYING_FOR_EVER)
    world.sandbox.tell(f"orders/{order.out_trade_no}/pay")
    assert poll_elsewhere(world, seconds=10) == 1
    time_passes(seconds=60)
    operations.send_due()
    ended(world, order, "SUCCESS")


POINTS = {
    "operations.send:before": "REFUSED",  # written down, not sent: nobody else has the code
    "operations._claim:after": "REFUSED",  # about to be sent
    "operations._answered:before": "SUCCESS",  # answered
    "outcomes.finish:after": "SUCCESS",  # recorded, not committed
    "operations._answered:after": "SUCCESS",  # recorded
}


@pytest.mark.scenario("S26")
@pytest.mark.scenario("S27")
def test_a_till_killed_at_any_point_ends_as_wechat_pay_has_it(world):
    killed = [world.actor("scan", auth_code=PAID, reference=point, dies=point) for point in POINTS]
    for process in killed:
        process.wait_for_death()
    for seconds in (10, 60, 60, 60):
        poll_elsewhere(world, seconds)
        operations.send_due()
    for point, state in POINTS.items():
        order = Order.objects.get(reference=point)
        if state == "SUCCESS":
            ended(world, order, "SUCCESS")
        else:
            assert order.state == state, point
            assert world.sandbox.calls("POST", PAY, order.out_trade_no) == 0
            assert not Operation.objects.of(order).open().exists()


@pytest.mark.scenario("S27")
@pytest.mark.scenario("S33")
def test_a_till_killed_right_after_the_reversal_ends_revoked(world):
    order = scan(PAYING_FOR_EVER, "till-3/1")
    world.sandbox.tell("clock", advance=70)
    time_passes(seconds=60)
    assert orders.advance_till(order).state == "USERPAYING"  # the time is over: asked once more
    time_passes(seconds=10)
    path = f"{MICROPAY}out-trade-no/{order.out_trade_no}/reverse"
    kill_while_answering(
        world, path, lambda: theirs(world, order)["trade_state"] == "REVOKED", "advance_till", order=order.pk
    )
    order.refresh_from_db()
    assert order.state == "USERPAYING"
    for _ in range(3):
        poll_elsewhere(world, seconds=130)  # longer than the lease of the one who died
        operations.send_due()
    ended(world, order, "REVOKED")
    assert world.sandbox.calls("POST", path) == 1  # it was found out, not asked again


# Many at once


def everybody(order, tills=4):
    """Tills that ask about the same order, and two pollers."""
    tills_ask = [lambda: orders.advance_till(Order.objects.get(pk=order.pk))] * tills
    return at_once(*tills_ask, orders.poll, orders.poll)


@pytest.mark.scenario("S33")
@pytest.mark.scenario("S45")
def test_two_tills_and_the_poller_at_once_make_each_call_once(world):
    order = scan(PAYING_FOR_EVER, "till-3/1")
    begun = asked(world, order)
    for point, seconds in enumerate((6, 6, 60, 6, 20), start=1):  # three queries, the reversal, its confirmation
        time_passes(seconds)
        world.sandbox.tell("clock", advance=seconds)
        returned(everybody(order))
        assert asked(world, order) == begun + point
    assert Operation.objects.filter(action=Action.REVERSE).count() == 1
    ended(world, order, "REVOKED")


@pytest.mark.scenario("S45")
def test_opposite_without_the_lease_a_call_is_made_many_times(world, monkeypatch):
    weaken.take_out("till_lease", put=monkeypatch.setattr)
    order = scan(PAYING_FOR_EVER, "till-3/1")
    for _ in range(ROUNDS):
        begun = asked(world, order)
        time_passes(6)
        Order.objects.update(created_at=order.created_at)  # the payer still has time
        everybody(order)
        if asked(world, order) > begun + 1:
            return
    pytest.fail("each call was made once all the same")


@pytest.mark.scenario("S29")
def test_two_processes_with_one_reference_charge_once(world):
    tills = [world.actor("scan", auth_code=PAID, reference="till-3/1") for _ in range(2)]
    [number] = {till.result()["out_trade_no"] for till in tills}
    order = Order.objects.get()
    assert order.out_trade_no == number
    ended(world, order, "SUCCESS")


@pytest.mark.scenario("S29")
def test_a_cashier_who_presses_many_times_at_once_charges_once(world):
    made = returned(at_once(*[functools.partial(scan, PAID, "till-3/1")] * 6))
    assert len({order.pk for order in made}) == 1
    ended(world, made[0], "SUCCESS")


@pytest.mark.scenario("S33")
def test_a_query_answered_after_the_reversal_that_followed_it_changes_nothing(world):
    order = scan(PAYING_FOR_EVER, "till-3/1")
    time_passes(seconds=60)
    world.sandbox.tell("clock", advance=60)
    world.sandbox.tell(f"orders/{order.out_trade_no}/pay")  # at second 44
    world.sandbox.fault("slow", f"{QUERY}{order.out_trade_no}", seconds=2)

    def query():  # asked at second 44, answered at second 47: paid
        return orders.sync(Order.objects.get(pk=order.pk))

    def reverse():  # at second 46
        wait_until(lambda: world.sandbox.calls("GET", QUERY, order.out_trade_no), "the query")
        return orders.reverse(Order.objects.get(pk=order.pk))

    returned(at_once(query, reverse))
    poll_elsewhere(world, seconds=20)
    ended(world, order, "REVOKED")


@pytest.mark.scenario("S33")
def test_no_request_of_a_till_waits_longer_than_one_call(world, settings):
    merchant = world.settings["MERCHANTS"]["default"] | {"READ_TIMEOUT_SECONDS": 1}
    settings.WXPAY = world.settings | {"MERCHANTS": {"default": merchant}}
    order = scan(PAYING_FOR_EVER, "till-3/1")
    world.sandbox.fault("slow", QUERY, seconds=PATIENCE_SECONDS, times=2)
    for seconds in (6, 130):
        time_passes(seconds)
        Order.objects.update(created_at=order.created_at)
        begun = asked(world, order)
        assert orders.advance_till(order).state == "USERPAYING"
        assert asked(world, order) == begun + 1


# The main host is down


@pytest.mark.scenario("S35")
def test_a_main_host_that_is_down_is_replaced_by_the_backup_host_with_the_same_number(world, settings):
    merchant = world.settings["MERCHANTS"]["default"]
    merchant = merchant | {"HOST": "http://127.0.0.1:9", "BACKUP_HOSTS": (merchant["HOST"],)}
    settings.WXPAY = world.settings | {"MERCHANTS": {"default": merchant}}
    order = scan(PAID, "till-3/1")
    ended(world, order, "SUCCESS")


@pytest.mark.scenario("S35")
def test_a_main_host_that_was_reached_is_not_replaced_so_the_code_is_charged_once(world, settings):
    merchant = world.settings["MERCHANTS"]["default"]
    backup = merchant["HOST"].replace("127.0.0.1", "localhost")
    settings.WXPAY = world.settings | {"MERCHANTS": {"default": merchant | {"BACKUP_HOSTS": (backup,)}}}
    world.sandbox.fault("lost_answer", PAY)
    order = scan(PAID, "till-3/1")
    assert order.state == "CREATED"
    poll_elsewhere(world, seconds=10)
    time_passes(seconds=60)
    operations.send_due()
    ended(world, order, "SUCCESS")


@pytest.mark.scenario("S35")
def test_no_host_at_all_means_not_charged_and_the_next_scan_is_a_new_payment(world, settings):
    merchant = world.settings["MERCHANTS"]["default"]
    settings.WXPAY = world.settings | {"MERCHANTS": {"default": merchant | {"HOST": "http://127.0.0.1:9"}}}
    order = scan(PAID, "till-3/1")
    assert (order.state, Operation.objects.get().error_code) == ("REFUSED", "RequestNotSent")
    settings.WXPAY = world.settings
    again = scan(PAID, "till-3/2")
    ended(world, again, "SUCCESS")
    assert world.sandbox.calls("POST", PAY, order.out_trade_no) == 0
