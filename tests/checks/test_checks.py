"""Every mistake in the settings is found, has its own id and a hint, and no secret is shown."""

import contextlib
import re
from pathlib import Path

import certifi
import pytest
from celery import Celery
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.checks import run_checks
from django.db import connections
from requests.adapters import HTTPAdapter

from django_wxpay import checks, conf
from django_wxpay.beat import BEAT_SCHEDULE
from django_wxpay.checks import databases, surroundings
from django_wxpay.client.errors import WxPayError
from django_wxpay.models import Operation
from django_wxpay.services import certificates

# Django 6.1 asks the database itself whether models fit it, whatever is checked.
pytestmark = pytest.mark.django_db

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000001002026030100006500000001"


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key):
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


OURS, THEIRS = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
CURVE = ec.generate_private_key(ec.SECP256R1())

GOOD = {
    "MCHID": "1900000001",
    "APPID": "wx0123456789abcdef",
    "SERIAL_NO": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
    "PRIVATE_KEY": pem(OURS),
    "APIV3_KEY": "0123456789abcdef0123456789abcdef",
    "MERCHANT_CATEGORY_CODE": "5734",
}
INSTITUTION = {
    **{name: value for name, value in GOOD.items() if name not in ("MCHID", "APPID")},
    "MODE": "institution", "SP_MCHID": "1900000100", "SP_APPID": "wx1111111111111111", "SUB_MCHID": "1900000109",
}  # fmt: skip


class NotACheckout:
    pass


@pytest.fixture
def shop(settings, monkeypatch):
    """A shop without mistakes; tests make one each."""
    app = Celery("shop", set_as_current=False)
    app.conf.beat_schedule = dict(BEAT_SCHEDULE)
    monkeypatch.setattr(surroundings, "current_app", app)
    settings.WXPAY = {"MERCHANTS": {"default": dict(GOOD)}, "NOTIFY_URL_BASE": "https://shop.example/wxpay/notify/"}
    settings.celery = app
    return settings


def problems(**options):
    return [message for message in run_checks(**options) if str(message.id).startswith("wxpay.")]


def ids(**options):
    return [message.id.removeprefix("wxpay.") for message in problems(**options)]


def put(shop, **changes):
    """Change one merchant: values of None are left out."""
    entry = {name: value for name, value in (GOOD | changes).items() if value is not None}
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {"default": entry}}


def test_good_settings_have_no_complaints(shop):
    assert ids() == []


def test_institution_with_public_key_has_no_complaints_either(shop):
    trusted = {"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": public_pem(THEIRS), "CERTIFICATES": False}
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {"default": GOOD, "hong-kong": INSTITUTION | trusted}}

    assert ids() == []


@pytest.mark.parametrize(
    ("wxpay", "expected"),
    [
        ([], ["E001"]),
        ({"MERCHANTS": []}, ["E001"]),
        ({"MERCHANTS": {"default": "1900000001"}}, ["E001"]),
        ({}, ["W002"]),
        ({"MERCHANTS": {}}, ["W002"]),
        ({"NOTIFY_URL": "x"}, ["E003", "W002"]),
        ({"ORDER_POLL_SECONDS": 0}, ["E029", "W002"]),
        ({"DELIVERY_ATTEMPTS": "10"}, ["E029", "W002"]),
    ],
)
def test_dictionary_in_the_wrong_form(shop, wxpay, expected):
    shop.WXPAY = wxpay

    assert ids() == expected


def test_missing_setting_is_only_a_warning(shop):
    del shop.WXPAY

    assert ids() == ["W002"]


