from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0004_settlement_keys")]

    operations = [
        AddIndexGently(
            "settlement",
            models.Index(fields=["state", "mchid", "sub_mchid", "trade_start_date"], name="wxpay_settlement_waiting"),
        ),
        AddIndexGently(
            "settlement", models.Index(fields=["-trade_start_date", "-id"], name="wxpay_settlement_listed")
        ),
        AddIndexGently("bill", models.Index(fields=["-bill_date", "-id"], name="wxpay_bill_listed")),
        AddIndexGently("order", models.Index(fields=["mchid", "success_time"], name="wxpay_order_success")),
        AddIndexGently("refund", models.Index(fields=["mchid", "success_time"], name="wxpay_refund_success")),
    ]
