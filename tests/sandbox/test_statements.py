import gzip
import hashlib
from datetime import datetime, timedelta, timezone

import pytest
import requests

from tests.sandbox.test_quickpay import code, pay

STATEMENTS = "/v3/global/statements"
CHINA = timezone(timedelta(hours=8))


@pytest.fixture
def traded(any_shop):
    """A shop the day after it sold two coffees and took one back. Its clock starts at noon, in China."""
    shop, clock = any_shop, any_shop.sandbox.clock
    shop.sandbox.set_clock(shift=datetime(2026, 3, 1, 12, tzinfo=CHINA).timestamp() - clock.now())
    pay(shop, "q1", description="Coffee, black", attach="`x`")
    pay(shop, "q2")
    pay(shop, "q3", code(1))
    shop.refund("q1", "r1", 1000)
    shop.sandbox.advance(86400)
    return shop


def download(shop, day="20260301", *, headers=None, **more):
    number = {name: value for name, value in shop.numbers.items() if name != "sub_mchid"}
    return shop.request("GET", STATEMENTS, query={"date": day, **number, **more}, headers=headers)


def lines(answer):
    header, *rows = answer.content.decode("utf-8-sig").splitlines()
    return header.split(","), [row[1:].split(",`") for row in rows]


def test_the_statement_lists_what_was_paid_and_refunded_that_day(traded):
    answer = download(traded)
    header, rows = lines(answer)
    assert len(header) == 38 and all(len(row) == 38 for row in rows)
    assert header[0] == "交易时间" and header[37] == "优惠券退款金额"
    assert [(row[6], row[9]) for row in rows] == [("q1", "SUCCESS"), ("q2", "SUCCESS"), ("q1", "REFUND")]
    assert rows[0][19:26] == ["Coffee, black", "`x`", "0.38", "1.00%", "HKD", "38.00", "CNY"]
    assert (rows[2][16], rows[2][31], rows[2][33]) == ("r1", "10.00", "9.20")
    assert rows[0][3] == ("0" if traded.mode == "direct" else traded.merchant["sub_mchid"])


def test_the_signature_covers_the_hash_and_the_hash_the_file(traded):
    answer = download(traded)
    sha1 = answer.headers["Wechatpay-Statement-Sha1"]
    assert traded.verifies(answer.headers, f'{{"sha1":"{sha1}"}}'.encode())
    assert hashlib.sha1(answer.content).hexdigest() == sha1
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_it_comes_compressed_when_asked_for(traded):
    plain = download(traded).content
    answer = download(traded, headers={"Accept-Encoding": "gzip", "Accept": "text/plain"})
    assert answer.headers["Content-Encoding"] == "gzip" and answer.content == plain


def test_a_reversed_payment_is_listed_as_revoked(shop):
    shop.sandbox.set_clock(shift=datetime(2026, 3, 1, 12, tzinfo=CHINA).timestamp() - shop.sandbox.clock.now())
    pay(shop, "q1")
    shop.sandbox.advance(60)
    shop.post("/v3/global/micropay/transactions/out-trade-no/q1/reverse", **shop.numbers)
    shop.sandbox.advance(86400)
    assert [(row[6], row[9]) for row in lines(download(shop))[1]] == [("q1", "REVOKED")]


def test_only_past_days_within_reach_have_one(traded):
    for day, error in (
        ("20260302", "INVALID_REQUEST"),
        ("20250801", "INVALID_REQUEST"),
        ("20260231", "PARAM_ERROR"),
        ("2026031", "PARAM_ERROR"),
        ("20260228", "NO_STATEMENT_EXIST"),
    ):
        answer = download(traded, day)
        assert (answer.status_code, answer.json()["code"]) == (400, error), day


def test_an_institution_may_ask_for_one_sub_merchant(institution):
    institution.sandbox.add_sub_merchant("1900009999", "wx9")
    institution.sandbox.set_clock(shift=-86400)
    pay(institution, "q1")
    pay(institution, "q2", sub_mchid="1900009999", sub_appid="wx9")
    day = datetime.fromtimestamp(institution.sandbox.clock.now(), CHINA).strftime("%Y%m%d")
    institution.sandbox.set_clock(shift=0)
    assert len(lines(download(institution, day))[1]) == 2
    (only,) = lines(download(institution, day, sub_mchid="1900009999"))[1]
    assert (only[3], only[6]) == ("1900009999", "q2")


@pytest.mark.parametrize("error", ["cut_short", "altered", "wrong_hash"])
def test_a_spoilt_file_does_not_match_its_hash(traded, error):
    honest = download(traded).content
    traded.sandbox.statements.want("20260301", error=error)
    answer = download(traded)
    assert hashlib.sha1(answer.content).hexdigest() != answer.headers["Wechatpay-Statement-Sha1"]
    assert (answer.content == honest) == (error == "wrong_hash")
    traded.sandbox.statements.want("20260301")
    assert download(traded).content == honest


@pytest.mark.parametrize(
    "error", ["bom", "crlf", "moved_column", "added_column", "missing_column", "english_header", "not_utf8"]
)
def test_an_odd_file_matches_its_hash(traded, error):
    honest = download(traded).content
    traded.sandbox.statements.want("20260301", error=error)
    answer = download(traded)
    assert hashlib.sha1(answer.content).hexdigest() == answer.headers["Wechatpay-Statement-Sha1"]
    assert answer.content != honest
    if error == "not_utf8":
        assert answer.content.decode("gb18030").encode() == honest
        return
    header, rows = lines(answer)
    expected = {"added_column": 39, "missing_column": 37}.get(error, 38)
    assert len(header) == len(rows[0]) == expected
    if error == "moved_column":
        assert (header[5], rows[0][5]) == ("商户订单号", "q1")
    if error == "english_header":
        assert header[0] == "transaction time"


def test_a_connection_can_end_too_early(traded):
    traded.sandbox.statements.want("20260301", error="cut_connection")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        download(traded)


@pytest.mark.parametrize(("error", "says"), [("creating", "STATEMENT_CREATING"), ("none", "NO_STATEMENT_EXIST")])
def test_a_file_can_be_withheld(traded, error, says):
    traded.sandbox.statements.want("20260301", error=error)
    assert download(traded).json()["code"] == says


def test_a_bomb_is_small_on_the_wire(traded, monkeypatch):
    monkeypatch.setattr("django_wxpay.sandbox.statements.BOMB_BYTES", 32 * 1024**2)
    traded.sandbox.statements.want("20260301", error="bomb")
    number = {name: value for name, value in traded.numbers.items() if name != "sub_mchid"}
    answer = traded.request(
        "GET", STATEMENTS, query={"date": "20260301", **number}, headers={"Accept-Encoding": "gzip"}
    )
    assert len(answer.content) == 32 * 1024**2 and len(gzip.compress(answer.content)) < 100_000


def test_a_large_day_can_be_invented(app, shop):
    day = (datetime.now(CHINA) - timedelta(days=3)).strftime("%Y%m%d")
    assert app.test_client().post(f"/_sandbox/statements/{day}", json={"rows": 20_000}).status_code == 200
    first, second = download(shop, day), download(shop, day)
    assert first.content == second.content
    header, rows = lines(first)
    assert len(rows) == 20_000 and {len(row) for row in rows} == {38}
    assert len({row[5] for row in rows}) == 20_000
    assert app.test_client().post(f"/_sandbox/statements/{day}", json={"error": "meteor"}).status_code == 400