@pytest.mark.parametrize("alias", ["my shop", "shop/1", "x" * 33, "商店", 7])
def test_alias_that_cannot_be_part_of_an_address(shop, alias):
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {alias: GOOD}}

    assert "E004" in ids()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MCH_ID": "1900000001", "MCHID": None}, ["E003", "E007"]),
        ({"TIMEOUT": 3}, ["E003"]),
        ({"MODE": "directly"}, ["E005"]),
        ({"MODE": ["direct"]}, ["E005"]),
        ({"REGION": "asia"}, ["E006"]),
        ({"APPID": None, "SERIAL_NO": ""}, ["E007"]),
        ({"MODE": "institution"}, ["E007", "W026", "W026"]),
        ({"MODE": "partner", "SP_MCHID": "1", "SP_APPID": "wx1", "MCHID": None, "APPID": None}, []),
        ({"SUB_MCHID": "1900000109"}, ["W026"]),
        ({"MCHID": "shop"}, ["E008"]),
        ({"MCHID": 1900000001}, ["E027", "E007"]),
        ({"APPID": "wx 1"}, ["E009"]),
        ({"PRIVATE_KEY": "/nowhere/key.pem"}, ["E010"]),
        ({"PRIVATE_KEY": 5}, ["E011"]),
        ({"PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nbroken"}, ["E011"]),
        ({"PRIVATE_KEY": pem(CURVE)}, ["E011"]),
        ({"PRIVATE_KEY": public_pem(OURS)}, ["E011"]),
        ({"PRIVATE_KEY": pem(SHORT)}, ["E012"]),
        ({"SERIAL_NO": "apiclient"}, ["E013"]),
        ({"APIV3_KEY": "too short"}, ["E014"]),
        ({"APIV3_KEY": "é" * 32}, ["E014"]),
        ({"APIV3_KEY_PREVIOUS": GOOD["APIV3_KEY"] + "\n"}, ["E014"]),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID}, ["E015"]),
        ({"PUBLIC_KEY": public_pem(THEIRS)}, ["E015"]),
        ({"PUBLIC_KEY_ID": "0119000001", "PUBLIC_KEY": public_pem(THEIRS)}, ["E016"]),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": "/nowhere/pub_key.pem"}, ["E010"]),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": pem(THEIRS)}, ["E017"]),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": public_pem(CURVE)}, ["E017"]),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": public_pem(OURS)}, ["E025"]),
        ({"CERTIFICATES": False}, ["E018"]),
        ({"CERTIFICATES": "False"}, ["E028"]),
        ({"MERCHANT_CATEGORY_CODE": "57"}, ["E019"]),
        ({"MERCHANT_CATEGORY_CODE": 5734}, ["E027", "W020"]),
        ({"MERCHANT_CATEGORY_CODE": None}, ["W020"]),
        ({"MERCHANT_CATEGORY_CODE": None, "REGION": "mainland"}, []),
        ({"CONNECT_TIMEOUT_SECONDS": 0}, ["E021"]),
        ({"READ_TIMEOUT_SECONDS": "10"}, ["E021"]),
        ({"READ_TIMEOUT_SECONDS": float("nan")}, ["E021"]),
        ({"HOST": "https://"}, ["E022"]),
        ({"BACKUP_HOSTS": "apihk.mch.weixin.qq.com"}, ["E022"]),
        ({"BACKUP_HOSTS": ["apihk.mch.weixin.qq.com", 5]}, ["E022"]),
        ({"BACKUP_HOSTS": 5}, ["E022"]),
        ({"PROXIES": "http://proxy:3128"}, ["E022"]),
        ({"PROXIES": {"http": "http://proxy:3128"}}, ["E055"]),
        ({"PROXIES": {"apihk.mch.weixin.qq.com": "http://proxy:3128"}}, ["E055"]),
        ({"PROXIES": {"https": ""}}, ["E055"]),
        ({"PROXIES": {"https://apihk.mch.weixin.qq.com": "http://proxy:3128"}}, []),
        ({"PROXIES": {"https://apihk.mch.weixin.qq.com": "http://proxy:3128"}, "REGION": "mainland"}, ["E055"]),
        (
            {"PROXIES": {"https://apihk.mch.weixin.qq.com": "http://p"}, "BACKUP_HOSTS": ["apius.mch.weixin.qq.com"]},
            ["E055"],
        ),
        *(
            ({"PROXIES": {key: "http://proxy:3128"}}, [])
            for key in ("https", "HTTPS", "https:", "https://", "all", "ALL://")
        ),
        ({"CA_BUNDLE": "/nowhere/ca.pem"}, ["E056"]),
        ({"CA_BUNDLE": __file__}, ["E056"]),
        ({"CA_BUNDLE": 5}, ["E056"]),
        ({"CA_BUNDLE": certifi.where()}, []),
        ({"TRANSPORT": "nowhere.Adapter"}, ["E023"]),
        ({"TRANSPORT": object()}, ["E023"]),
        ({"TRANSPORT": "requests.adapters.HTTPAdapter"}, []),
        ({"TRANSPORT": HTTPAdapter()}, []),
    ],
)
def test_mistake_in_a_merchant(shop, changes, expected):
    put(shop, **changes)

    assert ids() == expected


