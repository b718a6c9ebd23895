"""When two hosts' mounts are one datastore.

Network storage is one datastore when technology and source (`server:/export`, target and LUN, pool name) agree: the
source names the thing itself. A directory names only a place in each host's own file tree, so it is one datastore only
when its pool has the same UUID, path and capacity on both hosts: that is how a pool definition is spread to hosts that
mount the same file system, and a local directory defined apart gets another UUID. Everything else is the host's own.

A server named localhost is another one on every host, and says nothing.

The trust domain always counts: a source never joins another domain's datastore.
"""

from __future__ import annotations

import re

from drivers.types import DatastoreFact, Technology
from hosts.facts import digest, is_identity

# What is reached over a network or a fabric and named by its source.
BY_SOURCE = frozenset(
    {
        Technology.NFS,
        Technology.SMB,
        Technology.GLUSTER,
        Technology.ISCSI,
        Technology.FC,
        Technology.RBD,
        Technology.SHEEPDOG,
        Technology.VSTORAGE,
    }
)
BY_ITS_SOURCE = "source:"  # how such an identity begins
BY_DEFINITION = frozenset({Technology.LOCAL, Technology.OTHER})
_LOOPBACK = re.compile(r"(?:localhost(?:\.localdomain)?|ip6-localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")


def datastore_identity(fact: DatastoreFact, host_id: str) -> str:
    """Equal for mounts of one datastore within a trust domain."""
    if fact.technology in BY_SOURCE and fact.source and not _is_its_own_server(fact):
        return f"{BY_ITS_SOURCE}{digest((fact.technology.value, fact.source))}"
    if fact.technology in BY_DEFINITION and fact.path and fact.capacity_bytes > 0 and is_identity(fact.uuid):
        return f"definition:{digest((fact.uuid.lower(), fact.path, fact.capacity_bytes))}"
    return f"host:{host_id.replace('-', '')}:{digest(fact.ref)}"


def _is_its_own_server(fact: DatastoreFact) -> bool:
    return bool(fact.servers) and all(map(_LOOPBACK.fullmatch, fact.servers))
