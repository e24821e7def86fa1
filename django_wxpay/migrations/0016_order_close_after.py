from django.db import migrations, models


class Migration(migrations.Migration):
    """Without the default, which would be written into every row; it is stated in 0015."""

    dependencies = [
        ('django_wxpay', '0015_references_of_sub_merchants'),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='close_after',
            field=models.DateTimeField(blank=True, null=True, verbose_name='not reversed before'),
        ),
    ]
