"""Storage is read within bounds, whatever a pool does, and what is known of it stays known."""

import threading
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from drivers.errors import NotFound, NotSupported, Rejected, Unreachable
from drivers.libvirt import collect_storage
from drivers.libvirt.collect_storage import KEPT_S, LONGEST_VOLUME, Storage, read_pools
from drivers.libvirt.raw import RawPool, RawVolume
from drivers.libvirt.reader import Reader
from tests.unit.drivers.libvirt.fakes import FakeConnection, answer, reader_of


def pool(name: str, xml: Any = "<pool/>", *, active: bool = True, autostart: bool = False) -> Any:
    return SimpleNamespace(UUIDString=answer(name), XMLDesc=answer(xml), active=active, autostart=autostart)


def lister(*pools: Any) -> Any:
    def listed(flags: int) -> list[Any]:
        active = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        autostart = flags & libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART
        return [one for one in pools if (one.active or not active) and (one.autostart or not autostart)]

    return listed


def host(*pools: Any) -> Reader:
    return reader_of(listAllStoragePools=lister(*pools))


def test_pools() -> None:
    reader = host(pool("a", autostart=True), pool("b", active=False))
    assert read_pools(reader) == {
        "a": RawPool("<pool/>", active=True, autostart=True, cut=True),
        "b": RawPool("<pool/>", active=False, autostart=False, cut=True),
    }
    assert reader.complete
    assert reader.connection.calls == 3 + 2, "three lists, two pools"  # type: ignore[attr-defined]


def test_a_host_without_storage_has_no_pools_and_is_whole() -> None:
    reader = reader_of(listAllStoragePools=answer(NotSupported("no")))
    assert read_pools(reader) == {}
    assert reader.complete


def test_a_pool_that_cannot_be_read_leaves_the_others() -> None:
    reader = host(pool("a", Rejected("no")), pool("b", NotFound("gone")), pool("c"))
    assert set(read_pools(reader)) == {"c"}
    assert not reader.complete


# Volumes

Found = tuple[tuple[RawVolume, ...], bool]


class Store:
    """A host's pools: for each its volumes' names with their descriptions. Each description takes a second."""

    def __init__(self, **pools: Any) -> None:
        self.pools = pools
        self.now = 0.0
        self.asked: list[str] = []
        self.lines = 0
        self.refusal: Exception | None = None
        self.storage = Storage(self.open_line, lambda: self.now)

    def open_line(self) -> Any:
        self.lines += 1
        if self.refusal:
            raise self.refusal
        listed = lister(*(pool(name, active=name != "off") for name in self.pools))
        return FakeConnection(listAllStoragePools=listed, storagePoolLookupByUUIDString=self.pool)

    def pool(self, uuid: str) -> Any:
        return SimpleNamespace(listAllVolumes=lambda _flags: self.listed(uuid))

    def listed(self, uuid: str) -> list[Any]:
        volumes = self.pools[uuid]
        if callable(volumes):
            volumes = volumes()
        return [self.volume(*item) for item in answer(volumes)().items()]

    def volume(self, name: str, xml: Any) -> Any:
        def describe(_flags: int) -> Any:
            self.now += 1
            self.asked.append(name)
            return answer(xml)()

        return SimpleNamespace(name=answer(name), key=answer(f"/{name}"), XMLDesc=describe)

    def read(self, budget_s: float = 100) -> dict[str, Found]:
        """The volumes of each pool, and whether there may be more."""
        self.storage.start(budget_s)
        assert self.storage._thread
        self.storage._thread.join(30)
        return self.found()

    def found(self) -> dict[str, Found]:
        pools, _whole = self.storage.found()
        return {uuid: (raw.volumes, raw.cut) for uuid, raw in zip(self.storage._pools, pools, strict=False)}


def raw(*names: str, xml: str = "<volume/>") -> tuple[RawVolume, ...]:
    return tuple(RawVolume(name, f"/{name}", xml) for name in names)


def many(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "<volume/>")


def test_volumes_of_all_pools_on_one_line() -> None:
    store = Store(a=many("y", "x"), b=many("z"), c={}, off=many("o"))
    assert store.read() == {"a": (raw("x", "y"), False), "b": (raw("z"), False), "c": ((), False), "off": ((), True)}
    assert store.lines == 1
    assert store.storage.found()[1]


