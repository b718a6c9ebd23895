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
