"""The reference is complete: what the code has, the pages name; what the pages name, the code has."""

import inspect
import re
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.admin import site
from rest_framework import serializers

from django_wxpay import beat, checkout, conf, exceptions, models, services, signals
from django_wxpay.admin import dashboard
from django_wxpay.api import combine_orders, payees, service_orders, sign_plans, urls
from django_wxpay.api import errors as api_errors
from django_wxpay.client import errors
from django_wxpay.engine.commands import Command
from django_wxpay.sandbox import special
from django_wxpay.testing import WxpaySandbox

from .blocks import DOCS, ROOT

REFERENCE = DOCS / "reference"
WIRE_MODELS = (
    models.Contract, models.PayscorePlan, models.SignPlan, models.ServiceOrder, models.PayeeAuthorization,
    models.CombineOrder, models.Order, models.Refund,
)  # fmt: skip
DRAWN_IN_PART = (
    models.SignPlan,
    models.ServiceOrder,
    models.CombineOrder,
    models.Order,
)  # the usual ways; the page says so
STATEFUL = (
    *WIRE_MODELS, models.Operation, models.Notification, models.Discrepancy, models.Bill, models.Settlement,
)  # fmt: skip
OPEN_STATES = {
    models.Operation: {"PLANNED", "SENT", "UNKNOWN"},
    models.Notification: {"WAITING", "FAILED", "UNHANDLED"},
    models.Discrepancy: {"OPEN"},
    models.Bill: {"PENDING", "FAILED"},
    models.Settlement: {"UNSETTLE"},
    **{model: set(model.State.values) - set(model.FINAL) for model in WIRE_MODELS},
}
FOR_SHOPS = (
    "contracts", "checkout", "payscore", "sign_plans", "service_orders", "payees", "combine_orders", "orders",
    "refunds",
    "bills", "settlements", "certificates", "discrepancies", "timeline",
)  # fmt: skip
INNER = {"record", "is_open", "confirmed", "china_today"}  # public among services, of no use to a shop
ANSWERS = {
    "A sign plan": sign_plans.SignPlanSerializer,
    "Each of its `details`": sign_plans.SignPlanDetailSerializer,
    "A service order": service_orders.ServiceOrderSerializer,
    "A payee": payees.PayeeSerializer,
    "A combined order": combine_orders.CombineOrderSerializer,
    "Each of its `orders`": combine_orders.CombinedPartSerializer,
}
COMPUTED = {
    "launch": "object or null", "pending": "text or null", "sign": "object or null", "payment": "object or null",
    "refundable_amount": "integer",
}  # fmt: skip
TABLE = "Every open state and the rule that ends it"


def page(name):
    return (REFERENCE / name).read_text()


def section(text, heading):
    """The part of a page below a heading, up to the next one of the same rank."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text, re.M | re.S)
    assert found, f"there is no heading {heading!r}"
    return found[2]


def rows(text):
    """The cells of each table row."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("table", ["DEFAULTS", "MERCHANT_DEFAULTS"])
def test_every_setting_is_documented_with_its_default(table):
    documented = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(page("settings.md"))}
    listed = {name: documented.get(name) for name in getattr(conf, table)}
    shown = {name: repr(value).replace("'", '"') for name, value in getattr(conf, table).items()}
    assert listed == shown


def test_every_required_merchant_setting_is_documented():
    text = page("settings.md")
    assert [name for names in conf.REQUIRED.values() for name in names if f"`{name}`" not in text] == []


def test_every_signal_is_documented():
    known = {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)}
    documented = {cells[0].strip("`") for cells in rows(section(page("signals.md"), "The signals"))[1:]}
    assert documented == known


