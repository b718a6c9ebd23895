"""Opening a source's session: only in workers and commands that say so, never in a page."""

from collections.abc import Iterator
from contextlib import contextmanager

from drivers.isolation import RemoteSession, default_pool
from hosts.models import Connection
from hosts.validation import resolve_endpoint


@contextmanager
def open_session(connection: Connection, *, deadline_s: float = 30.0) -> Iterator[RemoteSession]:
    """The source's session in a process that can be killed; `deadline_s` bounds the opening and each call.

    Raises: DriverError.
    """
    with default_pool().session(resolve_endpoint(connection), deadline_s=deadline_s) as session:
        yield session
