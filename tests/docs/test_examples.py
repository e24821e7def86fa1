"""The examples that the pages print: executed where they are marked so, else compiled."""

import os
import subprocess
import sys

import pytest

from .blocks import DOCS, PAGES, ROOT, code_blocks, steps

README = ROOT / "README.md"
ALL_PAGES = [*PAGES, *([README] if README.exists() else [])]
EXAMPLE_SECONDS = 120
OF_THIS_RUN = ("PYTEST_", "WXPAY_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "CACHE_URL", "DJANGO_")


def _name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("document", ALL_PAGES, ids=_name)
def test_python_examples_compile(document):
    for line, text in code_blocks(document, "python"):
        compile("\n" * (line - 1) + text, _name(document), "exec")


def test_the_examples_for_a_shops_own_tests_pass(tmp_path):
    page = DOCS / "how-to" / "test-your-shop.md"
    examples = [step.text for step in steps(page) if step.marker == "example"]
    assert examples
    conftest = next(text for _, text in code_blocks(page, "python") if "pytest_plugins" in text)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_the_page.py").write_text("\n\n".join(examples))
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nDJANGO_SETTINGS_MODULE = tests.settings\npythonpath = {ROOT}\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # A run of its own: it must not meet the databases, queues and workers of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_RUN)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=EXAMPLE_SECONDS
    )
    assert run.returncode == 0, run.stdout + run.stderr
