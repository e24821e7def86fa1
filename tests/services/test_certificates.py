"""The keys that prove WeChat Pay's messages: shared, refreshed sparingly, changed without a deploy."""

import contextlib
import logging
import socket
import threading
import time
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings as django_settings
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_wxpay import conf
from django_wxpay.client.errors import DecryptionFailed, OutcomeUnknown, SignatureInvalid, WxPayError
from django_wxpay.exceptions import ProcessingFailed
from django_wxpay.models import MerchantState, Notification, PlatformCertificate
from django_wxpay.services import certificates, contracts, notifications
from django_wxpay.testing import make_contract
from django_wxpay.testing.sandbox import ALIASES
from tests.client.sockets import serving
from tests.letters import catch, write

pytestmark = pytest.mark.django_db
DOWNLOAD = ("GET", "/v3/global/certificates")


def downloads(sandbox):
    return sandbox.calls.count(DOWNLOAD)


def restart():
    """What a new process knows: nothing but the settings and the database."""
    conf._clients.clear()


def configured(**changes):
    """The settings with that changed for every merchant; as a deploy, it starts new processes."""
    wxpay = django_settings.WXPAY
    merchants = {alias: {**entry, **changes} for alias, entry in wxpay["MERCHANTS"].items()}
    return override_settings(WXPAY={**wxpay, "MERCHANTS": merchants})


@pytest.fixture
def tell(wxpay_sandbox):
    """Have WeChat Pay tell us, under its key of now, that a contract was signed; returns the answer."""

    def signing():
        contract = make_contract(state="PENDING")
        payload = {
            name: getattr(contract, name) for name in ("mchid", "appid", "out_contract_code", "plan_id", "openid")
        }
        return write(wxpay_sandbox, "PAPAY.SIGN", payload | {"contract_id": contract.out_contract_code})

    return signing


@pytest.fixture
def known(wxpay_sandbox):
    """The certificates of today are known; a minute has passed since."""
    certificates.refresh("default")
    let_a_minute_pass()
    wxpay_sandbox.wechat.store.run("DELETE FROM calls")


def let_a_minute_pass():
    MerchantState.objects.update(refresh_after=timezone.now())


# Where keys come from


def test_the_first_message_brings_the_certificates_and_later_ones_need_no_call(wxpay_sandbox, tell):
    for _ in range(3):
        assert tell().post().status_code == 200
    assert wxpay_sandbox.calls == [DOWNLOAD]
    assert PlatformCertificate.objects.get().serial_no == wxpay_sandbox.wechat.merchant["platform_serial"]


def test_another_process_finds_the_keys_in_the_database(wxpay_sandbox, tell):
    tell().post()
    restart()
    assert tell().post().status_code == 200
    assert downloads(wxpay_sandbox) == 1


@pytest.mark.django_db(transaction=True)
def test_the_first_calls_of_a_new_shop_share_the_certificates_that_one_of_them_downloads(wxpay_sandbox):
    """Two processes at once, neither knows a key: who does not download waits for who does."""
    found = []

    def another_process():
        try:
            found.append(certificates.KeyStore().refresh("default"))
        finally:
            connections.close_all()

    other = threading.Thread(target=another_process)

    def meanwhile():
        other.start()
        other.join(0.3)  # it has nothing to find yet

    wxpay_sandbox.meanwhile(meanwhile, "/v3/global/certificates")
    keys = certificates.KeyStore().refresh("default")
    other.join(10)
    assert keys and [found_keys.keys() for found_keys in found] == [keys.keys()]
    assert downloads(wxpay_sandbox) == 1


def test_who_lost_does_not_wait_for_a_download_that_failed(wxpay_sandbox):
    wxpay_sandbox.fault("error_500", "/v3/global/certificates")
    assert certificates.KeyStore().refresh("default") is None
    began = time.monotonic()
    assert not certificates.KeyStore().refresh("default")
    assert time.monotonic() - began < certificates.FIRST_SECONDS / 2


