"""Which datastore a disk lies on and which switch a NIC is plugged into, as one host names them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from drivers.types import DiskFact, NicFact
from hosts.facts import digest, text
from hosts.models import Source
from networks.models import VirtualSwitch
from storage.models import DatastoreMount


@dataclass(slots=True)
class HostLinks:
    """One host's names for its datastores and switches. `digest` changes when a link may."""

    pools: dict[str, UUID] = field(default_factory=dict)
    paths: list[tuple[str, UUID]] = field(default_factory=list)  # longest first, each ends with a slash
    switches: dict[str, UUID] = field(default_factory=dict)
    bridges: dict[str, UUID] = field(default_factory=dict)
    digest: str = ""

    def finish(self) -> None:
        self.paths.sort(key=lambda item: (-len(item[0]), item[0]))
        self.digest = digest(
            (sorted(self.pools.items()), self.paths, sorted(self.switches.items()), sorted(self.bridges.items()))
        )

    def datastore_of(self, disk: DiskFact) -> UUID | None:
        """By pool name for a volume of a pool, else by the longest path that holds it."""
        if disk.source_type == "volume":
            return self.pools.get(text(disk.source.partition("/")[0], 255))
        return next((store for path, store in self.paths if disk.source.startswith(path)), None)

    def switch_of(self, nic: NicFact) -> UUID | None:
        """By network name; a NIC on a bare bridge belongs to the switch that stands on that bridge."""
        if nic.network:
            return self.switches.get(text(nic.network, 255))
        return self.bridges.get(text(nic.bridge, 64)) if nic.bridge else None


def load_links(source: Source) -> dict[UUID, HostLinks]:
    """The links of every host of a source, in two queries. A host without any gets empty ones on access."""
    links: defaultdict[UUID, HostLinks] = defaultdict(HostLinks)
    mounts = DatastoreMount.objects.filter(host__source=source, missing_since=None)
    for host, name, path, store in mounts.values_list("host_id", "name", "path", "datastore_id"):
        links[host].pools[name] = store
        if path.strip("/"):
            links[host].paths.append((path.rstrip("/") + "/", store))
    switches = VirtualSwitch.objects.filter(host__source=source, missing_since=None)
    for host, name, bridge, switch in switches.values_list("host_id", "name", "bridge", "pk"):
        links[host].switches[name] = switch
        if bridge:
            links[host].bridges[bridge] = switch
    for one in links.values():
        one.finish()
    return links
