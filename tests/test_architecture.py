"""The house is as it is drawn: imports point one way, two floors move money, each scenario has its test."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import django_wxpay
from django_wxpay import models

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "django_wxpay"
SERVER = {"django", "rest_framework", "celery"}

# Which parts each part may import beside itself; "django" stands for all of SERVER. What is not here may not.
MAY_IMPORT = {
    "client": {""},
    "sandbox": {""},
    "signals": {"django"},
    "exceptions": {"client"},
    "checkout": {"client", "django"},
    "conf": {"client", "django"},
    "beat": {"django"},
    "broker": set(),
    "models": {"django"},
    "migrations": {"models", "django"},
    "engine": {"client", "models", "conf", "exceptions", "signals", "django"},
    "services": {"engine", "client", "models", "conf", "exceptions", "checkout", "signals", "django"},
    "checks": {"client", "models", "conf", "beat", "django"},
    "api": {"services", "engine", "models", "conf", "exceptions", "checkout", "client.errors", "django"},
    "admin": {"services", "engine", "models", "conf", "exceptions", "client.errors", "client.money", "django"},
    "management": {"services", "engine", "models", "conf", "exceptions", "client.errors", "django"},
    "tasks": {"services", "engine", "beat", "django"},
    "urls": {"api", "django"},
    "apps": {"checks", "engine", "services", "django"},
    "testing": {"services", "engine", "models", "conf", "sandbox", "django"},
    "": set(),
}
# Which others it may name in annotations, for editors and type checkers alone: they are not there when it runs.
MAY_NAME = {"signals": {"models"}, "exceptions": {"models"}, "checkout": {"models"}}
ENTRY_POINTS = ("admin", "api", "management", "tasks", "urls")
# Django imports an app's `apps.py` before its models; pytest imports a plugin before Django is set up.
LATE_IMPORTS = {"apps.py", "testing/plugin.py"}

# The promises of the products that are there. Later products bring S49 to S51 in full, and S71 to S73.
SCENARIOS = {f"S{number:02}" for number in (*range(1, 49), *range(52, 71))}
WITH_OPPOSITE = {"S02", "S06", "S13", "S27", "S29", "S36", "S45", "S53", "S54", "S60", "S61", "S69"}


@cache
def tree(path):
    return ast.parse(path.read_text())


def sources(*parts):
    for path in sorted(PACKAGE.rglob("*.py")):
        if not parts or part_of(path) in parts:
            yield path


def shown(path):
    return path.relative_to(PACKAGE).as_posix()


def part_of(path):
    """The layer or module at the top of the package that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def modules_of(node, path):
    """The full names of what an import statement brings in, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    base = list(path.relative_to(ROOT).parts[:-1])
    base = base[: len(base) - node.level + 1] if node.level else []
    module = ".".join([*base, *filter(None, [node.module])])
    inside = ROOT / module.replace(".", "/")
    return [
        f"{module}.{name.name}" if (inside / f"{name.name}.py").exists() or (inside / name.name).is_dir() else module
        for name in node.names
    ]


def imports_of(path):
    return [
        (node, module)
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in modules_of(node, path)
    ]


def is_for_types_only(path, node):
    return any(
        isinstance(one, ast.If) and isinstance(one.test, ast.Name) and one.test.id == "TYPE_CHECKING"
        for one in tree(path).body
        if node in ast.walk(one)
    )


def allows(part, module, for_types_only=False):
    head, _, rest = module.partition(".")
    if head in SERVER:
        return "django" in MAY_IMPORT[part]
    if head != "django_wxpay" or rest.partition(".")[0] == part:
        return True
    may = MAY_IMPORT[part] | (MAY_NAME.get(part, set()) if for_types_only else set())
    return any(rest == allowed or rest.startswith(f"{allowed}.") for allowed in may if allowed) or (
        not rest and "" in may
    )


def test_nothing_imports_upwards():
    wrong = [
        f"{shown(path)}:{node.lineno} {module}"
        for path in sources()
        for node, module in imports_of(path)
        if not allows(part_of(path), module, is_for_types_only(path, node))
    ]
    assert wrong == []


def _unannotated(function):
    of = function.args
    own = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
    lacking = [one.arg for one in own if one.annotation is None and one.arg not in ("self", "cls")]
    return lacking + (["return"] if function.returns is None else [])


def test_every_function_that_a_shop_or_a_product_builds_on_says_what_it_takes_and_returns():
    typed = ("checkout", "conf", "engine", "exceptions", "models", "services", "signals", "testing")
    untyped = [
        f"{shown(path)}:{node.lineno} {node.name}: {', '.join(lacking)}"
        for path in sources(*typed)
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (lacking := _unannotated(node))
    ]
    assert untyped == []


def test_every_part_of_the_house_has_its_place_in_the_picture():
    assert {part_of(path) for path in sources()} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("part", "module", "expected"),
    [
        ("models", "django_wxpay.services.orders", False),
        ("models", "django_wxpay.client", False),
        ("engine", "django_wxpay.services.refunds", False),
        ("models", "django_wxpay.engine.facts", False),
        ("client", "django.conf", False),
        ("sandbox", "django_wxpay.client.crypto", False),
        ("sandbox", "django_wxpay", True),
        ("services", "django_wxpay.api", False),
        ("admin", "django_wxpay.client", False),
        ("admin", "django_wxpay.client.errors", True),
        ("services", "django_wxpay.client.orders", True),
    ],
)
def test_the_guard_itself_tells_up_from_down(part, module, expected):
    assert allows(part, module) is expected


def test_no_import_hides_inside_a_function():
    hidden = [
        f"{shown(path)}:{node.lineno} {module}"
        for path in sources()
        if shown(path) not in LATE_IMPORTS
        for node, module in imports_of(path)
        if module.startswith("django_wxpay") and node not in tree(path).body and not is_for_types_only(path, node)
    ]
    assert hidden == []


def test_modules_do_not_import_each_other_in_circles():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources()}
    edges = {name: set() for name in names}
    for path in sources():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        edges[name] |= {
            module for node, module in imports_of(path) if module in names and not is_for_types_only(path, node)
        } - {name}
    while free := {name for name, needed in edges.items() if not needed & edges.keys()}:
        edges = {name: needed for name, needed in edges.items() if name not in free}
    assert sorted(edges) == []


def test_only_engine_and_services_open_transactions_and_lock_rows():
    words = {"atomic", "on_commit", "select_for_update"}
    wrong = [
        f"{shown(path)}:{node.lineno} {node.attr}"
        for path in sources()
        if part_of(path) not in ("engine", "services", "migrations")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in words
    ]
    assert wrong == []


def test_the_engine_names_no_product():
    names = {*models.Order.Product.values, "Contract", "Order", "Refund", "papay", "micropay"}
    named = [
        f"{shown(path)}:{node.lineno}"
        for path in sources("engine")
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Constant) and node.value in names)
    ]
    assert named == []


def test_only_engine_and_services_call_the_client():
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path in sources(*ENTRY_POINTS, "models", "checks")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("client", "quick_client")
        and isinstance(node.value, ast.Name)
        and node.value.id == "conf"
    ]
    assert wrong == []


def test_the_client_works_where_there_is_no_django():
    script = (
        "import sys\n"
        "for name in ('django', 'rest_framework', 'celery'): sys.modules[name] = None\n"
        "import django_wxpay.client, django_wxpay.client.notifications, django_wxpay.client.bills\n"
        "from django_wxpay.client import Client, Identity, KeyRing"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["client", "models", "engine", "services", "admin", "api", "testing", "sandbox"])
def test_exported_names_are_there_and_in_order(name):
    module = __import__(f"django_wxpay.{name}", fromlist=["__all__"])
    exported = list(getattr(module, "__all__", []))
    assert [one for one in exported if not hasattr(module, one)] == []
    assert len(set(exported)) == len(exported)


def test_the_package_itself_only_tells_its_version():
    assert {name for name in vars(django_wxpay) if name.isidentifier() and not name.startswith("__")} <= {
        part for part in MAY_IMPORT if part
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", django_wxpay.__version__)


@cache
def marked():
    """Scenario -> the names of its tests, read from the marks of functions and modules."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        whole = [node for node in tree(path).body if isinstance(node, ast.Assign) and _is_named(node, "pytestmark")]
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = " ".join(map(ast.unparse, [*node.decorator_list, *whole]))
                for scenario in re.findall(r"scenario\('(S\d\d)'\)", marks):
                    found.setdefault(scenario, []).append(node.name)
    return found


def _is_named(assignment, name):
    return [one.id for one in assignment.targets if isinstance(one, ast.Name)] == [name]


def test_every_scenario_has_a_test():
    assert SCENARIOS - marked().keys() == set()


def test_every_proof_by_taking_out_includes_its_opposite():
    opposite = re.compile(r"opposite|would_be|agrees_the_old")
    proved = {scenario for scenario, names in marked().items() if any(map(opposite.search, names))}
    assert WITH_OPPOSITE - proved == set()


def test_the_repository_holds_no_key_and_no_path_of_a_machine():
    secret = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{200}|(?<![\w.])/(?:home|Users)/\w+/")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name] or [*sources()]  # an archive has no git
    texts = {path: path.read_bytes().decode(errors="ignore") for path in files if path.is_file()}
    assert [path.name for path, text in texts.items() if secret.search(text)] == []