def test_certificates_are_stored_as_they_came_still_encrypted(wxpay_sandbox, tell):
    tell().post()
    stored = str(PlatformCertificate.objects.values().get())
    assert "BEGIN CERTIFICATE" not in stored
    assert "ciphertext" in stored


def test_a_new_certificate_is_known_before_it_signs(wxpay_sandbox, tell, known):
    wxpay_sandbox.wechat.certificates.rotate("listed")
    MerchantState.objects.update(refreshed_at=timezone.now() - timedelta(hours=7))
    assert certificates.refresh_due() == len(ALIASES)
    wxpay_sandbox.wechat.certificates.rotate("used")
    before = downloads(wxpay_sandbox)
    old, new = tell(), tell()
    assert [letter.post().status_code for letter in (old, new)] == [200, 200]
    assert downloads(wxpay_sandbox) == before


def test_certificates_looked_at_within_six_hours_are_left_alone(wxpay_sandbox, known):
    for alias in ALIASES[1:]:
        certificates.refresh(alias)
    let_a_minute_pass()
    with time_machine.travel(timezone.now() + timedelta(hours=5)):
        assert certificates.refresh_due() == 0
    with time_machine.travel(timezone.now() + timedelta(hours=6, minutes=1)):
        assert certificates.refresh_due() == len(ALIASES)
        assert certificates.refresh_due() == 0


def test_a_message_under_a_certificate_that_just_appeared_is_believed(wxpay_sandbox, tell, known):
    wxpay_sandbox.wechat.certificates.rotate("listed")
    wxpay_sandbox.wechat.certificates.rotate("used")
    assert tell().post().status_code == 200
    assert downloads(wxpay_sandbox) == 1


@pytest.mark.scenario("S13")
def test_forged_serials_cause_one_refresh_a_minute_and_known_keys_go_on_working(wxpay_sandbox, tell, known):
    letter = tell()
    for number in range(30):
        with pytest.raises(SignatureInvalid):
            letter.signed_by(wxpay_sandbox, serial=f"{number:040X}").receive()
    assert downloads(wxpay_sandbox) == 1
    assert letter.post().status_code == 200
    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        for number in range(30):
            with pytest.raises(SignatureInvalid):
                letter.signed_by(wxpay_sandbox, serial=f"{number + 100:040X}").receive()
    assert downloads(wxpay_sandbox) == 2
    assert Notification.objects.count() == 1


@pytest.mark.parametrize("serial", ["PUB_KEY_ID_0119000000012026030100000000001", "5A" * 21, "x" * 40, "5A5A", ""])
def test_a_serial_that_is_no_certificates_asks_nobody(wxpay_sandbox, tell, known, serial):
    letter = tell()
    letter = letter._replace(headers=letter.headers | {"Wechatpay-Serial": serial})
    with pytest.raises(SignatureInvalid):
        letter.receive()
    assert downloads(wxpay_sandbox) == 0


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("resolving", [0.0, 0.8])
def test_a_message_waits_two_seconds_at_most_for_certificates_however_slow_they_come(
    wxpay_sandbox, monkeypatch, resolving
):
    asked, real = [], socket.getaddrinfo

    def getaddrinfo(host, port, *args, flags=0, **options):
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("a name")
        time.sleep(resolving)
        return real("127.0.0.1", port, *args, **options)

    def answer(handler):
        asked.append(handler.path)
        handler.close_connection = True
        if len(asked) == 1:  # not proven, so it is asked once again, if there is time
            time.sleep(0.8)
            handler.reply(200, b'{"data":[]}', **{"Wechatpay-Nonce": "another"})
            return
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"HTTP/1.1 ")
                time.sleep(0.05)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving() as server, configured(HOST=f"http://wechat.test:{server.server_port}", TRANSPORT=None):
        server.answer = answer
        started = time.monotonic()
        assert certificates.KeyStore().refresh("default") is None
        assert time.monotonic() - started < 2.3


# When the download fails


