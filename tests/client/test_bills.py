import gzip
import hashlib
import io
from datetime import date

import pytest
from requests import ReadTimeout

from django_wxpay.client.errors import APIError, BillCorrupt, BillNotReady, NoStatement, OutcomeUnknown

from .wire import Reply, make_client

FILE = "交易时间,商户号\n`2026-03-01 12:00:09,`1900000100\n".encode()


def statement(body=FILE, *, sha1=None, headers=(), zipped=False, **signing):
    """The answer that is a file: the signature covers its hash."""
    sha1 = hashlib.sha1(body).hexdigest() if sha1 is None else sha1
    all_headers = {"Wechatpay-Statement-Sha1": sha1, "Content-Type": "text/plain"}
    all_headers |= ({"Content-Encoding": "gzip"} if zipped else {}) | dict(headers)
    signs = f'{{"sha1":"{sha1}"}}'.encode()
    return Reply(200, gzip.compress(body) if zipped else body, headers=all_headers, signs=signs, **signing)


def download(client, **changed):
    sink = io.BytesIO()
    done = client.bills.download_statement(**({"date": date(2026, 3, 1), "sink": sink} | changed))
    return done, sink.getvalue()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_statement_is_fetched_and_proven(zipped):
    client = make_client(statement(zipped=zipped))
    done, content = download(client)
    assert content == FILE
    assert (done.sha1, done.size) == (hashlib.sha1(FILE).hexdigest(), len(FILE))
    assert client.wire.last.path_url == "/v3/global/statements?date=20260301&mchid=1900000100"
    assert client.wire.last.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("given", "query"),
    [({}, "sp_mchid=1900000100"), ({"sub_mchid": "19"}, "sp_mchid=1900000100&sub_mchid=19")],
)
def test_an_institution_asks_for_all_or_for_one_sub_merchant(given, query):
    client = make_client(statement(), mode="institution")
    download(client, date="20260301", **given)
    assert client.wire.last.path_url == f"/v3/global/statements?date=20260301&{query}"


def test_a_hash_in_capitals_is_the_same_hash():
    assert download(make_client(statement(sha1=hashlib.sha1(FILE).hexdigest().upper())))[1] == FILE


@pytest.mark.scenario("S47")
@pytest.mark.parametrize(
    "reply",
    [
        statement(sha1="0" * 40),
        statement(headers={"Content-Length": "1000"}),
        statement(headers={"Content-Encoding": "gzip"}),
        statement(headers={"Content-Encoding": "br"}, sha1=hashlib.sha1(b"other").hexdigest()),
    ],
)
def test_a_file_that_is_cut_or_altered_is_corrupt(reply):
    with pytest.raises(BillCorrupt):
        download(make_client(reply))


def test_a_zipped_file_that_is_cut_is_corrupt():
    reply = statement(FILE * 1000, zipped=True)
    reply.body = reply.body[:-40]
    with pytest.raises(BillCorrupt):
        download(make_client(reply))


@pytest.mark.parametrize(
    "wrong",
    [
        {"signature": "WECHATPAY/SIGNTEST/" + "A" * 336},
        {"name": "stranger"},
        {"signature": None},
        {"sha1": "base64+of/something=="},
        {"sha1": ""},
    ],
)
def test_a_file_that_is_never_proven_is_asked_for_twice_and_nothing_is_written(wrong):
    client, sink = make_client(statement(**wrong), statement(**wrong)), io.BytesIO()
    with pytest.raises(BillCorrupt, match="not proven"):
        client.bills.download_statement(date="20260301", sink=sink)
    assert sink.getvalue() == b"" and len(client.wire.requests) == 2


def test_a_probe_is_answered_by_asking_again():
    client = make_client(statement(signature="WECHATPAY/SIGNTEST/x"), statement())
    assert download(client)[1] == FILE


def test_the_signature_over_the_file_itself_is_not_the_one_wanted():
    reply = statement()
    reply.signs = FILE
    with pytest.raises(BillCorrupt):
        download(make_client(reply, reply))


@pytest.mark.scenario("S48")
def test_a_file_larger_than_allowed_is_corrupt():
    with pytest.raises(BillCorrupt):
        download(make_client(statement()), max_bytes=len(FILE) - 1)
    assert download(make_client(statement()), max_bytes=len(FILE))[1] == FILE


@pytest.mark.scenario("S48")
def test_a_file_that_unpacks_to_far_more_than_it_was_is_a_trap():
    written = []

    class Counting:
        def write(self, data):
            written.append(len(data))

    with pytest.raises(BillCorrupt, match="trap"):
        download(make_client(statement(b"`" * (64 * 1024**2), zipped=True)), sink=Counting())
    assert sum(written) < 48 * 1024**2


@pytest.mark.scenario("S47")
@pytest.mark.parametrize(
    ("status", "code"), [(400, "NO_STATEMENT_EXIST"), (404, "NO_STATEMENT_EXIST"), (400, " NO_STATEMENT_EXIST")]
)
def test_a_day_without_a_statement_has_its_own_error(status, code):
    with pytest.raises(NoStatement) as caught:
        download(make_client(Reply(status, {"code": code, "message": "none"})))
    assert caught.value.verified and caught.value.status == status


@pytest.mark.scenario("S47")
def test_a_statement_still_being_made_is_not_ready():
    with pytest.raises(BillNotReady):
        download(make_client(Reply(400, {"code": "STATEMENT_CREATING", "message": "later"})))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, {"code": "PARAM_ERROR"}), APIError),
        (Reply(500, {"code": "SYSTEM_ERROR"}), OutcomeUnknown),
        (ReadTimeout(), OutcomeUnknown),
    ],
)
def test_other_errors_are_what_they_are_everywhere(reply, kind):
    with pytest.raises(kind):
        download(make_client(reply))


def test_a_full_disk_is_not_hidden_and_the_connection_is_given_up():
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        download(make_client(statement()), sink=Full())


def test_one_line_is_logged(caplog):
    with caplog.at_level("INFO", "django_wxpay"):
        download(make_client(statement()))
    [record] = caplog.records
    assert "path=/v3/global/statements status=200" in record.getMessage()
