import time

import pytest

from django_wxpay.client import KeyRing
from django_wxpay.client.errors import RequestNotSent

from .wire import PUBLIC_KEY_ID, certificate, certificate_pem, key, public_pem

OLD = "5157F09EFDC096DE15EBE81A47057A7200000001"
NEW = "5157F09EFDC096DE15EBE81A47057A7200000002"


def numbers(found):
    return found.public_numbers() if found else None


def test_certificates_and_public_keys_are_found_side_by_side():
    ring = KeyRing({PUBLIC_KEY_ID: public_pem("platform"), OLD: certificate_pem("platform-old", OLD)})
    assert numbers(ring.find(PUBLIC_KEY_ID)) == key("platform").public_key().public_numbers()
    assert numbers(ring.find(OLD)) == key("platform-old").public_key().public_numbers()
    assert ring.find(NEW) is None


def test_the_serial_of_a_certificate_is_found_in_any_case():
    ring = KeyRing({OLD.lower(): certificate("platform-old", OLD)})
    assert ring.find(OLD) and ring.find(OLD.lower())


def test_memory_is_asked_before_the_store_and_the_store_before_a_download():
    asked = []

    def load():
        asked.append("load")
        return {OLD: certificate("platform-old", OLD)}

    def refresh():
        asked.append("refresh")
        return {NEW: certificate("platform", NEW)}

    ring = KeyRing(load=load, refresh=refresh)
    assert ring.find(OLD) and asked == ["load"]
    assert ring.find(OLD) and asked == ["load"]
    assert ring.find(NEW) and asked == ["load", "load", "refresh"]
    assert ring.find(NEW) and len(asked) == 3


@pytest.mark.parametrize("serial", [PUBLIC_KEY_ID, "", "ABC", "Z" * 40, "A" * 41, "A" * 40 + "\n", "../../etc"])
def test_only_serials_of_certificates_are_looked_for_outside(serial):
    def never():
        raise AssertionError("asked")

    assert KeyRing(load=never, refresh=never).find(serial) is None


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("brought", [None, {}])
def test_a_refresh_that_brings_nothing_leaves_the_old_keys(brought):
    ring = KeyRing(load=lambda: {OLD: certificate("platform-old", OLD)}, refresh=lambda: brought)
    assert ring.find(OLD)
    assert ring.find(NEW) is None
    assert ring.find(OLD)


def test_a_refresh_that_fails_leaves_the_old_keys():
    def refresh():
        raise RequestNotSent("down")

    ring = KeyRing(load=lambda: {OLD: certificate("platform-old", OLD)}, refresh=refresh)
    assert ring.find(OLD)
    with pytest.raises(RequestNotSent):
        ring.find(NEW)
    assert ring.find(OLD)


@pytest.mark.scenario("S15")
def test_during_a_changeover_both_kinds_are_accepted_and_the_public_key_is_asked_for():
    ring = KeyRing({PUBLIC_KEY_ID: public_pem("platform")}, load=lambda: {OLD: certificate("platform-old", OLD)})
    assert ring.find(PUBLIC_KEY_ID) and ring.find(OLD)
    assert ring.preferred_serial() == PUBLIC_KEY_ID
    assert ring.encryption_key()[0] == PUBLIC_KEY_ID


def test_an_old_key_stays_beside_the_new_ones_until_it_is_well_past_its_end():
    now = [time.time()]
    ring = KeyRing(clock=lambda: now[0])
    ring.add({OLD: certificate("platform-old", OLD, begins=-30, ends=1)})
    ring.add({NEW: certificate("platform", NEW)})
    assert ring.find(OLD) and ring.find(NEW)
    now[0] += 4 * 24 * 3600
    ring.add({NEW: certificate("platform", NEW)})
    assert ring.find(OLD) is None


LONG_AGO = {"begins": -400, "ends": -3}


@pytest.mark.parametrize("way", ["add", "load", "refresh", "settings"])
def test_a_certificate_that_ended_long_ago_proves_nothing_wherever_it_comes_from(way):
    ended = {OLD: certificate("platform-old", OLD, **LONG_AGO)}
    ring = {
        "add": lambda: KeyRing(),
        "load": lambda: KeyRing(load=lambda: ended),
        "refresh": lambda: KeyRing(refresh=lambda: ended),
        "settings": lambda: KeyRing(ended),
    }[way]()
    if way == "add":
        ring.add(ended)
    assert ring.find(OLD) is None
    with pytest.raises(RequestNotSent):
        ring.encryption_key()


