import pytest

from django_wxpay.sandbox import create_app
from tests.sandbox.shop import Mailbox, School, Shop


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def app(mailbox):
    app = create_app(sender=mailbox)
    yield app
    app.sandbox.close()


@pytest.fixture
def sandbox(app):
    return app.sandbox


@pytest.fixture
def shop(app):
    return Shop(app)


@pytest.fixture
def institution(app):
    return Shop(app, mode="institution")


@pytest.fixture(params=["direct", "institution"])
def any_shop(app, request):
    return Shop(app, mode=request.param)


@pytest.fixture
def direct_school(app):
    return School(app)


@pytest.fixture(params=["direct", "partner"])
def school(app, request):
    """A merchant of the mainland."""
    return School(app, mode=request.param)
