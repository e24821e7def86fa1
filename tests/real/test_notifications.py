"""Notifications over real sockets into real web servers, many at once, and into processes that are killed."""

import functools
import json
import secrets
import time
from base64 import b64encode

import pytest

from django_wxpay.client import keyring
from django_wxpay.models import Contract, Notification, Order, Transition
from django_wxpay.services import notifications, orders
from tests.real import weaken
from tests.real.world import Letter, at_once, returned, time_passes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.real]

CERTIFICATES = "/v3/global/certificates"
WAITS_FOR_THE_PAYER = 6_660_011  # a special amount of the sandbox
COPIES = 20


def signature_letter(world):
    """The message that a contract was signed, while we still know it as PENDING only."""
    contract = world.signed_contract()
    Transition.objects.all().delete()
    Contract.objects.filter(pk=contract.pk).update(state="PENDING", contract_id=None, state_at=contract.created_at)
    return contract, world.letter("PAPAY.SIGN")


def post_copies(letter, shops, copies=COPIES):
    """Post a message to the shops' servers in turn, all copies at the same moment."""
    return at_once(*(functools.partial(letter.post_to, shops[n % len(shops)].url) for n in range(copies)))


# The same message, many times at once


@pytest.mark.scenario("S02")
def test_twenty_copies_at_once_are_all_acknowledged_and_move_the_contract_once(world):
    shops = [world.shop(), world.shop()]
    contract, letter = signature_letter(world)
    answers = returned(post_copies(letter, shops))

    assert [status for status, _ in answers] == [200] * COPIES
    assert all(json.loads(text) == {"code": "SUCCESS", "message": "OK"} for _, text in answers)
    kept = Notification.objects.get()
    assert (kept.state, kept.attempts) == ("PROCESSED", COPIES)
    assert [moved.to_state for moved in Transition.objects.of(contract)] == ["SIGNED"]


@pytest.mark.scenario("S02")
def test_opposite_without_event_id_row_lock_and_old_state_a_contract_moves_many_times(world, row_locks):
    defences = ("row_locks", "old_state")
    shops = [world.shop(without=defences), world.shop(without=defences)]
    with weaken.without_constraint(Notification, "wxpay_notification_event_id"):
        for _ in range(10):
            contract, letter = signature_letter(world)
            post_copies(letter, shops)
            assert Notification.objects.filter(number=contract.number).count() > 1
            if Transition.objects.of(contract).count() > 1:
                return
    pytest.fail("it never moved twice")


@pytest.mark.scenario("S46")
def test_a_notification_and_a_poll_at_the_same_moment_move_the_order_once(world):
    contract = world.signed_contract()
    for month in range(6):
        asked = {"amount": WAITS_FOR_THE_PAYER, "currency": "HKD", "description": "March"}
        order = orders.deduct(contract, **asked, reference=str(month))
        assert order.state == "USERPAYING"
        world.sandbox.tell(f"orders/{order.out_trade_no}/pay")
        letter = world.letter("TRANSACTION.SUCCESS")
        receive = functools.partial(notifications.receive, "default", letter.headers, letter.body)
        returned(at_once(receive, functools.partial(orders.sync, Order.objects.get(pk=order.pk))))
        order.refresh_from_db()
        assert (order.state, order.transaction_id is not None) == ("SUCCESS", True)
        assert [moved.to_state for moved in Transition.objects.of(order)] == ["SUCCESS", "USERPAYING"]
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}


# Killed


POINTS = {
    "notifications._keep_and_process:before": 0,  # proved
    "notifications._process:before": 0,  # kept, not committed
    "contracts.facts.move:after": 0,  # applied, not committed
    "notifications._keep_and_process:after": 0,  # the moment before the commit
    "transactions.run:after": 1,  # committed, not acknowledged
}


@pytest.mark.scenario("S26")
def test_a_notification_whose_process_is_killed_at_any_point_is_processed_once_by_its_repeat(world):
    letters = {point: signature_letter(world) for point in POINTS}
    killed = [world.actor("receive", **letter.as_json(), dies=point) for point, (_, letter) in letters.items()]
    for process in killed:
        process.wait_for_death()
    for point, kept in POINTS.items():
        assert Notification.objects.filter(number=letters[point][0].number).count() == kept, point

    for contract, letter in letters.values():
        repeated = notifications.receive("default", letter.headers, letter.body)
        assert repeated.state == "PROCESSED"
        contract.refresh_from_db()
        assert contract.state == "SIGNED"
        assert [moved.to_state for moved in Transition.objects.of(contract)] == ["SIGNED"]
    assert Notification.objects.count() == len(POINTS)


# Forgers


def forgery():
    """A message that names a certificate nobody has heard of."""
    headers = {
        "Content-Type": "application/json",
        "Wechatpay-Serial": secrets.token_hex(20).upper(),
        "Wechatpay-Timestamp": str(int(time.time())),
        "Wechatpay-Nonce": secrets.token_hex(16),
        "Wechatpay-Signature": b64encode(secrets.token_bytes(256)).decode(),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }
    told = {"id": secrets.token_hex(8), "event_type": "TRANSACTION.SUCCESS", "summary": secrets.token_hex(8192)}
    return Letter(headers, json.dumps(told).encode())


def forge(url, number):
    return [forgery().post_to(url)[0] for _ in range(number)]


def attack(shops, number, forgers=8):
    """Post so many forgeries from several connections at once; returns the answers' statuses."""
    each = number // forgers
    answers = returned(at_once(*(functools.partial(forge, shops[n % len(shops)].url, each) for n in range(forgers))))
    return {status for answer in answers for status in answer}


@pytest.mark.scenario("S13")
def test_a_thousand_forgeries_cost_one_refresh_a_minute_while_genuine_messages_go_on(world):
    shops = [world.shop(), world.shop()]
    contract, letter = signature_letter(world)
    time_passes(seconds=3600)
    before = world.sandbox.calls("GET", CERTIFICATES)

    def refreshes():
        return world.sandbox.calls("GET", CERTIFICATES) - before

    def genuine():
        return [letter.post_to(shop.url)[0] for shop in shops * 20]

    def under_attack(forgeries):
        statuses, accepted = returned(at_once(lambda: attack(shops, forgeries), genuine))
        assert (statuses, set(accepted)) == ({401}, {200})
        assert refreshes() == 1
        return [shop.memory_kib for shop in shops]

    memory = under_attack(200)  # by now each thread has what it needs
    grown = under_attack(800)
    assert (Notification.objects.count(), Transition.objects.of(contract).count()) == (1, 1)
    for used, uses in zip(memory, grown, strict=True):
        assert uses - used < 4096  # each shop got 400 forgeries of 16 KiB: none is kept

    time_passes(seconds=61)
    time.sleep(keyring.PAUSE_SECONDS)  # of the shops' own clocks
    attack(shops, 40)
    assert refreshes() == 2


@pytest.mark.scenario("S13")
def test_opposite_without_the_window_each_forgery_refreshes(world):
    shops = [world.shop(without=["refresh_window"])]
    before = world.sandbox.calls("GET", CERTIFICATES)
    attack(shops, 16)
    assert world.sandbox.calls("GET", CERTIFICATES) - before > 1
