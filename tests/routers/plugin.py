"""Tests that may touch the database may touch each database that these settings have."""

import pytest
from django.conf import settings


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    databases = [alias for alias, known in settings.DATABASES.items() if not known["ENGINE"].endswith("dummy")]
    for item in items:
        if mark := item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db(**mark.kwargs | {"databases": databases}), append=False)
