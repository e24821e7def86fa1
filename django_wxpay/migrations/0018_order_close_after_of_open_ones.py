import django.utils.timezone
from django.db import migrations, models
from django.db.models import F

FINAL = ('SUCCESS', 'REFUND', 'REFUSED', 'CLOSED', 'REVOKED', 'PAYERROR')


def forwards(apps, schema_editor):
    Order = apps.get_model('django_wxpay', 'Order')
    scheduled = Order.objects.using(schema_editor.connection.alias).filter(next_poll_at__isnull=False)
    scheduled.exclude(state__in=FINAL).update(close_after=F('created_at'))


class Migration(migrations.Migration):
    """What is open has a next query, whose index finds it."""

    dependencies = [
        ('django_wxpay', '0017_order_close_after_index'),
    ]

    operations = [
        migrations.RunPython(forwards, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='order',
            name='close_after',
            field=models.DateTimeField(blank=True, default=django.utils.timezone.now, null=True, verbose_name='not reversed before'),
        ),
    ]
