"""Connections to PostgreSQL are used again, by whichever thread of the process needs one next."""

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def only_of_servers() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server")


def backend() -> int:
    """The process of the server that this thread's connection has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def backend_of_another_thread() -> int:
    found: list[int] = []

    def ask() -> None:
        found.append(backend())
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def test_a_connection_that_was_given_back_serves_another_thread() -> None:
    """Those that wait take turns."""
    first = backend()
    connection.close()
    wrapper: Any = connection
    waiting = wrapper.pool.get_stats()["pool_size"]
    assert first in {backend_of_another_thread() for _turn in range(waiting)}


def test_one_that_the_server_ended_meanwhile_is_not_given_out() -> None:
    first = backend()
    settings = connection.get_connection_params()
    connection.close()
    plain = {name: settings[name] for name in ("dbname", "user", "host", "port") if settings.get(name)}
    with psycopg.connect(**plain, autocommit=True) as other:
        assert other.execute("SELECT pg_terminate_backend(%s, 5000)", [first]).fetchone() == (True,)
    assert backend_of_another_thread() != first
