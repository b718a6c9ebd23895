"""Taking turns: who writes tags does it alone, so that counts, names and what search finds are as they look."""

from typing import Any

from django.db import connection

from labels.models import Tag


def take_turn() -> None:
    """Nobody else writes tags before the transaction ends; who reads them does not wait, nor does a read of a host.

    Transaction: call it after sources are locked and before any object is. SQLite has one writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {Tag._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")


def on_source_locked(**kwargs: Any) -> None:
    """Nobody puts a tag on what goes with the source.

    Transaction: the one that removes the source.
    """
    take_turn()
