"""Asks a host for its storage pools and their volumes, none of which is trusted to answer.

libvirt opens a volume to describe it: a few tens of microseconds for a file, a connection of its own for an RBD image,
and for ever on a file system whose server is gone. Meanwhile it holds the pool, and listing the pools waits for each
of them. So one thread asks for all of it on a connection of its own, while the inventory waits at most BUDGET_S. What
was heard stays known: a slow pool is complete after some reads and then has its oldest descriptions renewed. While the
thread hangs nobody else asks: each call that hangs holds one of the host's few workers.

Source: storageVolGetXMLDesc and virStoragePoolObjListExport of libvirt 9.0.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt

from drivers.errors import DriverError, NotFound, Unreachable
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawPool, RawVolume
from drivers.libvirt.reader import Reader

BUDGET_S = 10.0  # what the storage of a host may add to a read of its inventory
KEPT_S = 3600.0  # pools that were not heard of for so long are not told any more
MOST_POOLS = 2_000
MOST_VOLUMES = 5_000  # of one pool
MOST_VOLUMES_OF_HOST = 20_000
LONGEST_VOLUME = 16 * 1024  # three paths as long as Linux allows fit


def read_pools(reader: Reader) -> dict[str, RawPool]:
    """By UUID, without volumes: three round trips and one per pool."""
    every = reader.raw.listAllStoragePools
    pools = reader.all(every, MOST_POOLS)
    if not pools:
        return {}
    active = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
    autostart = reader.marked(every, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART)
    read = ((pool.UUIDString(), reader.read(pool.XMLDesc, 0)) for pool in pools)
    return {uuid: RawPool(xml, uuid in active, uuid in autostart, cut=True) for uuid, xml in read if xml is not None}


@dataclass(slots=True)
class _Known:
    """What is known of one pool's volumes, by key."""

    described: dict[str, tuple[float, RawVolume]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    more: bool = False  # than we read
    listed_at: float = -math.inf


class Storage:
    """The storage of one host. Thread-safe."""

    def __init__(self, open_line: Callable[[], Connection], now: Callable[[], float] = time.monotonic) -> None:
        self._open_line = open_line
        self._now = now
        self._guard = threading.Lock()
        self._pools: dict[str, RawPool] = {}
        self._whole = False
        self._heard_at = -math.inf
        self._volumes: dict[str, _Known] = {}
        self._thread: threading.Thread | None = None
        self._started_at = self._until = -math.inf

    def start(self, budget_s: float = BUDGET_S) -> None:
        """Begin to read. While an earlier read still hangs, none begins and nobody waits."""
        with self._guard:  # several reads may begin at once
            self._started_at = self._until = self._now()
            if self._thread is None or not self._thread.is_alive():
                self._until += budget_s
                thread = threading.Thread(target=self._read_all, args=(self._until,), daemon=True)
                thread.start()
                self._thread = thread  # only now: somebody may be waiting for it to end

    def found(self) -> tuple[tuple[RawPool, ...], bool]:
        """What is known by the end of the budget, or as soon as all was read; and whether no pool stayed unread."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._until - self._now()))
        with self._guard:
            if self._heard_at < self._now() - KEPT_S:
                return (), False
            return tuple(self._with_volumes(uuid, raw) for uuid, raw in self._pools.items()), self._whole

    def _with_volumes(self, uuid: str, raw: RawPool) -> RawPool:
        known = self._volumes.get(uuid)
        if known is None:
            return raw
        volumes = tuple(known.described[key][1] for key in known.keys if key in known.described)
        cut = known.more or len(volumes) < len(known.keys) or known.listed_at < self._started_at
        return replace(raw, volumes=volumes, cut=cut)

    def _read_all(self, until: float) -> None:
        with suppress(DriverError):  # of the connection: what is known stays
            line = self._open_line()
            try:
                self._read_pools(line)
                self._read_volumes(line, until)
            finally:
                line.close()

    def _read_pools(self, line: Connection) -> None:
        """Raises: DriverError."""
        reader = Reader(line)
        pools = read_pools(reader)
        with self._guard:
            self._pools, self._whole, self._heard_at = pools, reader.complete, self._now()
            active = (uuid for uuid, pool in pools.items() if pool.active)
            self._volumes = {uuid: self._volumes.get(uuid) or _Known() for uuid in active}

    def _read_volumes(self, line: Connection, until: float) -> None:
        """Raises: Unreachable."""
        due = sorted(self._volumes.items(), key=lambda item: item[1].listed_at)
        for left, (uuid, known) in zip(range(len(due), 0, -1), due, strict=True):
            now = self._now()
            if now >= until:
                return
            # One slow pool leaves half of the time to the others.
            self._read_pool(line, uuid, known, until if left == 1 else now + (until - now) / 2)

    def _read_pool(self, line: Connection, uuid: str, known: _Known, until: float) -> None:
        """Raises: Unreachable."""
        try:
            pool = line.call(line.raw.storagePoolLookupByUUIDString, uuid)
            listed = line.call(pool.listAllVolumes, 0)
        except Unreachable:
            raise
        except DriverError:  # stopped or gone meanwhile: not told
            return
        volumes = {str(volume.key()): volume for volume in listed}
        self._note_list(known, list(volumes))
        for key in sorted(known.keys, key=lambda key: known.described.get(key, (-math.inf,))[0]):
            if self._now() >= until:
                return
            self._describe(line, known, key, volumes[key])

    def _note_list(self, known: _Known, keys: list[str]) -> None:
        with self._guard:
            others = sum(len(other.keys) for other in self._volumes.values() if other is not known)
            most = max(0, min(MOST_VOLUMES, MOST_VOLUMES_OF_HOST - others))
            known.keys, known.more = tuple(sorted(keys)[:most]), len(keys) > most
            known.described = {key: known.described[key] for key in known.keys if key in known.described}
            known.listed_at = self._now()

    def _describe(self, line: Connection, known: _Known, key: str, volume: Any) -> None:
        """An image with a broken header can be listed but not described: it is there all the same.

        Raises: Unreachable.
        """
        xml = ""
        try:
            xml = str(line.call(volume.XMLDesc, 0))
        except Unreachable:
            raise
        except NotFound:
            with self._guard:
                known.keys = tuple(other for other in known.keys if other != key)
            return
        except DriverError:
            pass
        with self._guard:
            kept = xml if len(xml) <= LONGEST_VOLUME else ""
            known.described[key] = (self._now(), RawVolume(str(volume.name()), key, kept))
