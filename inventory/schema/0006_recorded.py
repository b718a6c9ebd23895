"""What history recorded last of a guest; and all that is there is read again once, so that history begins with it."""

from django.db import migrations, models


def read_again(apps, schema_editor):
    for app, name in (("hosts", "Host"), ("networks", "VirtualSwitch"), ("storage", "DatastoreMount")):
        apps.get_model(app, name).objects.update(fact_hash="")
    apps.get_model("inventory", "Placement").objects.update(fact_hash="")


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0005_folders"),
        ("hosts", "0005_sightings"),
        ("networks", "0002_port_groups"),
        ("storage", "0003_uploads"),
    ]

    operations = [
        migrations.AddField(
            model_name="guest",
            name="revision_hash",
            field=models.CharField(blank=True, max_length=32, default=""),
            preserve_default=False,
        ),
        migrations.RunPython(read_again, migrations.RunPython.noop),
    ]
