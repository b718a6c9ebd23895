"""Transactions that write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def write_transaction() -> Iterator[None]:
    """An atomic block that will write.

    SQLite takes its write lock at the start (BEGIN IMMEDIATE): a read that turns into a write midway fails at once
    with "database is locked", however long the busy time-out. Readers keep the deferred default.
    Source: https://www.sqlite.org/lang_transaction.html section 2.2.
    Transaction: joins an outer one; build rows before you enter, keep it under 100 ms.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    connection.ensure_connection()  # the mode is set when a connection opens
    wrapper: Any = connection
    before = wrapper.transaction_mode
    wrapper.transaction_mode = "IMMEDIATE"
    try:
        with transaction.atomic():
            wrapper.transaction_mode = before
            yield
    finally:
        wrapper.transaction_mode = before
