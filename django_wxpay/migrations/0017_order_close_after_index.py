from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('django_wxpay', '0016_order_close_after'),
    ]

    operations = [
        AddIndexGently(
            model_name='order',
            index=models.Index(fields=['close_after'], name='wxpay_order_close_after'),
        ),
    ]
