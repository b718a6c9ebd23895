"""Objects are found by their tags, too: a second text, and the index of both."""

from django.db import migrations, models

from core.search import TextIndex

BEFORE = TextIndex("search_searchrow", "text")
AFTER = TextIndex("search_searchrow", "text", "tags")


def drop_before(_apps, schema_editor):
    # SQLite makes the table anew, which drops the triggers.
    if schema_editor.connection.vendor == "sqlite":
        BEFORE.drop()


def create_after(_apps, _schema_editor):
    AFTER.create()


def drop_after(_apps, _schema_editor):
    AFTER.drop()


def create_before(_apps, _schema_editor):
    BEFORE.create()


class Migration(migrations.Migration):
    dependencies = [("search", "0004_pending")]
    operations = [
        migrations.RunPython(drop_before, create_before),
        migrations.AddField("searchrow", "tags", models.TextField(db_default="", default="")),
        migrations.RunPython(create_after, drop_after),
    ]
