"""Open files of the processes that hold sessions: as many as their sources may need."""

from __future__ import annotations

import resource

# What one source takes of its helper process: its connection, the pipe that wakes it, an ssh with its socket and pipe,
# and as much again while it is replaced.
FILES_PER_SOURCE = 12
FILES_OF_A_PROCESS = 128


def files_for(sources: int) -> int:
    return sources * FILES_PER_SOURCE + FILES_OF_A_PROCESS


def raise_file_limit(needed: int) -> int:
    """For this process and the helpers it starts, as far as is allowed; how many it may open now at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
