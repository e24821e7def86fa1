"""The customers' endpoints for contracts: what they may name, what they see, what they are told when it goes wrong."""

import json
import subprocess
import sys
import threading

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection
from rest_framework.test import APIClient

from django_wxpay.checkout import Checkout, ContractOffer, UnknownOffer
from django_wxpay.engine import operations
from django_wxpay.models import Contract, MerchantState, Operation
from django_wxpay.testing import make_contract, make_order

URL = "/wxpay/contracts/"
SIGNING = "/v3/global/papay/contracts/miniprogram-pre-entrust-sign"


class ShopCheckout(Checkout):
    def contract_offer(self, request, key):
        known = {"plan_id": 12345, "user_display_name": f"Member {request.user.pk}", "openid": request.user.username}
        match key:
            case "gold":
                return ContractOffer(**known)
            case "as-dict":
                return known
            case "browser":
                return ContractOffer(**known | {"channel": "web", "openid": ""})
            case "for-sub-merchants":
                return ContractOffer(**known, merchant="institution")
            case "emoji":
                return ContractOffer(**known | {"user_display_name": "🎉"})
            case "shared":
                return ContractOffer(**known | {"openid": "", "user_display_name": "x", "reference": "everybody"})
            case "sold-out":
                raise UnknownOffer
        return None


@pytest.fixture
def shop(wxpay_sandbox, settings):
    cache.clear()  # the throttles' memory
    settings.WXPAY = {**settings.WXPAY, "CHECKOUT": f"{__name__}.ShopCheckout"}
    return wxpay_sandbox


def member_named(name):
    user = get_user_model().objects.create_user(name)
    client = APIClient()
    client.force_authenticate(user)
    client.user = user
    return client


@pytest.fixture
def member(shop, db):
    return member_named("o-member")


def create(member, offer="gold", **extra):
    return member.post(URL, {"offer": offer, **extra}, format="json")


# Opening a contract


def test_customer_opens_a_contract_and_gets_what_launches_wechat_pay(member):
    answer = create(member)

    payload = answer.json()
    contract = Contract.objects.get()
    assert answer.status_code == 201
    assert payload["out_contract_code"] == contract.out_contract_code
    assert payload["state"] == "PENDING"
    assert payload["launch"]["path"].endswith(contract.session_id)
    assert (contract.user, contract.openid, contract.plan_id) == (member.user, "o-member", 12345)


def test_answer_shows_no_openid_and_no_inner_numbers(member):
    payload = create(member).json()

    assert not {"id", "openid", "user", "mchid", "contract_id", "session_id", "merchant"} & set(payload)


def test_offer_may_be_a_dict(member):
    assert create(member, "as-dict").status_code == 201


def test_browser_offer_gives_a_page_to_open(member):
    assert create(member, "browser").json()["launch"]["sign_url"].startswith("http")


def test_offer_may_belong_to_another_merchant(member, shop):
    assert create(member, "for-sub-merchants").status_code == 201
    assert Contract.objects.get().sub_mchid == shop.wechat.merchant["sub_mchid"]


def test_open_session_is_used_again(member, shop):
    first, second = create(member), create(member)

    assert second.status_code == 201
    assert second.json()["out_contract_code"] == first.json()["out_contract_code"]
    assert shop.calls.count(("POST", SIGNING)) == 1


def test_session_about_to_end_is_not_used_again(member):
    create(member)
    Contract.objects.update(expired_time="2020-01-01T00:00:00Z")

    create(member)

    assert Contract.objects.count() == 2


def test_signed_contract_of_the_plan_is_returned_instead_of_another(member, shop):
    create(member)
    shop.sign(Contract.objects.get())

    answer = create(member)

    assert answer.status_code == 200
    assert answer.json()["state"] == "SIGNED"
    assert answer.json()["launch"] is None
    assert Contract.objects.count() == 1


def test_another_customer_gets_a_contract_of_their_own(member):
    create(member)

    create(member_named("o-other"))

    assert Contract.objects.count() == 2


@pytest.mark.parametrize("offer", ["silver", "sold-out", "", "x" * 65])
def test_unknown_offer_is_refused(member, offer):
    answer = create(member, offer)

    assert answer.status_code == (404 if offer in ("silver", "sold-out") else 400)
    assert answer.json()["code"] in ("NOT_FOUND", "INVALID_FIELD")
    assert not Contract.objects.exists()


