from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_wxpay', '0013_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='operation',
            name='secret_digest',
            field=models.CharField(blank=True, default='', editable=False, max_length=64),
        ),
    ]
