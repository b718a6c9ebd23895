"""How much PostgreSQL collects before it sorts it into the index of texts is said by each transaction that writes."""

from django.db import migrations


def let_transactions_say(_apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER INDEX IF EXISTS search_searchrow_trigrams RESET (gin_pending_list_limit)")


class Migration(migrations.Migration):
    dependencies = [("search", "0003_clusters")]
    operations = [migrations.RunPython(let_transactions_say, migrations.RunPython.noop)]
