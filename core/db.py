"""Transactions that write."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


def after_commit(act: Callable[..., None], *args: Any) -> None:
    """Do something once the open transaction is committed; at once when there is none.

    What fails there is logged and never raised: the rows are written, and whoever wrote them was successful.
    """

    # Django's own log line needs a function with a name; a functools.partial has none and would be raised after all.
    def run() -> None:
        act(*args)

    transaction.on_commit(run, robust=True)


@contextmanager
def write_transaction() -> Iterator[None]:
    """An atomic block that will write.

    SQLite takes its write lock at the start (BEGIN IMMEDIATE): a read that turns into a write midway fails at once
    with "database is locked", however long the busy time-out. Readers keep the deferred default.
    Source: https://www.sqlite.org/lang_transaction.html section 2.2.
    Of one process's threads only one asks for it at a time: SQLite lets waiters sleep and try again in no order, and
    among a hundred of them one may starve until its lease is lost.
    Transaction: joins an outer one; build rows before you enter, keep it under 100 ms.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    connection.ensure_connection()  # the mode is set when a connection opens
    wrapper: Any = connection
    before = wrapper.transaction_mode
    turn = _Turn()
    try:
        wrapper.transaction_mode = "IMMEDIATE"
        with transaction.atomic():
            wrapper.transaction_mode = before
            # The first thing after the commit: what else follows it may wait for a broker, and others want to write.
            transaction.on_commit(turn.end)
            yield
    finally:
        wrapper.transaction_mode = before
        turn.end()


@contextmanager
def pipeline() -> Iterator[None]:
    """Statements inside go to PostgreSQL without waiting for the answers of those before.

    It works on one while the next is prepared. For writes whose results nobody reads: an error comes from a later
    statement or from the end of the block, inside the same transaction. SQLite works in this process: there it does
    nothing.
    Source: https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html
    """
    if connection.vendor == "sqlite":
        yield
        return
    connection.ensure_connection()
    wrapper: Any = connection
    with wrapper.wrap_database_errors, wrapper.connection.pipeline():
        yield


class _Turn:
    """The right to write, among the threads of this process. A fork begins with nobody's turn."""

    lock = threading.Lock()

    def __init__(self) -> None:
        self._held: threading.Lock | None = _Turn.lock
        self._held.acquire()

    def end(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None


def _forget_turns() -> None:
    _Turn.lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_turns)
