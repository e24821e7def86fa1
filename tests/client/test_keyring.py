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
