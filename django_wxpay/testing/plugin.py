import pytest


@pytest.fixture
def wxpay_sandbox():
    """A fresh `WxpaySandbox`: WeChat Pay in process, with merchants `default` (direct) and `institution`."""
    from .sandbox import running_sandbox  # Django's settings need not be ready when the plugin is loaded

    with running_sandbox() as sandbox:
        yield sandbox
