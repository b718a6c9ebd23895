"""Whether there is room to write, and errors that say that there is none."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from core import room


def test_a_full_database_is_told_from_other_failures(tmp_path: Path) -> None:
    """SQLite itself refuses every page more, as it does when the disk has none."""
    with closing(sqlite3.connect(tmp_path / "small.sqlite3")) as small:
        small.execute("CREATE TABLE row (text)")
        small.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError, match="full") as caught:
            small.execute("INSERT INTO row VALUES (?)", ["x" * 100_000])
    error = OperationalError("database or disk is full")
    error.__cause__ = caught.value
    assert room.is_full_error(error)


@pytest.mark.django_db
def test_another_failure_of_the_database_is_none() -> None:
    with pytest.raises(Exception) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")
    assert not room.is_full_error(caught.value)


def test_postgresql_says_it_by_its_code() -> None:
    inner = RuntimeError("could not extend file")
    inner.sqlstate = "53100"  # type: ignore[attr-defined]
    error = OperationalError("could not extend file")
    error.__cause__ = inner
    assert room.is_full_error(error)
    assert not room.is_full_error(OperationalError("server closed the connection"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_file_that_finds_no_room_is_such_an_error(number: int) -> None:
    assert room.is_full_error(OSError(number, os.strerror(number)))
    assert not room.is_full_error(OSError(errno.EACCES, "no"))


def test_it_is_full_below_what_one_checkpoint_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(room, "database_folder", lambda: tmp_path)
    monkeypatch.setattr(room, "free_bytes", lambda _folder: room.LEAST_BYTES - 1)
    assert room.is_full()
    monkeypatch.setattr(room, "free_bytes", lambda _folder: room.LEAST_BYTES)
    assert not room.is_full()


def test_a_database_elsewhere_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "database_folder", lambda: None)
    assert not room.is_full()