@pytest.mark.parametrize("name", ["amount", "openid", "plan_id", "merchant", "user_display_name", "reference"])
def test_customer_names_nothing_but_the_offer(member, shop, name):
    answer = create(member, **{name: "1"})

    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["field"]) == ("INVALID_FIELD", name)
    assert "server decides" in answer.json()["message"]
    assert shop.calls == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("{", "application/json", 400, "MALFORMED"),
        ("[]", "application/json", 400, "INVALID_FIELD"),
        ('{"offer": ["gold"]}', "application/json", 400, "INVALID_FIELD"),
        ("offer=gold", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_malformed_request_is_refused(member, body, content_type, status, code):
    answer = member.post(URL, body, content_type=content_type)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_offer_with_a_value_wechat_pay_forbids_is_refused_with_the_field_named(member, shop):
    answer = create(member, "emoji")

    assert answer.status_code == 400
    assert answer.json()["field"] == "user_display_name"
    assert shop.calls == [] and not Contract.objects.exists()


def test_reference_shared_by_two_customers_shows_nobody_elses_session(member):
    assert create(member, "shared").status_code == 201

    answer = create(member_named("o-other"), "shared")

    assert (answer.status_code, answer.json()["code"]) == (409, "REFERENCE_REUSED")
    assert "launch" not in answer.json()


@pytest.mark.parametrize("fault", ["lost_answer", "error_500", "error_429", "bad_signature"])
def test_session_that_could_not_be_opened_now_is_opened_by_a_worker(member, shop, fault):
    shop.fault(fault, SIGNING)

    answer = create(member)

    assert answer.status_code == 202
    assert (answer.json()["launch"], answer.json()["pending"]) == (None, "SIGN")
    assert create(member).json()["out_contract_code"] == answer.json()["out_contract_code"]

    Operation.objects.update(next_try_at="2020-01-01T00:00:00Z", leased_until=None, busy_until="2020-01-01T00:00:00Z")
    MerchantState.objects.update(slow_until=None)
    operations.send_due()
    payload = member.get(f"{URL}{answer.json()['out_contract_code']}/").json()
    assert payload["launch"] and payload["pending"] is None


def test_refusal_for_the_customers_sake_is_shown(member, shop):
    shop.fault("refuse", SIGNING, status=403, code="RULE_LIMIT")

    answer = create(member)

    assert (answer.status_code, answer.json()["code"]) == (409, "RULE_LIMIT")
    assert Contract.objects.get().state == "EXPIRED"


@pytest.mark.parametrize(("status", "code"), [(401, "SIGN_ERROR"), (403, "NO_AUTH"), (400, "PARAM_ERROR")])
def test_refusal_for_the_shops_own_mistake_is_not_the_customers_to_mend(member, shop, caplog, status, code):
    shop.fault("refuse", SIGNING, status=status, code=code)

    answer = create(member)

    assert (answer.status_code, answer.json()["code"]) == (502, "SHOP_MISCONFIGURED")
    assert code not in answer.content.decode()
    assert code in caplog.text


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_double_click_opens_one_session(shop):
    member, answers = member_named("o-member"), []
    barrier = threading.Barrier(4)

    def click():
        client = APIClient()
        client.force_authenticate(member.user)
        barrier.wait()
        answers.append(create(client))
        connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} <= {201, 202}
    assert len({answer.json()["out_contract_code"] for answer in answers}) == 1
    assert shop.calls.count(("POST", SIGNING)) == 1


# Seeing


def test_status_is_confirmed_with_wechat_pay_at_most_once_in_three_seconds(member, shop):
    code = create(member).json()["out_contract_code"]
    shop.delivers = False
    shop.wechat.contracts.sign(Contract.objects.get().session_id)
    before = len(shop.calls)

    payload = [member.get(f"{URL}{code}/").json() for _ in range(3)]

    assert [one["state"] for one in payload] == ["SIGNED"] * 3
    assert payload[0]["synced_at"]
    assert len(shop.calls) == before + 1


def test_status_is_shown_though_wechat_pay_is_out_of_reach(member, shop):
    code = create(member).json()["out_contract_code"]
    shop.fault("closed_connection", "/v3/", times=-1)

    answer = member.get(f"{URL}{code}/")

    assert (answer.status_code, answer.json()["state"]) == (200, "PENDING")


def test_list_shows_own_contracts_newest_first(member, django_assert_max_num_queries):
    make_contract(user=None)
    make_contract(user=get_user_model().objects.create_user("else"))
    own = [make_contract(user=member.user).out_contract_code for _ in range(3)]

    with django_assert_max_num_queries(3):
        payload = member.get(URL).json()

    assert [row["out_contract_code"] for row in payload["results"]] == own[::-1]


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "%00",
        "cD1hYmM=",
        "cD0xJTAw",
        "cD0xMjM0NTY3ODkwMTIzNDU2Nzg5MA==",
        "bz05OTk5OTk5OTk5",
        "cD0tMQ==",
        "cD0=",
    ],
    ids=["no base64", "NUL", "p=abc", "p=1%00", "p too long", "o too large", "p negative", "p empty"],
)
def test_a_cursor_that_we_never_made_is_no_server_error(member, shop, cursor):
    create(member)
    answer = member.get(f"{URL}?cursor={cursor}")
    assert answer.status_code in (200, 404)
    assert answer.status_code == 200 or answer.json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize("method", ["get", "post"])
