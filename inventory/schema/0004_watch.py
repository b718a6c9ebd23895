import core.ids
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hosts', '0001_initial'),
        ('inventory', '0003_details'),
    ]

    operations = [
        migrations.CreateModel(
            name='Watcher',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=200)),
                ('alive_until', models.DateTimeField(db_index=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Watch',
            fields=[
                ('source', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='watch', serialize=False, to='hosts.source')),
                ('token', models.PositiveIntegerField(default=0)),
                ('since', models.DateTimeField(null=True)),
                ('watcher', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='watches', to='inventory.watcher')),
            ],
        ),
    ]
