"""Migrations that are gentle to large tables do what Django's own would do, there and back."""

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from django_wxpay.models import Contract, Order, Refund, Transition

pytestmark = pytest.mark.django_db(transaction=True)
APP = "django_wxpay"
BEFORE, DROPPED = "0023_refund_sources_and_rates", "0026_operation_pattern_index"


@pytest.fixture
def migrate():
    """Go to a migration; at the end all are applied again."""

    def go(name):
        executor = MigrationExecutor(connection)
        executor.migrate([(APP, name)])

    yield go
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes(APP))


def indexes():
    """{(table, columns): how many indexes}, those of a key among them."""
    found = []
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for model in apps.get_app_config(APP).get_models():
            if model._meta.db_table not in there:  # it came later
                continue
            known = connection.introspection.get_constraints(cursor, model._meta.db_table).values()
            found += [(model.__name__, *one["columns"]) for one in known if one["index"]]
    return sorted(found)


def keys(model):
    with connection.cursor() as cursor:
        known = connection.introspection.get_constraints(cursor, model._meta.db_table).values()
    return sorted((one["columns"][0], one["foreign_key"]) for one in known if one["foreign_key"])


def test_an_index_of_a_field_is_dropped_and_given_back_and_the_foreign_key_stays(migrate):
    migrate(DROPPED)
    now, foreign = indexes(), keys(Refund)
    migrate(BEFORE)
    before = indexes()
    assert ("Transition", "deliver_after") in before and ("Transition", "deliver_after") not in now
    assert ("Notification", "received_at") in before and ("Notification", "received_at") not in now
    if connection.vendor != "mysql":  # which keeps no second index for a foreign key
        assert ("Refund", "order_id") in before and ("Refund", "order_id") not in now
    assert keys(Refund) == foreign == [("order_id", (Order._meta.db_table, "id"))]
    migrate(DROPPED)
    assert (indexes(), keys(Refund)) == (now, foreign)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL builds it aside and leaves a half one")
def test_an_index_whose_building_was_interrupted_is_built_when_the_migration_is_run_again(migrate):
    migrate(DROPPED)
    now = indexes()
    migrate(BEFORE)
    with connection.cursor() as cursor:  # as the interrupted run left it: named, and good for nothing
        cursor.execute(f"CREATE INDEX wxpay_transition_delivery ON {Transition._meta.db_table} (merchant)")
    migrate(DROPPED)
    assert indexes() == now


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL builds it aside and leaves a half one")
@pytest.mark.parametrize("left", ["an index that was never finished", "all but the record that it was done"])
def test_a_constraint_whose_exchange_was_interrupted_is_exchanged_when_the_migration_is_run_again(migrate, left):
    before, exchanged = "0014_operation_digest", "0015_references_of_sub_merchants"
    migrate(before)
    if left.startswith("an index"):
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE INDEX wxpay_contract_sub_reference ON {Contract._meta.db_table} (merchant)")
    else:
        migrate(exchanged)
        MigrationRecorder(connection).record_unapplied(APP, exchanged)
    migrate(exchanged)
    names = unique(Contract) | unique(Order)
    assert names >= {"wxpay_contract_sub_reference", "wxpay_order_sub_reference_attempt"}
    assert not names & {"wxpay_contract_reference", "wxpay_order_reference_attempt"}


def unique(model):
    with connection.cursor() as cursor:
        known = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {name for name, one in known.items() if one["unique"]}
