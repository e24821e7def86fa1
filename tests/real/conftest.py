import os

import pytest
from django.db import connection

from tests.real.world import Postbox, RealSandbox, World


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    sandbox = RealSandbox(tmp_path_factory.mktemp("wechat-pay"), environment)
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def postbox():
    box = Postbox()
    yield box
    box.close()


@pytest.fixture
def world(transactional_db, process_environment, sandbox_process, postbox, settings):
    """The sandbox as a process, this test's database, and shops and workers to start."""
    world = World(sandbox_process, postbox, process_environment)
    settings.WXPAY = world.settings
    yield world
    world.close()


@pytest.fixture
def row_locks(transactional_db):
    """Only where a row can be locked."""
    if connection.vendor == "sqlite":
        pytest.skip(
            "SQLite runs one writing transaction at a time: there is no lock of a row to take out or to wait for"
        )