@pytest.mark.scenario("S14")
@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("refuse", {"status": 404, "code": "RESOURCE_NOT_EXISTS"}),
        ("error_500", {}),
        ("garbage", {}),
        ("garbage", {"signed": False}),
        ("wrong_tag", {}),
        ("bad_signature", {}),
        ("unsigned", {}),
        ("empty", {}),
        ("closed_connection", {}),
        ("lost_answer", {}),
        ("stale", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())) or "plain",
)
def test_a_refresh_that_fails_keeps_the_old_keys_and_raises_an_alarm(
    wxpay_sandbox, tell, known, caplog, fault, options
):
    old = tell()
    wxpay_sandbox.wechat.certificates.rotate("listed")
    wxpay_sandbox.wechat.certificates.rotate("used")
    new = tell()
    wxpay_sandbox.fault(fault, DOWNLOAD[1], times=-1, **options)
    assert new.post().status_code == 401
    alarms = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any("certificates not refreshed" in record.getMessage() for record in alarms)
    assert MerchantState.objects.get(merchant="default").refresh_error
    assert old.post().status_code == 200  # genuine traffic under a known key

    wxpay_sandbox.wechat.faults.remove()
    let_a_minute_pass()
    with time_machine.travel(timezone.now() + timedelta(seconds=15)):
        assert new.post().status_code == 200  # WeChat Pay's repeat
    assert MerchantState.objects.get(merchant="default").refresh_error == ""


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("fault", ["refuse", "error_500", "garbage", "wrong_tag", "closed_connection"])
def test_a_refresh_by_hand_says_what_went_wrong_and_keeps_the_keys(wxpay_sandbox, tell, known, fault):
    wxpay_sandbox.fault(fault, DOWNLOAD[1], times=-1)
    with pytest.raises(WxPayError):
        certificates.refresh("default")
    assert PlatformCertificate.objects.count() == 1
    assert tell().post().status_code == 200


@pytest.mark.scenario("S14")
def test_an_empty_list_keeps_the_old_keys(wxpay_sandbox, tell, known):
    wxpay_sandbox.fault("empty_list", DOWNLOAD[1])
    try:
        assert certificates.refresh("default") == []
    except OutcomeUnknown:
        pass  # nothing in the list proves its signature
    assert tell().post().status_code == 200
    restart()
    assert tell().post().status_code == 200


@pytest.mark.scenario("S14")
def test_one_merchant_that_cannot_refresh_does_not_stop_the_others(wxpay_sandbox):
    wxpay_sandbox.fault("error_500", DOWNLOAD[1])
    assert certificates.refresh_due() == len(ALIASES) - 1
    failed = {state.merchant: bool(state.refresh_error) for state in MerchantState.objects.all()}
    assert failed == {alias: alias == "default" for alias in ALIASES}


def test_a_stored_certificate_that_no_key_opens_is_left_out_and_the_others_are_used(wxpay_sandbox, tell, caplog):
    tell().post()
    broken = PlatformCertificate.objects.get()
    broken.pk, broken.serial_no = None, "5B" * 20
    broken.item["encrypt_certificate"]["ciphertext"] = "AAAA" * 20
    broken.save()
    restart()
    assert tell().post().status_code == 200
    assert "stored certificate unusable" in caplog.text


# Changing over


@pytest.mark.scenario("S15")
def test_a_changeover_to_the_public_key_mixes_both_kinds_for_a_week_and_can_be_rolled_back(wxpay_sandbox, tell):
    wechat = wxpay_sandbox.wechat
    public = {"PUBLIC_KEY_ID": wechat.keys.public_key_id, "PUBLIC_KEY": wechat.keys.public_key}
    with configured(**public):  # the one deploy, before the changeover begins
        kinds = []
        for percent in (0, 1, 5, 10, 20, 50, 100, 50, 0):  # the last two are the rollback
            wechat.set_public_key_share(percent)
            for letter in (tell(), tell()):
                kinds.append(letter.headers["Wechatpay-Serial"][:11] == "PUB_KEY_ID_")
                assert letter.post().status_code == 200
        assert kinds[:2] == [False, False] and kinds[12:14] == [True, True] and kinds[-2:] == [False, False]
    assert {state for (state,) in Notification.objects.values_list("state")} == {"PROCESSED"}