def test_likely_meaning_of_an_unknown_setting_is_named(shop):
    put(shop, API_V3_KEY="x")

    (message,) = problems()
    assert message.hint == "Did you mean 'APIV3_KEY'?"


@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PRIVATE_KEY", public_pem(OURS), "it is a public key"),
        ("PRIVATE_KEY", pem(OURS)[:800], "it is cut"),
        ("PUBLIC_KEY", pem(THEIRS), "it is a private key"),
    ],
)
def test_what_stands_in_a_keys_place_is_named(shop, name, value, says):
    put(shop, **{name: value}, **({"PUBLIC_KEY_ID": PUBLIC_KEY_ID} if name == "PUBLIC_KEY" else {}))

    (message,) = problems()
    assert says in message.msg


def test_private_key_may_be_a_file(shop, tmp_path):
    (tmp_path / "key.pem").write_text(pem(OURS))
    put(shop, PRIVATE_KEY=tmp_path / "key.pem")

    assert ids() == []


def test_two_aliases_of_one_merchant(shop):
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": {"a": GOOD, "b": GOOD, "c": GOOD | {"MCHID": "1900000002"}}}

    (message,) = problems()
    assert message.id == "wxpay.W024"
    assert "a, b " in message.msg


def test_two_sub_merchants_of_one_institution_are_two_merchants(shop):
    entries = {"a": INSTITUTION, "b": INSTITUTION | {"SUB_MCHID": "1900000110"}}
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": entries}

    assert ids() == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"APIV3_KEY": "another-key-of-the-same-32-bytes"}, "APIV3_KEY"),
        ({"APIV3_KEY_PREVIOUS": "another-key-of-the-same-32-bytes"}, "APIV3_KEY_PREVIOUS"),
        ({"PUBLIC_KEY_ID": PUBLIC_KEY_ID, "PUBLIC_KEY": public_pem(THEIRS)}, "PUBLIC_KEY_ID"),
        ({"REGION": "mainland", "HOST": "http://127.0.0.1:8100"}, "REGION, HOST"),
        ({"LANGUAGE": "zh-CN", "READ_TIMEOUT_SECONDS": 5, "HOST": "apius.mch.weixin.qq.com"}, None),
    ],
)
def test_two_aliases_of_one_number_that_do_not_agree_about_it(shop, changes, names):
    entries = {"a": INSTITUTION, "b": INSTITUTION | {"SUB_MCHID": "1900000110"} | changes}
    shop.WXPAY = {**shop.WXPAY, "MERCHANTS": entries}

    assert [(one.id, f"not the same {names}." in one.msg) for one in problems()] == (
        [("wxpay.E054", True)] if names else []
    )


# Addresses


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("", ["E030"]),
        ("shop.example/wxpay/notify/", ["E031"]),
        ("https://shop.example/wxpay/notify/?a=1", ["E031"]),
        ("https://shop.example/wxpay/notify/#x", ["E031"]),
        ("https://user@shop.example/wxpay/notify/", ["E031"]),
        ("https://商店.example/wxpay/notify/", ["E031"]),
        (7, ["E031"]),
        ("http://shop.example/wxpay/notify/", ["E032"]),
        (f"https://shop.example/{'x' * 250}/wxpay/notify/", ["E034"]),
        ("https://shop.example/wxpay/", ["E036"]),
        ("https://shop.example/wxpay/notify/default/", ["E036"]),
        ("https://shop.example/", ["E036"]),
        ("https://shop.example/wxpay/notify", []),
        ("https://shop.example/behind/a/proxy/wxpay/notify/", []),
        ("https://localhost/wxpay/notify/", ["W037"]),
        ("https://192.168.1.5/wxpay/notify/", ["W037"]),
        ("https://shop.internal/wxpay/notify/", ["W037"]),
    ],
)
def test_notify_url(shop, base, expected):
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": base}

    assert ids() == expected


