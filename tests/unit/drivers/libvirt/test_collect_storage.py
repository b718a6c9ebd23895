"""Pools and volumes are read within bounds, and one that cannot be read spoils no other."""

import time
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from drivers.errors import DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.libvirt import collect_storage
from drivers.libvirt.collect_storage import read_pools
from drivers.libvirt.raw import RawVolume
from drivers.libvirt.reader import Reader
from tests.unit.drivers.libvirt.fakes import answer, reader_of


def volume(name: str, xml: Any = "<volume/>") -> Any:
    return SimpleNamespace(name=answer(name), key=answer(f"/{name}"), XMLDesc=answer(xml))


def pool(name: str, volumes: Any = (), xml: Any = "<pool/>", *, active: bool = True, autostart: bool = False) -> Any:
    methods = {"UUIDString": answer(name), "XMLDesc": answer(xml), "listAllVolumes": answer(volumes)}
    return SimpleNamespace(**methods, active=active, autostart=autostart)


def host(*pools: Any) -> Reader:
    def listed(flags: int) -> list[Any]:
        active = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        autostart = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART
        return [one for one in pools if (one.active or not active) and (one.autostart or not autostart)]

    return reader_of(listAllStoragePools=listed)


def test_pools_with_their_volumes() -> None:
    reader = host(pool("a", [volume("x"), volume("y")], autostart=True), pool("b", [volume("z")], active=False))
    one, other = read_pools(reader)
    assert (one.active, one.autostart, one.cut) == (True, True, False)
    assert one.volumes == (RawVolume("x", "/x", "<volume/>"), RawVolume("y", "/y", "<volume/>"))
    assert (other.active, other.autostart, other.volumes) == (False, False, ())
    assert reader.complete
    assert reader.connection.calls == 3 + 2 + 1 + 2, "three lists, two pools, one list of volumes, two volumes"  # type: ignore[attr-defined]


def test_a_host_without_storage_has_no_pools_and_is_whole() -> None:
    reader = reader_of(listAllStoragePools=answer(NotSupported("no")))
    assert read_pools(reader) == ()
    assert reader.complete


def test_a_pool_that_cannot_be_read_leaves_the_others() -> None:
    reader = host(pool("a", xml=Rejected("no")), pool("b", xml=NotFound("gone")), pool("c"))
    assert len(read_pools(reader)) == 1
    assert not reader.complete


@pytest.mark.parametrize("error", [Rejected("no"), NotFound("gone"), NotSupported("no")])
def test_a_pool_whose_volumes_cannot_be_listed_says_so_and_spoils_nothing(error: DriverError) -> None:
    reader = host(pool("a", error))
    (one,) = read_pools(reader)
    assert (one.volumes, one.cut, reader.complete) == ((), True, True)


def test_an_image_that_cannot_be_described_is_listed_and_one_that_vanished_is_not() -> None:
    reader = host(pool("a", [volume("x", Rejected("broken header")), volume("y", NotFound("gone"))]))
    (one,) = read_pools(reader)
    assert one.volumes == (RawVolume("x", "/x"),)
    assert (one.cut, reader.complete) == (False, True)


@pytest.mark.parametrize("volumes", [Unreachable("cut"), [volume("x", Unreachable("cut"))]])
def test_a_broken_connection_is_an_error(volumes: Any) -> None:
    with pytest.raises(Unreachable):
        read_pools(host(pool("a", volumes)))


def test_more_volumes_than_are_read_cut_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_storage, "MOST_VOLUMES", 2)
    monkeypatch.setattr(collect_storage, "MOST_VOLUMES_OF_HOST", 3)
    three = [volume(name) for name in "xyz"]
    pools = read_pools(host(pool("a", three), pool("b", three[:2]), pool("c", []), pool("d", three)))
    assert [(len(one.volumes), one.cut) for one in pools] == [(2, True), (1, True), (0, False), (0, True)]


def test_volumes_are_not_read_for_ever() -> None:
    """Each image of an RBD pool costs a connection."""
    (one, empty) = read_pools(host(pool("a", [volume("x")]), pool("b")), volumes_within_s=0)
    assert (one.volumes, one.cut) == ((), True)
    assert not empty.cut


def test_a_slow_pool_leaves_time_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pools = read_pools(host(*(pool(name, [volume(str(n)) for n in range(9)]) for name in "abc")), volumes_within_s=20)
    assert [one.cut for one in pools] == [False, True, True]
    assert all(one.volumes for one in pools)