@pytest.mark.scenario("S15")
def test_without_the_public_key_in_the_settings_its_messages_are_refused_without_a_refresh(wxpay_sandbox, tell, known):
    wxpay_sandbox.wechat.set_public_key_share(100)
    answer = tell().post()
    assert answer.status_code == 401
    assert "PUB_KEY_ID_" in answer.json()["message"]
    assert downloads(wxpay_sandbox) == 0


@pytest.mark.scenario("S15")
def test_a_merchant_with_a_public_key_only_asks_for_no_certificates(wxpay_sandbox, tell):
    wechat = wxpay_sandbox.wechat
    wechat.set_public_key_share(100)
    public = {"PUBLIC_KEY_ID": wechat.keys.public_key_id, "PUBLIC_KEY": wechat.keys.public_key, "CERTIFICATES": False}
    with configured(**public):
        assert tell().post().status_code == 200
        assert contracts.sign(plan_id=1, user_display_name="Li", openid="o").session_id
        assert certificates.refresh_due() == 0
        wechat.set_public_key_share(0)
        assert tell().post().status_code == 401
    assert downloads(wxpay_sandbox) == 0


@pytest.mark.scenario("S16")
def test_messages_under_the_old_and_the_new_apiv3_key_are_read_while_both_are_declared(wxpay_sandbox, tell, known):
    old_key = wxpay_sandbox.wechat.apiv3_key
    under_way = tell(), tell()
    new_key = wxpay_sandbox.wechat.rotate_apiv3_key()
    assert tell().post().status_code == 500  # changed there before it was changed here: WeChat Pay repeats
    with configured(APIV3_KEY=new_key, APIV3_KEY_PREVIOUS=old_key):
        assert under_way[0].post().status_code == 200
        assert tell().post().status_code == 200
        restart()  # certificates stored under the old key are opened, too
        assert tell().post().status_code == 200
    with configured(APIV3_KEY=new_key):  # the overlap has ended
        with pytest.raises(DecryptionFailed, match="APIv3 key"):
            under_way[1].receive()
        let_a_minute_pass()
        assert tell().post().status_code == 200
    assert set(Notification.objects.values_list("state", flat=True)) == {"PROCESSED"}


@pytest.mark.scenario("S16")
def test_a_kept_message_whose_apiv3_key_is_gone_says_so(wxpay_sandbox):
    write(wxpay_sandbox, "PAPAY.SUSPEND", {"mchid": "1900000001"}).receive()
    with configured(APIV3_KEY=wxpay_sandbox.wechat.rotate_apiv3_key()):
        with pytest.raises(ProcessingFailed, match="APIv3 key"):
            notifications.retry(Notification.objects.get())
    assert "APIv3 key" in Notification.objects.get().error


def test_the_repeats_of_a_message_that_could_not_be_proved_bring_it_home(wxpay_sandbox, known):
    contract = contracts.sign(plan_id=1, user_display_name="Li", openid="o")
    wxpay_sandbox.notification_fault("unknown_serial", "PAPAY.SIGN")
    wxpay_sandbox.sign(contract)
    assert not Notification.objects.exists()
    wxpay_sandbox.advance(20)
    assert Notification.objects.get().state == "PROCESSED"


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("fault", ["probe", "bad_signature", "unsigned", "wrong_tag", "stale", "unknown_serial"])
def test_a_first_attempt_that_proves_nothing_leaves_no_row_and_the_repeat_is_believed(wxpay_sandbox, known, fault):
    contract = contracts.sign(plan_id=1, user_display_name="Li", openid="o")
    wxpay_sandbox.notification_fault(fault, "PAPAY.SIGN")
    assert wxpay_sandbox.sign(contract).state == "PENDING"
    assert not Notification.objects.exists()
    sent = wxpay_sandbox.wechat.notifications.all()[-1]["attempts"][-1]
    assert sent["status"] == (500 if fault == "wrong_tag" else 401)
    wxpay_sandbox.advance(20)
    contract.refresh_from_db()
    assert contract.state == "SIGNED"
    assert catch(wxpay_sandbox) == []