def test_address_without_https_is_tolerated_while_developing(shop):
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": "http://shop.example/wxpay/notify/"}
    shop.DEBUG = True
    assert ids() == ["W033"]

    put(shop, HOST="http://127.0.0.1:8100")
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": "http://127.0.0.1:8000/wxpay/notify/"}
    assert ids() == []


def test_host_that_django_would_not_admit(shop):
    shop.ALLOWED_HOSTS = ["www.shop.example"]
    (message,) = problems()
    assert (message.id, "shop.example," in message.msg) == ("wxpay.W057", True)

    shop.ALLOWED_HOSTS = [".shop.example"]
    assert ids() == []


def test_hosts_that_django_admits_while_developing_need_not_be_listed(shop):
    put(shop, HOST="http://127.0.0.1:8100")
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": "http://127.0.0.1:8000/wxpay/notify/"}
    shop.ALLOWED_HOSTS, shop.DEBUG = [], True

    assert ids() == []


def test_redirect_to_https_that_would_answer_notifications(shop):
    shop.SECURE_SSL_REDIRECT = True
    assert ids() == ["W058"]

    shop.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert ids() == []


def test_redirect_to_https_that_leaves_our_address_alone(shop):
    shop.SECURE_SSL_REDIRECT, shop.SECURE_REDIRECT_EXEMPT = True, [r"^wxpay/notify/"]

    assert ids() == []


class EmptyUrls:
    urlpatterns = ()


def test_addresses_that_are_not_included(shop):
    shop.ROOT_URLCONF = EmptyUrls

    assert "E035" in ids()


# Surroundings


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nowhere.Checkout", ["E040"]),
        (f"{__name__}.Missing", ["E040"]),
        (f"{__name__}.NotACheckout", ["E040"]),
        ("django_wxpay.checkout.Checkout", []),
    ],
)
def test_checkout(shop, path, expected):
    shop.WXPAY = {**shop.WXPAY, "CHECKOUT": path}

    assert ids() == expected


def test_beat_that_lacks_a_task(shop):
    del shop.celery.conf.beat_schedule["wxpay: poll orders"]

    (message,) = problems()
    assert (message.id, "django_wxpay.tasks.poll_orders" in message.msg) == ("wxpay.W041", True)


def test_other_schedulers_keep_their_entries_elsewhere(shop):
    shop.celery.conf.beat_schedule = {}
    shop.celery.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"

    assert ids() == []


def test_project_without_a_celery_app(shop, monkeypatch):
    monkeypatch.setattr(surroundings, "current_app", Celery("default", set_as_current=False))

    assert ids() == ["W042"]


def test_tasks_that_run_eagerly(shop):
    shop.celery.conf.task_always_eager = True

    assert ids() == ["W059"]


def test_naive_times(shop):
    shop.USE_TZ = False

    assert ids() == ["E043"]


@pytest.fixture
def database(monkeypatch):
    """The settings of the default database, to be spoiled."""
    known = connections["default"].settings_dict
    monkeypatch.setitem(known, "OPTIONS", dict(known.get("OPTIONS") or {}))
    monkeypatch.setitem(known, "CONN_MAX_AGE", known["CONN_MAX_AGE"])
    return known


def test_database_that_connects_anew_each_time(shop, database):
    database["CONN_MAX_AGE"] = 0
    assert ids() == ["W046"]

    database["OPTIONS"]["pool"] = True
    assert ids() == []


@pytest.mark.parametrize(("name", "expected"), [("transaction_mode", "W044"), ("init_command", "W045")])
def test_sqlite_without_what_makes_it_safe(shop, database, monkeypatch, name, expected):
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    database["OPTIONS"].update(transaction_mode="IMMEDIATE", init_command="PRAGMA journal_mode=WAL")
    assert ids() == []

    del database["OPTIONS"][name]
    assert ids() == [expected]