def test_every_error_is_in_the_tree_and_in_the_table():
    text = page("errors.md")
    known = {
        name
        for module in (errors, exceptions, checkout)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    missing = {name for name in known if f"`{name}`" not in text}
    assert missing == set()
    tree = re.search(r"```\n(WxPayError.*?)```", text, re.S)[1]
    family = {name for name in known if issubclass(getattr(errors, name, getattr(exceptions, name, str)), Exception)}
    assert {name for name in family if not re.search(rf"\b{name}\b", tree)} == set()


@pytest.mark.parametrize("model", STATEFUL, ids=lambda model: model.__name__)
def test_every_state_is_explained_under_its_model(model):
    listed = section(page("states.md"), model.__name__)
    explained = {cells[0] for cells in rows(listed)}
    assert set(model.State.values) <= explained


@pytest.mark.parametrize("model", WIRE_MODELS, ids=lambda model: model.__name__)
def test_the_drawing_shows_only_moves_that_are_allowed(model):
    drawn = set(re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+)", section(page("states.md"), model.__name__), re.M))
    allowed = {(str(old), str(new)) for old, following in model.MOVES.items() for new in following}
    assert drawn <= allowed
    if model not in DRAWN_IN_PART:
        assert drawn == allowed


@pytest.mark.parametrize("model", STATEFUL, ids=lambda model: model.__name__)
def test_the_table_has_a_rule_for_every_open_state(model):
    table = rows(section(page("states.md"), TABLE))
    ruled = {state for cells in table if cells[0] == model.__name__ for state in cells[1].split(", ")}
    assert OPEN_STATES[model] <= ruled


def test_the_table_names_settings_services_and_tasks_that_exist():
    merchant_settings = {*conf.DEFAULTS, *conf.MERCHANT_DEFAULTS}
    tasks = {entry["task"].rpartition(".")[2] for entry in beat.BEAT_SCHEDULE.values()}
    for cells in rows(section(page("states.md"), TABLE))[1:]:
        assert set(re.findall(r"`(\w+)`", cells[3])) <= merchant_settings, cells
        for module, function in re.findall(r"`(\w+)\.(\w+)`", cells[4]):
            floor = "engine" if (ROOT / f"django_wxpay/engine/{module}.py").exists() else "services"
            assert callable(getattr(import_module(f"django_wxpay.{floor}.{module}"), function)), cells
        assert set(re.findall(r"\(`(\w+)`\)", cells[4])) <= tasks, cells


def test_every_kind_of_discrepancy_is_explained():
    listed = section((DOCS / "how-to" / "operate.md").read_text(), "Discrepancies")
    assert {cells[0] for cells in rows(listed)} >= set(models.Discrepancy.Kind.values)


def test_every_permission_is_documented():
    text = page("models.md")
    known = [name for model in models.__dict__.values() if hasattr(model, "_meta") for name, _ in _permissions(model)]
    assert [name for name in known if f"`django_wxpay.{name}`" not in text] == []


def _permissions(model):
    return () if model._meta.abstract else model._meta.permissions


def test_every_field_of_a_model_is_documented():
    text = page("models.md")
    common = section(text, "Common to all that WeChat Pay knows")
    hidden = {"id", "open_key", "merchant", "mchid"}
    for model in (*STATEFUL, models.Transition):
        listed = section(text, model.__name__) + (common if model in WIRE_MODELS else "")
        names = {field.name for field in model._meta.get_fields() if field.concrete} - hidden
        assert {name for name in names if f"`{name}`" not in listed} - {"created_at"} == set(), model


def test_the_signatures_of_the_python_api_are_those_of_the_code():
    documented = re.findall(r"^### `(\w+)\.(\w+)(\(.*\))`$", page("python-api.md"), re.M)
    assert len(documented) > 20
    for module, name, signature in documented:
        function = getattr(getattr(services, module), name)
        assert signature == _plain(inspect.signature(function)), f"{module}.{name}"


def test_the_python_api_knows_every_service_for_shops():
    documented = set(re.findall(r"^### `(\w+\.\w+)\(", page("python-api.md"), re.M))
    for name in FOR_SHOPS:
        module = getattr(services, name)
        public = {
            f"{name}.{function}"
            for function, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__.startswith(module.__name__)
            and not function.startswith(("_", "apply_"))
            and function not in INNER
        }
        assert public <= documented, name


def _plain(signature):
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_all_that_a_command_may_have_is_explained():
    listed = section((DOCS / "adding-a-product.md").read_text(), "3. The service: `services/profit_sharing.py`")
    known = {name for name in (*vars(Command), *Command.__annotations__) if not name.startswith("_")}
    assert {cells[0].strip("`") for cells in rows(listed)[1:]} == known


def test_files_that_the_pages_name_exist():
    text = (DOCS / "adding-a-product.md").read_text()
    named = set(re.findall(r"`((?:django_wxpay|tests)/[\w/]+(?:\.py|/))`", text))
    named |= {
        f"django_wxpay/{path}" for path in re.findall(r"`((?:client|models|engine|services|api|admin)/\w+\.py)`", text)
    }
    missing = {path for path in named if not (ROOT / path).exists() and "profit_sharing" not in path}
    assert missing == set()


def test_every_command_is_documented():
    text = page("commands.md")
    known = {path.stem for path in (ROOT / "django_wxpay/management/commands").glob("wxpay_*.py")}
    assert set(re.findall(r"^## `(wxpay_\w+)`$", text, re.M)) == known


def test_every_task_is_documented_with_its_rhythm():
    units = {"s": 1, "min": 60, "h": 3600}
    documented = {}
    for name, every, _ in rows(section(page("commands.md"), "Celery tasks"))[1:]:
        number, unit = every.split()
        documented[name.strip("`")] = float(number) * units[unit]
    schedule = beat.BEAT_SCHEDULE.values()
    assert documented == {entry["task"].rpartition(".")[2]: entry["schedule"] for entry in schedule}


def test_every_card_of_the_dashboard_is_explained():
    listed = section((DOCS / "how-to" / "operate.md").read_text(), "The dashboard")
    assert {cells[0] for cells in rows(listed)[1:]} == {str(subject.title) for subject in dashboard.SUBJECTS}


def test_the_buttons_that_the_page_for_operators_names_exist():
    listed = section((DOCS / "how-to" / "operate.md").read_text(), "What staff can do")
    named = {button for cells in rows(listed)[1:] for button in cells[1].split(", ")}
    models_shown = filter(site.is_registered, apps.get_app_config("django_wxpay").get_models())
    admins = [site.get_model_admin(model) for model in models_shown]
    offered = {str(action.label) for one in admins for action in getattr(one, "staff_actions", ())}
    offered |= {str(one.fetch.label) for one in admins if hasattr(one, "fetch")}
    assert named == offered


def test_the_special_amounts_that_the_page_for_tests_names_exist():
    listed = section((DOCS / "how-to" / "test-your-shop.md").read_text(), "Special amounts")
    named = {int(number) for number in re.findall(r"^\| (\d{7}) \|", listed, re.M)}
    tables = (special.PAYMENTS, special.REFUNDS, special.COLLECTIONS)
    assert named < {one.amount for table in tables for one in table.values()}


def test_what_the_fixture_can_do_exists():
    listed = section((DOCS / "how-to" / "test-your-shop.md").read_text(), "The fixture `wxpay_sandbox`")
    named = {name for cells in rows(listed)[1:] for name in re.findall(r"`(\w+)", cells[0])}
    assert {name for name in named if not hasattr(WxpaySandbox, name)} <= {"wechat"}


def test_every_code_of_the_endpoints_errors_is_documented():
    text = page("api.md")
    known = set(re.findall(r'_content\("([A-Z_]+)"', inspect.getsource(api_errors)))
    assert {code for code in known if f"`{code}`" not in text} == set()


def _type_of(name, field):
    """What the page calls the type of a field."""
    if name in COMPUTED:
        return COMPUTED[name]
    kinds = {
        serializers.BooleanField: "boolean", serializers.IntegerField: "integer", serializers.DateTimeField: "time",
        serializers.ListSerializer: "list", serializers.CharField: "text", serializers.ChoiceField: "text",
    }  # fmt: skip
    [word] = [word for kind, word in kinds.items() if isinstance(field, kind)]
    return f"{word} or null" if field.allow_null else word


@pytest.mark.parametrize("heading", ANSWERS)
def test_every_field_that_an_endpoint_answers_is_in_its_table_with_its_type(heading):
    own = re.split(r"\n#+ ", section(page("api.md"), heading))[0]
    documented = [(cells[0].strip("`"), cells[1]) for cells in rows(own)[1:]]
    assert documented == [(name, _type_of(name, field)) for name, field in ANSWERS[heading]().fields.items()]


@pytest.mark.parametrize("heading", ANSWERS)
def test_every_state_that_an_endpoint_answers_is_in_its_table(heading):
    [meaning] = [cells[2] for cells in rows(section(page("api.md"), heading)) if cells[0] == "`state`"][:1]
    assert re.findall(r"`([A-Z_]+)`", meaning) == ANSWERS[heading].Meta.model.State.values


def test_every_endpoint_is_in_a_table_and_every_table_names_endpoints_that_exist():
    documented = {
        re.sub(r"\{\w+\}", "{}", path)
        for method, path in re.findall(r"`(GET|POST) ([\w-]+/[\w{}/-]*)`", page("api.md"))
    }
    known = {"notify/{}/"}
    for prefix, viewset, _ in urls.router.registry:
        known |= {f"{prefix}/", f"{prefix}/{{}}/"}
        known |= {f"{prefix}/{{}}/{action.url_path}/" for action in viewset.get_extra_actions()}
    assert documented == known
