"""Pools are read in few round trips, and one that cannot be read spoils no other."""

from types import SimpleNamespace
from typing import Any

import libvirt

from drivers.errors import NotFound, NotSupported, Rejected
from drivers.libvirt.collect_storage import Pools
from drivers.libvirt.raw import RawPool, RawVolume
from drivers.libvirt.reader import Reader
from drivers.libvirt.volumes import Volumes
from tests.unit.drivers.libvirt.fakes import FakeConnection, answer, reader_of

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c33%02d"


def pool(name: str, xml: Any = "<pool/>", *, active: bool = True, autostart: bool = False) -> Any:
    return SimpleNamespace(UUIDString=answer(name), XMLDesc=answer(xml), active=active, autostart=autostart)


def host(*pools: Any) -> Reader:
    def listed(flags: int) -> list[Any]:
        active = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        autostart = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART
        return [one for one in pools if (one.active or not active) and (one.autostart or not autostart)]

    return reader_of(listAllStoragePools=listed)


def read(reader: Reader, volumes: Volumes | None = None) -> tuple[RawPool, ...]:
    pools = Pools(reader, volumes)
    pools.start()
    return pools.read()


def test_pools() -> None:
    reader = host(pool("a", autostart=True), pool("b", active=False))
    one, other = read(reader)
    assert (one.active, one.autostart) == (True, True)
    assert (other.active, other.autostart) == (False, False)
    assert reader.complete
    assert reader.connection.calls == 3 + 2, "three lists, two pools"  # type: ignore[attr-defined]


def test_volumes_join_their_active_pools() -> None:
    volume = SimpleNamespace(name=answer("x"), key=answer("/x"), XMLDesc=answer("<volume/>"))
    store = SimpleNamespace(listAllVolumes=answer([volume]))
    line = FakeConnection(storagePoolLookupByUUIDString=answer(store))
    active, off = read(host(pool("a"), pool("b", active=False)), Volumes(lambda: line))  # type: ignore[arg-type,return-value]
    assert (active.volumes, active.cut) == ((RawVolume("x", "/x", "<volume/>"),), False)
    assert (off.volumes, off.cut) == ((), True)


def test_where_nobody_reads_volumes_a_pool_says_that_it_may_have_some() -> None:
    (one,) = read(host(pool("a")))
    assert (one.volumes, one.cut) == ((), True)


def test_a_host_without_storage_has_no_pools_and_is_whole() -> None:
    reader = reader_of(listAllStoragePools=answer(NotSupported("no")))
    assert read(reader) == ()
    assert reader.complete


def test_a_pool_that_cannot_be_read_leaves_the_others() -> None:
    reader = host(pool("a", Rejected("no")), pool("b", NotFound("gone")), pool("c"))
    assert len(read(reader)) == 1
    assert not reader.complete
