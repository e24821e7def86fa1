import json
import re

import pytest
from cryptography.exceptions import InvalidTag

from django_wxpay.sandbox.engine.notifications import RHYTHM, acknowledged
from tests.sandbox.shop import NOTIFY_URL


def envelope(mailbox, position=-1):
    return json.loads(mailbox.received[position][2])


def test_a_notification_is_signed_and_shaped_as_the_manual_says(shop, mailbox):
    shop.signed()
    shop.sandbox.deliver_due()
    url, headers, body = mailbox.received[0]
    assert url == NOTIFY_URL and shop.verifies(headers, body)
    message = json.loads(body)
    assert message["event_type"] == "PAPAY.SIGN" and message["resource_type"] == "encrypt-resource"
    assert message["resource"]["original_type"] == message["resource"]["associated_data"] == "papay"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", message["create_time"])


@pytest.mark.parametrize(
    ("status", "body", "counts"),
    [
        (204, b"", True),
        (200, b"", True),
        (200, b'{"code":"SUCCESS","message":"OK"}', True),
        (200, b"success", True),
        (200, b'{"code":"FAIL"}', False),
        (201, b"", False),
        (302, b"", False),
        (401, b'{"code":"SUCCESS"}', False),
        (500, b"", False),
    ],
)
def test_only_200_and_204_without_another_word_count(status, body, counts):
    assert acknowledged(status, body) is counts


def test_it_is_repeated_in_the_documented_rhythm_until_acknowledged(shop, mailbox):
    shop.signed()
    mailbox.answers = [(500, b""), TimeoutError(), (200, b'{"code":"FAIL"}'), 204]
    shop.sandbox.deliver_due()
    for seconds, count in ((14, 1), (1, 2), (15, 3), (29, 3), (1, 4), (99999, 4)):
        shop.sandbox.advance(seconds)
        assert len(mailbox.received) == count
    assert len({envelope(mailbox, position)["id"] for position in range(4)}) == 1
    assert shop.sandbox.describe()["notifications"][0]["state"] == "DELIVERED"


def test_it_is_given_up_after_a_day(shop, mailbox):
    shop.signed()
    mailbox.answers = [500] * 99
    shop.sandbox.advance(2 * 86400)
    assert len(mailbox.received) == len(RHYTHM) + 1 == 16
    assert sum(RHYTHM) == 24 * 3600 + 4 * 60
    assert shop.sandbox.describe()["notifications"][0]["state"] == "GIVEN_UP"


def test_speed_compresses_the_rhythm(shop, mailbox):
    shop.sandbox.set_clock(speed=60)
    shop.signed()
    mailbox.answers = [500]
    shop.sandbox.deliver_due()
    shop.sandbox.advance(0.26)
    assert len(mailbox.received) == 2


