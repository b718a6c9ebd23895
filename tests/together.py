"""Many threads at once on one real database."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from django.db import connection, connections

T = TypeVar("T")
LOOK_S, LOOKS = 0.02, 1500


@contextmanager
def database_for_threads(folder: Path) -> Iterator[None]:
    """The test database, in a form that threads share as processes do.

    Django's in-memory SQLite is shared by a cache whose locks know no waiting; a file has the locks of production.
    Use inside a test with a transactional database.
    """
    wrapper: Any = connection
    if wrapper.vendor != "sqlite" or not wrapper.is_in_memory_db():
        yield
        return
    wrapper.ensure_connection()
    memory, name = wrapper.connection, wrapper.settings_dict["NAME"]
    file = folder / "threads.sqlite3"
    copy = sqlite3.connect(file)
    memory.backup(copy)
    copy.close()
    wrapper.connection, wrapper.settings_dict["NAME"] = None, str(file)
    try:
        yield
    finally:
        wrapper.close()
        wrapper.connection, wrapper.settings_dict["NAME"] = memory, name


def together(count: int, act: Callable[[int], T]) -> list[T | Exception]:
    """What each of `count` threads got that began at the same moment: a result or an exception."""
    gate = threading.Barrier(count)

    def one(number: int) -> T | Exception:
        try:
            gate.wait(30)
            return act(number)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class Meeting:
    """Each of two threads goes on past its first call only when the other made its own, too, or waits for a lock."""

    def __init__(self) -> None:
        self._here: set[int] = set()
        self._changed = threading.Condition()

    def after(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            answer = act(*args, **kwargs)
            self.wait()
            return answer

        return wrapped

    def wait(self) -> None:
        with self._changed:
            self._here.add(threading.get_ident())
            self._changed.notify_all()
            for _look in range(LOOKS):
                if len(self._here) == 2 or somebody_waits():
                    return
                self._changed.wait(LOOK_S)
        raise AssertionError("The other neither comes nor waits.")


def until_blocked(happened: threading.Event | None = None) -> None:
    """Returns when the other thread waits for what is locked here, or when this event happened."""
    event = happened or threading.Event()
    for _look in range(LOOKS):
        if event.wait(LOOK_S) or somebody_waits():
            return
    raise AssertionError("Nobody waits for what is locked here.")


def somebody_waits() -> bool:
    """Whether the other thread waits for a row. On SQLite it waits for the whole database until this one is done.

    In this database: other tests have theirs on the same server.
    """
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        )
        row = cursor.fetchone()
    return bool(row and row[0])
