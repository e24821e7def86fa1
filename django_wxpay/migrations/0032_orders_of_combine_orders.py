from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0031_combine_orders")]

    operations = [
        AddIndexGently("order", models.Index(fields=["combine_order"], name="wxpay_order_combine_order")),
        AddIndexGently("order", models.Index(fields=["payee"], name="wxpay_order_payee")),
    ]
