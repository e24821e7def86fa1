import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from ._operations import DropFieldIndexGently, RemoveIndexGently


class Migration(migrations.Migration):
    """Each is the beginning of another index, which serves as well, or gave way to one of 0024."""

    atomic = False

    dependencies = [("django_wxpay", "0024_indexes_of_tasks_and_lists")]

    operations = [
        RemoveIndexGently("operation", "wxpay_operation_object"),
        DropFieldIndexGently(
            "refund",
            "order",
            models.ForeignKey(
                "django_wxpay.order", verbose_name="order", on_delete=django.db.models.deletion.PROTECT,
                related_name="refunds", db_index=False,
            ),
        ),
        RemoveIndexGently("transition", "wxpay_transition_delivered"),
        DropFieldIndexGently(
            "transition",
            "deliver_after",
            models.DateTimeField(
                blank=True, default=django.utils.timezone.now, null=True, verbose_name="next delivery"
            ),
        ),
        DropFieldIndexGently(
            "notification",
            "received_at",
            models.DateTimeField(default=django.utils.timezone.now, verbose_name="received"),
        ),
    ]
