from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0020_give_up_refund")]

    operations = [
        AddIndexGently("contract", models.Index(fields=["state", "next_poll_at"], name="wxpay_contract_state")),
        AddIndexGently("order", models.Index(fields=["state", "created_at"], name="wxpay_order_state")),
        AddIndexGently("refund", models.Index(fields=["state", "created_at"], name="wxpay_refund_state")),
        AddIndexGently("notification", models.Index(fields=["state", "next_try_at"], name="wxpay_notification_state")),
        AddIndexGently("transition", models.Index(fields=["delivered_at"], name="wxpay_transition_delivered")),
    ]
