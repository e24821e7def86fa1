"""DATABASE_ROUTERS: whatever a shop's router says of reading, money is read, locked and written in one database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MONEY_PATHS = {
    "global": ["story", "contracts", "orders", "refunds", "notifications", "quickpay", "references"],
    "mainland": ["payscore", "sign_plans", "service_orders", "payees", "combine_orders", "domestic_refunds"],
}
# `full_clean` of a form looks for related rows where the router says to read; nothing of ours calls it.
OF_FORMS = "odd_words"


@pytest.mark.scenario("S59")
@pytest.mark.parametrize("region", MONEY_PATHS)
@pytest.mark.parametrize("settings", ["lagging", "nowhere"])
def test_the_money_paths_hold_under_a_shops_routers(settings, region):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WXPAY_TEST"))}
    files = [f"tests/services/test_{subject}.py" for subject in MONEY_PATHS[region]]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "tests.routers.plugin",
        "-p",
        "no:cacheprovider",
        "-k",
        f"not {OF_FORMS}",
    ]
    run = subprocess.run(
        [*command, f"--ds=tests.routers.{settings}", *files], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
