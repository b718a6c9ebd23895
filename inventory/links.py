"""Which datastore a disk lies on and which switch a NIC is plugged into, as one host names them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Model

from drivers.types import DiskFact, NicFact
from hosts.diff import DatabaseId, database_id, id_column
from hosts.facts import digest, text
from hosts.models import Source
from networks.models import VirtualSwitch
from storage.models import DatastoreMount


@dataclass(slots=True)
class HostLinks:
    """One host's names for its datastores and switches."""

    pools: dict[str, DatabaseId] = field(default_factory=dict)
    paths: list[tuple[str, DatabaseId]] = field(default_factory=list)  # each ends with a slash
    switches: dict[str, DatabaseId] = field(default_factory=dict)  # managed ones: a bare bridge is no network
    bridges: dict[str, DatabaseId] = field(default_factory=dict)
    _digest: str = ""

    @property
    def digest(self) -> str:
        """Changes when a link may."""
        if not self._digest:
            self.paths.sort(key=lambda item: (-len(item[0]), item[0]))
            named = (sorted(named.items()) for named in (self.pools, self.switches, self.bridges))
            self._digest = digest((self.paths, *named))
        return self._digest

    def datastore_of(self, disk: DiskFact) -> DatabaseId | None:
        """By pool name for a volume of a pool, else by the longest path that holds it. Ask after `digest`."""
        if disk.source_type == "volume":
            return self.pools.get(text(disk.source.partition("/")[0], 255))
        for path, store in self.paths:
            if disk.source.startswith(path):
                return store
        return None

    def switch_of(self, nic: NicFact) -> DatabaseId | None:
        """By network name; a NIC on a bare bridge belongs to the switch that stands on that bridge."""
        if nic.network:
            return self.switches.get(text(nic.network, 255))
        return self.bridges.get(text(nic.bridge, 64)) if nic.bridge else None


NO_LINKS = HostLinks()


class Links:
    """The links of every host of a source, loaded in two queries when the first is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hosts: dict[DatabaseId, HostLinks] | None = None

    def of(self, host: DatabaseId) -> HostLinks:
        if self._hosts is None:
            self._hosts = self._load()
        return self._hosts.get(host, NO_LINKS)

    def _load(self) -> dict[DatabaseId, HostLinks]:
        hosts: defaultdict[DatabaseId, HostLinks] = defaultdict(HostLinks)
        for host, name, path, store in self._rows(DatastoreMount, "name", "path", id_column("datastore_id")):
            hosts[host].pools[name] = store
            if path.strip("/"):
                hosts[host].paths.append((path.rstrip("/") + "/", store))
        for host, name, bridge, switch, managed in self._rows(
            VirtualSwitch, "name", "bridge", id_column("id"), "managed"
        ):
            if managed:
                hosts[host].switches[name] = switch
            if bridge:
                hosts[host].bridges[bridge] = switch
        return dict(hosts)

    def _rows(self, model: type[Model], *columns: str) -> list[tuple[Any, ...]]:
        statement = (
            f"SELECT {id_column('host_id')}, {', '.join(columns)} FROM {model._meta.db_table} "  # noqa: S608
            "WHERE missing_since IS NULL AND host_id IN (SELECT id FROM hosts_host WHERE source_id = %s) "
            "ORDER BY name, id"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [database_id(self._source.pk)])
            return list(cursor.fetchall())
