"""PostgreSQL: Django indexes unique text a second time, for LIKE. Nobody asks so for an open key, each write keeps it."""

from django.db import migrations

MODELS = ("operation", "discrepancy")


def forwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in _models(apps):
            name = schema_editor._create_index_name(model._meta.db_table, ["open_key"], suffix="_like")
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")


def backwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in _models(apps):
            schema_editor.execute(schema_editor._create_like_index_sql(model, model._meta.get_field("open_key")))


def _models(apps):
    return [apps.get_model("django_wxpay", name) for name in MODELS]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0025_indexes_that_nothing_asks_for")]

    operations = [migrations.RunPython(forwards, backwards)]