def test_an_image_that_cannot_be_described_is_listed_and_one_that_vanished_is_not() -> None:
    store = Store(a={"x": Rejected("broken header"), "y": NotFound("gone"), "z": "<volume/>"})
    assert store.read() == {"a": ((*raw("x", xml=""), *raw("z")), False)}


def test_an_endless_description_of_an_image_is_not_kept() -> None:
    store = Store(a={"x": f"<volume>{'x' * LONGEST_VOLUME}</volume>", "z": "<volume/>"})
    assert store.read() == {"a": ((*raw("x", xml=""), *raw("z")), False)}


@pytest.mark.parametrize("error", [Rejected("no"), NotFound("gone"), NotSupported("no")])
def test_a_pool_that_cannot_be_listed_keeps_what_was_known_and_leaves_the_others(error: Exception) -> None:
    store = Store(a=many("x"), b=many("y"))
    store.read()
    store.pools["a"] = error
    store.now += 1
    assert store.read() == {"a": (raw("x"), True), "b": (raw("y"), False)}
    assert store.storage.found()[1], "the pools are all there"


def test_a_broken_line_keeps_what_was_known_for_a_while() -> None:
    store = Store(a=many("x"))
    store.read()
    store.refusal = Unreachable("cut")
    store.now += 1
    assert store.read() == {"a": (raw("x"), True)}
    store.now += KEPT_S
    assert store.storage.found() == ((), False)


def test_who_was_never_heard_of_is_not_whole() -> None:
    store = Store(a=many("x"))
    store.refusal = Unreachable("cut")
    assert store.read() == {}
    assert store.storage.found() == ((), False)


def test_what_is_gone_from_a_pool_is_forgotten() -> None:
    store = Store(a=many("x", "y"))
    store.read()
    store.pools["a"] = many("y")
    assert store.read() == {"a": (raw("y"), False)}
    store.pools = {"b": {}}
    assert store.read() == {"b": ((), False)}


def test_a_slow_pool_is_complete_after_some_reads_and_then_renewed_from_the_oldest() -> None:
    store = Store(a=many("v", "w", "x", "y", "z"))
    assert [store.read(budget_s=2)["a"][1] for _time in range(3)] == [True, True, False]
    assert store.asked == ["v", "w", "x", "y", "z", "v"]
    store.read(budget_s=2)
    assert store.asked[-2:] == ["w", "x"]


def test_a_slow_pool_leaves_half_of_the_time_to_the_others() -> None:
    names = "abcdefghi"
    store = Store(one=many(*names), two=many(*(name + "2" for name in names)))
    found = store.read(budget_s=10)
    assert [len(volumes) for volumes, _cut in found.values()] == [5, 5]
    assert all(cut for _volumes, cut in found.values())


def test_more_volumes_than_are_read_cut_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_storage, "MOST_VOLUMES", 2)
    monkeypatch.setattr(collect_storage, "MOST_VOLUMES_OF_HOST", 3)
    found = Store(a=many("x", "y", "z"), b=many("x", "y"), c={}, d=many("x")).read()
    assert found == {"a": (raw("x", "y"), True), "b": (raw("x"), True), "c": ((), False), "d": ((), True)}


def test_storage_that_hangs_is_left_alone_until_it_answers() -> None:
    reached, released = threading.Event(), threading.Event()

    def hang() -> dict[str, Any]:
        reached.set()
        released.wait(30)
        return many("x")

    store = Store(a=many("x"), b=many("y"))
    store.read()
    store.pools["a"] = hang
    store.storage.start(0.5)
    assert reached.wait(30)
    stuck = store.storage._thread
    assert stuck
    for _time in range(3):
        store.now += 10  # nobody waits any longer
        store.storage.start(0.5)
        assert store.found() == {"a": (raw("x"), True), "b": (raw("y"), True)}
    assert (store.storage._thread, store.lines) == (stuck, 2)
    released.set()
    stuck.join(30)
    assert store.read() == {"a": (raw("x"), False), "b": (raw("y"), False)}
