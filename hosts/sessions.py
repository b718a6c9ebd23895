"""Opening a source's session: only in workers and commands that say so, never in a page."""

from collections.abc import Iterator
from contextlib import contextmanager

from drivers.errors import HostKeyChanged
from drivers.isolation import RemoteSession, default_pool
from hosts.host_keys import with_fingerprints
from hosts.models import Connection
from hosts.validation import resolve_endpoint


@contextmanager
def open_session(connection: Connection, *, deadline_s: float = 30.0) -> Iterator[RemoteSession]:
    """The source's session in a process that can be killed; `deadline_s` bounds the opening and each call.

    Raises: DriverError.
    """
    endpoint = resolve_endpoint(connection)
    try:
        with default_pool().session(endpoint, deadline_s=deadline_s) as session:
            yield session
    except HostKeyChanged as error:
        raise with_fingerprints(endpoint, error) from error
