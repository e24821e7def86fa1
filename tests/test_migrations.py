"""Migrations that change rows: what they do with those that were there before."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection

from django_wxpay.models import Settlement

pytestmark = pytest.mark.django_db
migration = import_module("django_wxpay.migrations.0004_settlement_keys")


def settlement(key, state="SETTLED", batch_id="B1"):
    return Settlement.objects.create(
        merchant="default", mchid="1900000100", key=key, state=state, batch_id=batch_id, currency="HKD",
        wallet_region="CHINA_MAINLAND", trade_start_date="2026-03-01", trade_end_date="2026-03-02",
    )  # fmt: skip


def keys():
    return list(Settlement.objects.order_by("pk").values_list("key", flat=True))


def test_known_payouts_are_known_again_after_the_upgrade(monkeypatch):
    monkeypatch.setattr(migration, "AT_ONCE", 2)
    before = ["B1/CHINA_MAINLAND/HKD", "B2/CHINA_MAINLAND/HKD", "B3/CHINA_MAINLAND/HKD"]
    for key in before:
        settlement(key, batch_id=key[:2])
    settlement("20260301/CHINA_MAINLAND/HKD", state="UNSETTLE", batch_id="")
    migration.forwards(apps, SimpleNamespace(connection=connection))
    assert keys() == [f"B{n}/CHINA_MAINLAND/HKD/20260301-20260302" for n in (1, 2, 3)] + ["20260301/CHINA_MAINLAND/HKD"]
    settlement("B1/CHINA_MAINLAND/HKD/20260303-20260303")
    migration.backwards(apps, SimpleNamespace(connection=connection))
    assert keys()[:3] == before
