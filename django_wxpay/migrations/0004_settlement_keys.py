"""Payouts are known by their days of trade too: one batch may have several records of one wallet and currency."""

from django.db import migrations

AT_ONCE = 1000


def _rewrite(apps, schema_editor, key_of):
    rows = apps.get_model("django_wxpay", "Settlement").objects.using(schema_editor.connection.alias)
    last = 0
    while portion := list(rows.filter(pk__gt=last, state="SETTLED").order_by("pk")[:AT_ONCE]):
        last = portion[-1].pk
        for row in portion:
            row.key = key_of(row)
        rows.bulk_update(portion, ["key"])


def _what(row):
    return f"{row.wallet_region}/{row.currency}"


def _with_days(row):
    return f"{row.batch_id}/{_what(row)}/{row.trade_start_date:%Y%m%d}-{row.trade_end_date:%Y%m%d}"


def forwards(apps, schema_editor):
    _rewrite(apps, schema_editor, _with_days)


def backwards(apps, schema_editor):
    """The first record of a batch gets the key it had; further ones, which the code before overwrote, keep theirs."""
    seen = set()

    def without_days(row):
        known = f"{row.batch_id}/{_what(row)}" if row.batch_id else f"{row.trade_start_date:%Y%m%d}/{_what(row)}"
        whose = (row.mchid, row.sub_mchid, known)
        if whose in seen:
            return _with_days(row)
        seen.add(whose)
        return known

    _rewrite(apps, schema_editor, without_days)


class Migration(migrations.Migration):

    dependencies = [("django_wxpay", "0003_settlement_records")]

    operations = [migrations.RunPython(forwards, backwards)]