class WritesElsewhere:
    """Reads from `default`, writes to `writer`; rows of one model may go elsewhere still."""

    elsewhere = None

    def db_for_read(self, model, **hints):
        return "default"

    def db_for_write(self, model, **hints):
        return "audit" if model is self.elsewhere else "writer"


@pytest.fixture
def writer(shop, monkeypatch):
    """A second database that the router names for our writes, with nothing set that makes it safe."""
    for alias in ("writer", "audit"):
        wrapper = connections["default"].copy(alias)
        wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": {}, "CONN_MAX_AGE": 0, "HOST": "db.example"}
        monkeypatch.setattr(connections._connections, alias, wrapper, raising=False)
    shop.DATABASE_ROUTERS = [f"{__name__}.WritesElsewhere"]
    return connections["writer"]


@pytest.mark.scenario("S59")
@pytest.mark.parametrize(
    ("vendor", "expected"), [("sqlite", ["W044", "W045", "W046"]), ("postgresql", ["W046", "W048"])]
)
def test_database_that_only_the_router_names_is_looked_at(writer, vendor, expected):
    writer.vendor = vendor

    problems = [*databases.check_databases(), *databases.check_database_timeout()]
    assert [message.id.removeprefix("wxpay.") for message in problems] == expected
    assert all("'writer'" in message.msg for message in problems)


@pytest.mark.scenario("S59")
def test_collation_of_a_database_that_only_the_router_names_is_looked_at(writer, monkeypatch):
    writer.vendor = "mysql"
    monkeypatch.setattr(databases, "_collations", lambda connection: ["utf8mb4_general_ci"])

    (message,) = databases.check_collation(databases=["writer"])
    assert (message.id, "'writer'" in message.msg) == ("wxpay.W047", True)


@pytest.mark.scenario("S59")
def test_rows_of_one_transaction_in_several_databases(writer, monkeypatch):
    monkeypatch.setattr(WritesElsewhere, "elsewhere", Operation)

    message = databases.check_databases()[0]
    assert (message.id, "(audit, writer)" in message.msg) == ("wxpay.E060", True)


@pytest.mark.django_db
def test_collation_of_the_test_database_is_exact(shop):
    assert ids(databases=["default"]) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["utf8mb4_general_ci"], ["W047"]),
        (["utf8mb4_bin"], ["W047"]),
        (["utf8mb4_nopad_bin", "utf8mb4_0900_bin"], []),
    ],
)
def test_collation_that_is_blind(shop, monkeypatch, names, expected):
    monkeypatch.setattr(connections["default"], "vendor", "mysql")
    monkeypatch.setattr(databases, "_collations", lambda connection: names)

    assert [message.id for message in databases.check_collation(databases=["default"])] == [
        f"wxpay.{number}" for number in expected
    ]


# Before a deployment


def deployment():
    return ids(tags=["wxpay"], include_deployment_checks=True)


@pytest.fixture
def private(shop, tmp_path):
    """A place for statements that nobody serves."""
    where = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "bills")}}
    shop.STORAGES = {**shop.STORAGES, "wxpay_bills": where}
    return where["OPTIONS"]


def test_good_settings_may_be_deployed(shop, private, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"connect_timeout": 3} | OPTIONS)

    assert deployment() == []


OPTIONS = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"HOST": "http://127.0.0.1:8100"}, "E051"),
        ({"HOST": "https://apihk.mch.weixin.qq.com.evil.example"}, "E051"),
        ({"TRANSPORT": HTTPAdapter()}, "E051"),
        ({"BACKUP_HOSTS": ["apihk.mch.weixin.qq.com", "sandbox.example"]}, "E051"),
        ({"TRUST_UNSIGNED_ERRORS": True}, "W052"),
    ],
)
def test_settings_for_developing_are_not_for_money(shop, changes, expected):
    put(shop, **changes)

    assert expected in deployment()
    assert expected not in ids()


@pytest.mark.parametrize("host", ["apihk.mch.weixin.qq.com", "https://apius.mch.weixin.qq.com/"])
def test_hosts_of_wechat_pay_may_be_deployed(shop, host):
    put(shop, HOST=host)

    assert "E051" not in deployment()


