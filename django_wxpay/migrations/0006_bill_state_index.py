from django.db import migrations, models

from ._operations import AddIndexGently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("django_wxpay", "0005_books_indexes")]

    operations = [
        AddIndexGently("bill", models.Index(fields=["state", "-bill_date", "-id"], name="wxpay_bill_state")),
    ]