def test_a_share_of_them_is_signed_with_the_public_key(shop, mailbox):
    for number in range(40):
        shop.pre_sign(f"c{number}")
    for share, serials in ((0, {"certificate"}), (100, {"key"}), (50, {"certificate", "key"})):
        shop.sandbox.set_public_key_share(share)
        mailbox.received.clear()
        for number in range(share * 13 // 50, share * 13 // 50 + 13):
            shop.sandbox.contracts.sign(f"c{number}")
        shop.sandbox.deliver_due()
        assert all(shop.verifies(headers, body) for _, headers, body in mailbox.received)
        named = {headers["Wechatpay-Serial"].startswith("PUB_KEY_ID_") for _, headers, _ in mailbox.received}
        assert {"key" if name else "certificate" for name in named} == serials or share == 50


def test_a_lost_one_never_comes(shop, mailbox):
    shop.sandbox.notification_fault("lost", "PAPAY.SIGN")
    shop.signed()
    shop.sandbox.advance(86400)
    assert mailbox.received == []


def test_twice_means_two_copies_with_one_id(shop, mailbox):
    shop.sandbox.notification_fault("twice")
    shop.signed()
    shop.sandbox.deliver_due()
    assert len(mailbox.received) == 2 and envelope(mailbox, 0)["id"] == envelope(mailbox, 1)["id"]


def test_a_late_one_comes_late(shop, mailbox):
    shop.sandbox.notification_fault("late", seconds=300)
    shop.signed()
    shop.sandbox.advance(299)
    assert mailbox.received == []
    shop.sandbox.advance(2)
    assert mailbox.types == ["PAPAY.SIGN"]


def test_an_early_one_comes_before_the_answer(shop, mailbox):
    contract = shop.signed()
    shop.sandbox.deliver_due()
    shop.sandbox.notification_fault("early", "TRANSACTION")
    shop.deduct(contract, "d1")
    assert mailbox.types == ["PAPAY.SIGN", "TRANSACTION.SUCCESS"]


def test_out_of_order_puts_it_behind_the_next(shop, mailbox):
    shop.sandbox.notification_fault("out_of_order", "PAPAY.SIGN")
    shop.signed()
    assert shop.sandbox.deliver_due() == []
    shop.sandbox.contracts.terminate_by_user("c1")
    shop.sandbox.deliver_due()
    assert mailbox.types == ["PAPAY.TERMINATE", "PAPAY.SIGN"]


@pytest.mark.parametrize("kind", ["bad_signature", "probe", "unknown_serial"])
def test_a_forged_looking_first_attempt_is_followed_by_a_genuine_one(shop, mailbox, kind):
    shop.sandbox.notification_fault(kind)
    shop.signed()
    mailbox.answers = [401]
    shop.sandbox.advance(20)
    (_, forged, body), (_, genuine, same) = mailbox.received
    if kind == "unknown_serial":
        assert forged["Wechatpay-Serial"] != genuine["Wechatpay-Serial"]
    else:
        assert not shop.verifies(forged, body)
    assert forged["Wechatpay-Signature"].startswith("WECHATPAY/SIGNTEST/") == (kind == "probe")
    assert body == same and shop.verifies(genuine, same)


def test_a_wrong_tag_is_rightly_signed_but_does_not_decrypt(shop, mailbox):
    shop.sandbox.notification_fault("wrong_tag")
    shop.signed()
    mailbox.answers = [500]
    shop.sandbox.advance(20)
    _, headers, body = mailbox.received[0]
    assert shop.verifies(headers, body)
    with pytest.raises(InvalidTag):
        mailbox.message(shop, 0)
    assert mailbox.message(shop, 1)["out_contract_code"] == "c1"


def test_odd_envelopes_can_be_ordered(shop, mailbox):
    for number, kind in enumerate(("without_original_type", "create_time_14", "without_summary")):
        shop.sandbox.notification_fault(kind)
        shop.signed(f"c{number}")
    shop.sandbox.deliver_due()
    assert "original_type" not in envelope(mailbox, 0)["resource"]
    assert re.fullmatch(r"\d{14}", envelope(mailbox, 1)["create_time"])
    assert "summary" not in envelope(mailbox, 2)


def test_what_is_inside_can_be_altered(shop, mailbox):
    shop.sandbox.notification_fault("altered", "TRANSACTION", resource={"amount": {"total": 1}, "attach": None})
    shop.deduct(shop.signed(), "d1", attach="x")
    shop.sandbox.deliver_due()
    payload = mailbox.message(shop)
    assert (payload["amount"]["total"], payload["amount"]["currency"]) == (1, "HKD") and "attach" not in payload


def test_one_can_be_made_by_hand(app, shop, mailbox):
    body = {"event_type": "PAYSCORE.NEW", "url": NOTIFY_URL, "resource": {"a": 1}, "mchid": shop.mchid}
    assert app.test_client().post("/_sandbox/notifications", json=body).status_code == 201
    app.test_client().post("/_sandbox/notifications/deliver")
    assert mailbox.types == ["PAYSCORE.NEW"] and mailbox.message(shop) == {"a": 1}


@pytest.mark.parametrize(("kind", "expected"), [("empty_associated_data", ""), ("without_associated_data", None)])
def test_associated_data_may_be_empty_or_absent(shop, mailbox, kind, expected):
    shop.sandbox.notification_fault(kind)
    shop.signed()
    shop.sandbox.deliver_due()
    resource = envelope(mailbox)["resource"]
    assert resource.get("associated_data") == expected
    assert json.loads(shop.decrypt({"associated_data": "", **resource}))["out_contract_code"] == "c1"


def test_a_genuine_one_says_whatever_it_is_told_to(shop, mailbox):
    content = {"refund_id": 5, "out_refund_no": "r" * 80, "trade_state_desc": "\x00\ud83d"}
    row = shop.sandbox.notify("X" * 200, content, url=NOTIFY_URL, times=2)
    assert [attempt["status"] for attempt in row["attempts"]] == [200, 200]
    (_, headers, body), _ = mailbox.received
    assert shop.verifies(headers, body) and mailbox.message(shop) == content
    assert envelope(mailbox)["event_type"] == "X" * 200 and envelope(mailbox, 0)["id"] == envelope(mailbox, 1)["id"]


def test_a_genuine_one_may_hold_what_is_no_json(shop, mailbox):
    shop.sandbox.notify("REFUND.SUCCESS", '{"a": ', url=NOTIFY_URL)
    resource = envelope(mailbox)["resource"]
    assert shop.decrypt(resource) == b'{"a": ' and resource["original_type"] == "refund"


def test_a_fault_of_notifications_may_be_one_merchants_alone(shop, institution, mailbox):
    shop.sandbox.notification_fault("lost", mchid=institution.mchid, times=-1)
    institution.signed("c1")
    shop.signed("c2")
    shop.sandbox.advance(60)
    assert [mailbox.message(shop, one)["out_contract_code"] for one in range(len(mailbox.received))] == ["c2"]
