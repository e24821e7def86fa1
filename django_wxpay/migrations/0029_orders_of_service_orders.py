from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0028_payscore")]

    operations = [
        AddIndexGently("order", models.Index(fields=["service_order"], name="wxpay_order_service_order")),
    ]
