"""The index of texts. Without PostgreSQL's extension pg_trgm there is none, and search reads every text."""

from django.db import migrations

from core.search import TextIndex

INDEX = TextIndex("search_searchrow", "text")


def create(_apps, _schema_editor):
    INDEX.create()


def drop(_apps, _schema_editor):
    INDEX.drop()


class Migration(migrations.Migration):
    dependencies = [("search", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
