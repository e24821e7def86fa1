from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0023_refund_sources_and_rates")]

    operations = [
        AddIndexGently(
            "transition", models.Index(fields=["delivered_at", "deliver_after"], name="wxpay_transition_delivery")
        ),
        AddIndexGently(
            "notification", models.Index(fields=["state", "received_at"], name="wxpay_notification_received")
        ),
        AddIndexGently("operation", models.Index(fields=["state", "-id"], name="wxpay_operation_state")),
        AddIndexGently("discrepancy", models.Index(fields=["state", "-id"], name="wxpay_discrepancy_state")),
    ]
