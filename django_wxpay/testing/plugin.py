from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sandbox import WxpaySandbox


@pytest.fixture
def wxpay_sandbox() -> Iterator[WxpaySandbox]:
    """A fresh `WxpaySandbox`: WeChat Pay in process, with merchants `default` (direct) and `institution`."""
    from .sandbox import running_sandbox  # Django's settings need not be ready when the plugin is loaded

    with running_sandbox() as sandbox:
        yield sandbox
