from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_wxpay', '0026_operation_pattern_index'),
    ]

    operations = [
        migrations.AddField(
            model_name=name,
            name='contradicted_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        )
        for name in ('contract', 'order', 'refund')
    ]
