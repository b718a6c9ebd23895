"""Asks a host for its storage pools and their volumes.

A volume's description makes the host look at the volume itself: a few tens of microseconds for a file, a connection
of its own for an RBD image. So volumes are read last, and no longer than `VOLUMES_WITHIN_S`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import libvirt

from drivers.errors import DriverError, NotFound, Unreachable
from drivers.libvirt.raw import RawPool, RawVolume
from drivers.libvirt.reader import Reader

MOST_POOLS = 2_000
MOST_VOLUMES = 5_000  # of one pool
MOST_VOLUMES_OF_HOST = 20_000
VOLUMES_WITHIN_S = 10.0


def read_pools(reader: Reader, volumes_within_s: float = VOLUMES_WITHIN_S) -> tuple[RawPool, ...]:
    """Three round trips and one per pool; then one per active pool and one per volume."""
    every = reader.raw.listAllStoragePools
    pools = reader.all(every, MOST_POOLS)
    if not pools:
        return ()
    active = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
    autostart = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART)
    read = [(pool, pool.UUIDString(), reader.read(pool.XMLDesc, 0)) for pool in pools]
    known = [(pool, RawPool(xml, uuid in active, uuid in autostart)) for pool, uuid, xml in read if xml is not None]
    volumes = _Volumes(reader, volumes_within_s)
    return tuple(volumes.of(pool, raw) if raw.active else raw for pool, raw in known)


class _Volumes:
    """The volumes of one host's pools. What cannot be read is said of the pool and spoils nothing else."""

    def __init__(self, reader: Reader, within_s: float) -> None:
        self._call = reader.call
        self._until = time.monotonic() + within_s
        self._left = MOST_VOLUMES_OF_HOST

    def of(self, pool: Any, raw: RawPool) -> RawPool:
        now = time.monotonic()
        # One slow pool leaves half of the time to the others.
        until = now + (self._until - now) / 2
        try:
            listed = self._call(pool.listAllVolumes, 0)
        except Unreachable:
            raise
        except DriverError:
            return replace(raw, cut=True)
        most = min(MOST_VOLUMES, self._left)
        volumes = []
        cut = len(listed) > most
        for volume in listed[:most]:
            if time.monotonic() >= until:
                cut = True
                break
            volumes += self._read(volume)
        self._left -= len(volumes)
        return replace(raw, volumes=tuple(volumes), cut=cut)

    def _read(self, volume: Any) -> list[RawVolume]:
        """An image with a broken header can be listed but not described: it is there all the same."""
        name, key = str(volume.name()), str(volume.key())
        try:
            return [RawVolume(name, key, str(self._call(volume.XMLDesc, 0)))]
        except NotFound:
            return []
        except Unreachable:
            raise
        except DriverError:
            return [RawVolume(name, key)]