def test_contract_of_somebody_else_is_not_there(member, shop, method):
    theirs = make_contract(user=get_user_model().objects.create_user("else"))
    path = f"{URL}{theirs.out_contract_code}/" + ("terminate/" if method == "post" else "")

    answer = getattr(member, method)(path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
    assert shop.calls == []


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", ""), ("get", "abc/"), ("post", "abc/terminate/")])
def test_nobody_gets_in_without_signing_in(shop, db, settings, method, path):
    answer = getattr(APIClient(), method)(f"{URL}{path}")

    assert answer.status_code == 403
    assert answer.json()["code"] == "NOT_AUTHENTICATED"


def test_permissive_defaults_of_the_shop_open_nothing(shop, db, monkeypatch):
    from rest_framework.permissions import AllowAny
    from rest_framework.views import APIView

    monkeypatch.setattr(APIView, "permission_classes", [AllowAny])

    assert APIClient().get(URL).status_code == 403


def test_customer_who_asks_too_often_is_told_when_to_come_back(member):
    answers = [create(member, "silver") for _ in range(11)]

    assert answers[9].status_code == 404
    assert (answers[10].status_code, answers[10].json()["code"]) == (429, "THROTTLED")
    assert int(answers[10]["Retry-After"]) > 0
    assert member.get(URL).status_code == 200


def test_shop_may_choose_another_rate(member, settings):
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"wxpay_ask": "1/hour"}}

    assert [create(member, "silver").status_code for _ in range(2)] == [404, 429]


# Ending


@pytest.fixture
def signed(member, shop):
    create(member)
    return shop.sign(Contract.objects.get())


def terminate(member, contract, **body):
    return member.post(f"{URL}{contract.out_contract_code}/terminate/", body, format="json")


def test_customer_ends_a_contract(member, signed):
    answer = terminate(member, signed)

    assert (answer.status_code, answer.json()["state"]) == (200, "TERMINATED")
    assert Operation.objects.get(action="TERMINATE").requested_by == member.user


def test_ending_twice_is_no_error(member, shop, signed):
    terminate(member, signed)

    assert terminate(member, signed).status_code == 200
    assert len([path for _, path in shop.calls if path.endswith("/terminate")]) == 1


def test_ending_whose_outcome_is_unknown_is_under_way(member, shop, signed):
    shop.fault("lost_answer", "/v3/global/papay/contracts/*/terminate")

    first, second = terminate(member, signed), terminate(member, signed)

    for answer in (first, second):
        assert (answer.status_code, answer.json()["state"], answer.json()["pending"]) == (202, "SIGNED", "TERMINATE")
    payload = member.get(f"{URL}{signed.out_contract_code}/").json()
    assert payload["state"] == "TERMINATED"


@pytest.mark.scenario("S43")
def test_contract_with_a_payment_under_way_is_not_ended_and_says_why(member, shop, signed):
    order = make_order(contract=signed, state="CREATED")

    answer = terminate(member, signed)

    assert (answer.status_code, answer.json()["code"]) == (409, "DEDUCTION_PENDING")
    assert order.out_trade_no in answer.json()["message"]
    assert answer.json()["out_contract_code"] == signed.out_contract_code


def test_contract_that_was_never_signed_cannot_be_ended(member):
    create(member)

    answer = terminate(member, Contract.objects.get())

    assert (answer.status_code, answer.json()["code"]) == (409, "CONTRACT_NOT_SIGNED")


def test_ending_takes_no_fields(member, signed):
    assert terminate(member, signed, note="x").status_code == 400


# Surroundings


@pytest.mark.django_db(transaction=True)
def test_atomic_requests_do_not_matter(shop):
    member = member_named("o-member")
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        created = create(member)
        contract = shop.sign(Contract.objects.get())
        ended = terminate(member, contract)
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False

    assert (created.status_code, ended.status_code) == (201, 200)


def run(program):
    """Run it with Django set up, in a process of its own: REST framework reads settings when it is imported."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def test_openapi_schema_describes_these_endpoints_and_not_wechat_pays():
    done = run("""
import django, json
from django.conf import settings
settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
django.setup()
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
schema = SchemaGenerator().get_schema(request=None, public=True)
validate_schema(schema)
print(json.dumps({path: {method: list(about["responses"]) for method, about in ways.items()}
                  for path, ways in schema["paths"].items()}))
""")
    payload = json.loads(done.stdout)

    assert "contracts" not in done.stderr  # no warnings about our views
    assert {path: set(ways) for path, ways in payload.items() if path.startswith(URL)} == {
        URL: {"get", "post"},
        URL + "{out_contract_code}/": {"get"},
        URL + "{out_contract_code}/terminate/": {"post"},
    }
    assert {"201", "202", "400", "409", "503"} <= set(payload[URL]["post"])
    assert not [path for path in payload if "notify" in path]


def test_endpoints_work_without_drf_spectacular():
    done = run("""
import sys; sys.modules["drf_spectacular"] = sys.modules["drf_spectacular.utils"] = None
import django; django.setup()
from django.urls import reverse; print(reverse("django_wxpay:contract-list"))
""")

    assert done.stdout.strip() == URL
