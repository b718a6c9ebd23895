"""Whether the server has room to write: what pages say when the disk of the database is full."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

from django.db import connection
from django.utils.translation import gettext as _

# SQLite's log grows to about 4 MiB before it is taken into the database; with less, writing fails now or in a moment.
# Source: https://www.sqlite.org/wal.html section 3 (a checkpoint at 1,000 pages).
LEAST_BYTES = 4 << 20
_FILES = frozenset({errno.ENOSPC, errno.EDQUOT})
# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_DISK_FULL = "53100"


def sentence_full() -> str:
    return _("The server's disk is full, so nothing new is written down. Make room on it; the rest goes on by itself.")


def is_full() -> bool:
    """Whether the next writes will fail, as far as this machine can see. Asks no database."""
    folder = database_folder()
    return folder is not None and free_bytes(folder) < LEAST_BYTES


def is_full_error(error: BaseException | None) -> bool:
    """Whether that, or what it comes from, says that there is no room."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if getattr(error, "sqlstate", None) == _POSTGRESQL_DISK_FULL:
            return True
        if isinstance(error, OSError) and error.errno in _FILES:
            return True
        error = error.__cause__ or error.__context__
    return False


def database_folder() -> Path | None:
    """Where the database's file lies; none for a database of another machine, or one in memory."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or not name.startswith("/"):
        return None
    return Path(name).parent


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
