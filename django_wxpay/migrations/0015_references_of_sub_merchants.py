from django.db import migrations, models

from ._operations import AddUniqueGently, RemoveUniqueGently


class Migration(migrations.Migration):
    """The new constraint before the old one goes: there is no moment without any."""

    atomic = False

    dependencies = [
        ('django_wxpay', '0014_operation_digest'),
    ]

    operations = [
        AddUniqueGently(
            model_name='contract',
            constraint=models.UniqueConstraint(fields=('mchid', 'sub_mchid', 'reference'), name='wxpay_contract_sub_reference'),
        ),
        RemoveUniqueGently(
            model_name='contract',
            name='wxpay_contract_reference',
        ),
        AddUniqueGently(
            model_name='order',
            constraint=models.UniqueConstraint(fields=('mchid', 'sub_mchid', 'reference', 'attempt'), name='wxpay_order_sub_reference_attempt'),
        ),
        RemoveUniqueGently(
            model_name='order',
            name='wxpay_order_reference_attempt',
        ),
    ]
