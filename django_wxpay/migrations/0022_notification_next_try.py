from django.db import migrations, models

from ._operations import DropFieldIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('django_wxpay', '0021_open_rows_indexes'),
    ]

    operations = [
        DropFieldIndexGently(
            'notification',
            'next_try_at',
            models.DateTimeField(blank=True, null=True, verbose_name='next try'),
        ),
    ]
