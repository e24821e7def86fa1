"""What is open and was sent may have been taken: `busy_until` says so from now on, and NULL would deny it."""

from datetime import timedelta

from django.db import migrations
from django.db.models import F

LONG_ENOUGH = timedelta(minutes=10)  # for any time limits in the settings


def forwards(apps, schema_editor):
    Operation = apps.get_model("django_wxpay", "Operation")
    sent = Operation.objects.using(schema_editor.connection.alias).filter(open_key__isnull=False, sent_at__isnull=False)
    sent.update(busy_until=F("sent_at") + LONG_ENOUGH)


class Migration(migrations.Migration):
    dependencies = [("django_wxpay", "0009_operation_busy_until")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