def test_a_certificate_proves_nothing_two_days_after_its_end_also_where_nothing_new_was_added():
    now = [time.time()]
    ring = KeyRing(clock=lambda: now[0])
    ring.add({OLD: certificate("platform-old", OLD, begins=-30, ends=1)})
    now[0] += 2 * 24 * 3600
    assert ring.find(OLD)
    now[0] += 2 * 24 * 3600
    assert ring.find(OLD) is None


# -- forged serials


def counted(held, clock):
    asked = []

    def load():
        asked.append("load")
        return dict(held)

    return asked, KeyRing(load=load, refresh=lambda: asked.append("refresh"), clock=clock)


@pytest.mark.scenario("S13")
def test_a_flood_of_forged_serials_is_answered_from_memory():
    now = [time.time()]
    asked, ring = counted({}, lambda: now[0])
    for number in range(1000):
        assert ring.find(f"{number:040X}") is None
        now[0] += 0.001
    assert asked == ["load", "refresh"]


@pytest.mark.scenario("S13")
def test_a_flood_of_forged_serials_takes_no_memory():
    asked, ring = counted({}, time.time)
    sizes = set()
    for number in range(100):
        ring.find(f"{number:040X}")
        sizes.add(sum(len(value) for value in vars(ring).values() if hasattr(value, "__len__")))
    assert sizes == {0}


@pytest.mark.scenario("S13")
def test_amid_a_flood_a_genuine_new_certificate_is_known_within_two_seconds():
    now, held = [time.time()], {}
    _, ring = counted(held, lambda: now[0])
    ring.find("F" * 40)
    held[NEW] = certificate("platform", NEW)
    for number in range(21):
        ring.find(f"{number:040X}")
        if ring.find(NEW):
            break
        now[0] += 0.1
    assert number <= 20 and ring.find(NEW)


@pytest.mark.scenario("S13")
def test_amid_a_flood_a_known_key_is_found_at_once():
    now, held = [time.time()], {OLD: certificate("platform-old", OLD)}
    asked, ring = counted(held, lambda: now[0])
    ring.find("F" * 40)
    assert ring.find(OLD) and asked == ["load", "refresh"]


def test_a_clock_set_back_does_not_make_the_ring_deaf():
    now = [time.time()]
    asked, ring = counted({}, lambda: now[0])
    ring.find("F" * 40)
    now[0] -= 3600
    ring.find("E" * 40)
    assert asked == ["load", "refresh"] * 2


def test_the_newest_valid_certificate_is_preferred():
    ring = KeyRing()
    ring.add({OLD: certificate("platform-old", OLD, ends=10), NEW: certificate("platform", NEW, ends=365)})
    assert ring.preferred_serial() == ring.encryption_key()[0] == NEW


def test_a_certificate_that_is_expired_or_not_yet_valid_is_not_preferred_but_still_proves():
    ring = KeyRing()
    ring.add(
        {
            OLD: certificate("platform-old", OLD, ends=10),
            NEW: certificate("platform", NEW, begins=1, ends=365),
        }
    )
    assert ring.preferred_serial() == OLD
    assert ring.find(NEW)


def test_without_any_key_nothing_is_preferred_and_nothing_can_be_encrypted():
    asked = []
    ring = KeyRing(load=lambda: asked.append(1))
    assert ring.preferred_serial() == "" == ring.preferred_serial()
    assert len(asked) == 1
    with pytest.raises(RequestNotSent):
        ring.encryption_key()


def test_a_broken_key_is_refused_when_the_ring_is_made():
    with pytest.raises(ValueError):
        KeyRing({PUBLIC_KEY_ID: "no pem"})


def test_a_key_to_encrypt_with_is_downloaded_once_in_a_while_when_none_is_known():
    now, brought = [time.time()], []

    def refresh():
        brought.append({} if not brought else {NEW: certificate("platform", NEW)})
        return brought[-1]

    ring = KeyRing(refresh=refresh, clock=lambda: now[0])
    for _ in range(2):
        with pytest.raises(RequestNotSent):
            ring.encryption_key()
    assert len(brought) == 1
    now[0] += 61
    assert ring.encryption_key()[0] == NEW and ring.encryption_key()[0] == NEW
    assert len(brought) == 2