@pytest.mark.parametrize(
    "changes", [{"HOST": "http://apihk.mch.weixin.qq.com"}, {"BACKUP_HOSTS": ["http://apius.mch.weixin.qq.com"]}]
)
def test_host_without_https_is_not_for_money(shop, changes):
    put(shop, **changes)

    assert "E061" in deployment()
    assert ids() == []


@pytest.mark.parametrize("host", [None, "http://127.0.0.1:8100"])
def test_notify_address_without_https_is_not_for_money_whatever_excuses_it(shop, host):
    put(shop, HOST=host)
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": "http://shop.example/wxpay/notify/"}
    shop.DEBUG = True

    assert deployment().count("E032") == 1
    assert "E032" not in ids()

    shop.DEBUG = False
    assert deployment().count("E032") == 1


def test_notify_address_that_cannot_even_be_parsed_is_told_before_a_deployment_too(shop):
    shop.WXPAY = {**shop.WXPAY, "NOTIFY_URL_BASE": "http://[shop.example/wxpay/notify/"}

    assert "E031" in deployment()


def test_statements_in_the_default_storage(shop):
    assert "W062" in deployment()


def test_statements_in_a_private_place(shop, private):
    assert "W062" not in deployment()


@pytest.mark.parametrize("root", ["MEDIA_ROOT", "STATIC_ROOT"])
def test_statements_below_what_is_served(shop, private, root):
    setattr(shop, root, Path(private["location"]).parent)

    assert "W062" in deployment()


def test_nothing_to_deploy(shop):
    shop.WXPAY = {"NOTIFY_URL_BASE": "https://shop.example/wxpay/notify/"}

    assert "E050" in deployment()


def test_database_without_a_limit_for_connecting(shop, monkeypatch):
    connection = connections["default"]
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setitem(connection.settings_dict, "HOST", "db.example")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    assert "W048" in deployment()

    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"connect_timeout": 3})
    assert "W048" not in deployment()


# Guards


@pytest.mark.scenario("S52")
def test_no_check_shows_a_secret(shop):
    secrets = {
        "PRIVATE_KEY": pem(OURS).replace("PRIVATE", "SECRET"),
        "APIV3_KEY": "only-thirty-one-bytes-of-secret",
        "APIV3_KEY_PREVIOUS": "previous-secret",
        "PUBLIC_KEY": "pasted-into-the-wrong-place-secret",
        "PUBLIC_KEY_ID": "another-secret",
        "SERIAL_NO": "serial-secret",
        "MCHID": "mchid-secret",
        "HOST": "https://user:secret@/",
    }
    put(shop, **secrets)

    shown = " ".join(f"{message.msg} {message.hint}" for message in problems())

    assert len(problems()) >= 7
    for secret in secrets.values():
        assert secret not in shown


def test_every_id_is_used_by_one_check_and_explained_in_the_documents():
    numbers = [number[1:] for number in checks.TABLE]
    source = "".join(path.read_text() for path in Path(checks.__file__).parent.glob("*.py") if path.stem != "messages")
    explained = re.findall(r"^\| `wxpay\.([EW]\d{3})` \|", DOCS.read_text(), re.MULTILINE)

    assert len(set(numbers)) == len(numbers)
    assert {number for number in checks.TABLE if f'"{number}"' not in source} == set()
    assert sorted(explained) == sorted(checks.TABLE)


def test_checks_know_every_setting():
    from django_wxpay.checks import merchants

    assert set(conf.MERCHANT_DEFAULTS) <= merchants.KNOWN
    assert {name for names in conf.REQUIRED.values() for name in names} <= merchants.KNOWN


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(("skew", "says"), [(600, "s behind"), (-600, "s ahead of"), (30, None)])
def test_a_clock_that_was_off_when_certificates_were_asked_for_is_told(wxpay_sandbox, skew, says):
    wxpay_sandbox.wechat.set_clock(skew=skew)
    with contextlib.suppress(WxPayError):
        certificates.refresh("default")
    problems = [message for message in run_checks(databases=["default"]) if message.id == "wxpay.W053"]
    assert len(problems) == (says is not None)
    assert says is None or says in problems[0].msg
