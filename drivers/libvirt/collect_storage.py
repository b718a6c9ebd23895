"""Asks a host for its storage pools."""

from __future__ import annotations

from dataclasses import replace

import libvirt

from drivers.libvirt.raw import RawPool
from drivers.libvirt.reader import Reader
from drivers.libvirt.volumes import NOTHING, Volumes

MOST_POOLS = 2_000


class Pools:
    """One pass over a host's pools. Their volumes are read while the caller reads something else."""

    def __init__(self, reader: Reader, volumes: Volumes | None) -> None:
        self._reader = reader
        self._volumes = volumes
        self._pools: dict[str, RawPool] = {}

    def start(self) -> None:
        """Three round trips and one per pool."""
        reader, every = self._reader, self._reader.raw.listAllStoragePools
        pools = reader.all(every, MOST_POOLS)
        if not pools:
            return
        active = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
        autostart = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART)
        for pool in pools:
            uuid, xml = pool.UUIDString(), reader.read(pool.XMLDesc, 0)
            if xml is not None:
                self._pools[uuid] = RawPool(xml, uuid in active, uuid in autostart, cut=True)
        if self._volumes is not None:
            self._volumes.start(uuid for uuid, pool in self._pools.items() if pool.active)

    def read(self) -> tuple[RawPool, ...]:
        """The pools with their volumes, as far as these are known by now."""
        found = self._volumes.found() if self._volumes is not None and self._pools else {}
        return tuple(
            replace(raw, volumes=volumes, cut=cut)
            for uuid, raw in self._pools.items()
            for volumes, cut in [found.get(uuid, NOTHING)]
        )
