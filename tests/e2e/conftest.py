"""The demo's real programs behind a real browser. `SCREENSHOTS=folder` keeps a picture of every page of the story."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from example_project.demo import Demo

expect.set_options(timeout=60_000)  # milliseconds; what is waited for comes, and a busy machine is no fault


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.fail("These tests need Chromium on this machine (Debian: apt-get install chromium).")
    return {
        **browser_type_launch_args,
        "executable_path": chromium,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    with Demo(tmp_path_factory.mktemp("demo") / "state") as demo:
        demo.start()
        yield demo


@pytest.fixture
def picture():
    """`picture(name, page)` keeps a picture of the page as it is, for people to look at."""
    folder = os.environ.get("SCREENSHOTS")

    def keep(name, page):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)

    return keep
