"""Volumes of datastores, as their mounts list them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from msgspec.structs import replace

from access.roles import Role
from drivers.types import DatastoreFact, Technology, VolumeFact
from hosts.models import Source
from hosts.services import remove_source
from inventory.sync import apply_snapshot
from storage.models import Datastore, DatastoreMount, Volume
from tests.examples import examples
from tests.factories import make_user
from tests.facts import GIB, datastore_fact, make_source, snapshot, uuid_of, volume_fact

pytestmark = pytest.mark.django_db


@pytest.fixture
def alpha() -> Source:
    return make_source("alpha")


@pytest.fixture
def beta(alpha: Source) -> Source:
    """Of another host that sees the same export."""
    return make_source("beta")


def listed(*volumes: VolumeFact, host: str = "alpha", **values: Any) -> DatastoreFact:
    nfs: dict[str, Any] = {"technology": Technology.NFS, "source": "filer:/x"}
    return datastore_fact(host=host, volumes=volumes, **(nfs | values))


def read(reader: Source, seconds: float, *volumes: VolumeFact, **values: Any) -> list[str]:
    """Apply a read; what it wrote to tables of datastores."""
    store = listed(*volumes, host=reader.name, **values)
    with CaptureQueriesContext(connection) as captured:
        apply_snapshot(reader, snapshot(seconds, host=reader.name, datastores=(store,)), 0)
    statements = [query["sql"] for query in captured.captured_queries]
    return [one for one in statements if "storage_" in one and not one.lstrip("(").startswith(("SELECT", "EXPLAIN"))]


def names() -> list[str]:
    return list(Volume.objects.order_by("name").values_list("name", flat=True))


A, B, C = (volume_fact(f"{letter}.qcow2") for letter in "abc")


def test_a_volume_is_a_row_with_all_that_was_told(alpha: Source) -> None:
    read(alpha, 1, volume_fact("a.qcow2", backing="/srv/base.qcow2"))
    volume = Volume.objects.get()
    assert (volume.name, volume.path, volume.kind, volume.format) == (
        "a.qcow2", "/srv/shared/a.qcow2", "file", "qcow2",
    )  # fmt: skip
    assert (volume.capacity_bytes, volume.allocated_bytes) == (100 * GIB, 40 * GIB)
    assert (volume.backing, volume.datastore) == ("/srv/base.qcow2", Datastore.objects.get())


def test_what_is_new_changed_and_gone_is_written(alpha: Source) -> None:
    read(alpha, 1, A, B)
    kept = Volume.objects.get(name="b.qcow2").pk
    read(alpha, 2, volume_fact("b.qcow2", capacity_bytes=200 * GIB), C)
    assert names() == ["b.qcow2", "c.qcow2"]
    assert Volume.objects.get(pk=kept).capacity_bytes == 200 * GIB


def test_a_datastore_that_lost_all_its_volumes_has_none(alpha: Source) -> None:
    read(alpha, 1, A, B)
    read(alpha, 2)
    assert names() == []


@pytest.mark.parametrize("volumes", [(), (A,), (A, B, C)])
def test_an_unchanged_read_writes_nothing(alpha: Source, volumes: tuple[VolumeFact, ...]) -> None:
    read(alpha, 1, *volumes)
    assert read(alpha, 2, *volumes) == []


def test_a_read_asks_no_more_for_more_volumes(alpha: Source) -> None:
    def queries(seconds: float, count: int) -> int:
        store = listed(*(volume_fact(f"{number}.qcow2") for number in range(count)))
        with CaptureQueriesContext(connection) as captured:
            apply_snapshot(alpha, snapshot(seconds, datastores=(store,)), 0)
        return len(captured)

    queries(1, 0)
    assert queries(2, 3) == queries(3, 60)
    assert queries(4, 60) < queries(5, 61)


@pytest.mark.parametrize(
    ("seconds", "allocated", "shown"),
    [
        (30, 40 * GIB + 1000, 40 * GIB),  # noise
        (30, 41 * GIB, 41 * GIB),
        (30, 3 * GIB, 3 * GIB),
    ],
)
def test_what_a_volume_takes_is_written_when_it_shows(
    alpha: Source, seconds: float, allocated: int, shown: int
) -> None:
    read(alpha, 1, A, B)
    wrote = read(alpha, 1 + seconds, volume_fact("a.qcow2", allocated_bytes=allocated), B)
    assert Volume.objects.get(name="a.qcow2").allocated_bytes == shown
    assert bool(wrote) == (shown != 40 * GIB)


def test_what_one_volume_takes_is_seen_though_another_gave_it_back(alpha: Source) -> None:
    read(alpha, 1, A, B)
    moved = (volume_fact("a.qcow2", allocated_bytes=50 * GIB), volume_fact("b.qcow2", allocated_bytes=30 * GIB - 1))
    assert read(alpha, 2, *moved) == []
    read(alpha, 3602, *moved)
    assert [one.allocated_bytes for one in Volume.objects.order_by("name")] == [50 * GIB, 30 * GIB - 1]


def test_a_raw_file_that_is_written_is_no_news_until_it_shows(alpha: Source) -> None:
    def growing(length: int) -> VolumeFact:
        return volume_fact("a.raw", format="raw", capacity_bytes=length, allocated_bytes=length)

    read(alpha, 1, growing(10 * GIB))
    assert read(alpha, 2, growing(10 * GIB + 4096)) == []
    assert read(alpha, 3, growing(12 * GIB))
    assert Volume.objects.get().capacity_bytes == 12 * GIB


# -- partial readings


@pytest.mark.parametrize("rest", [(), (B,)])
def test_a_cut_list_ends_no_volume(alpha: Source, rest: tuple[VolumeFact, ...]) -> None:
    read(alpha, 1, A, B)
    read(alpha, 2, *rest, volumes_cut=True)
    assert names() == ["a.qcow2", "b.qcow2"]


def test_a_cut_list_still_tells_what_is_new(alpha: Source) -> None:
    read(alpha, 1, A)
    read(alpha, 2, B, volumes_cut=True)
    assert names() == ["a.qcow2", "b.qcow2"]
    assert DatastoreMount.objects.get().volumes_cut
    assert read(alpha, 3, B, volumes_cut=True) == []


def test_a_whole_list_after_a_cut_one_ends_what_it_lacks(alpha: Source) -> None:
    read(alpha, 1, A)
    read(alpha, 2, B, volumes_cut=True)
    read(alpha, 3, A)
    assert names() == ["a.qcow2"]
    assert not DatastoreMount.objects.get().volumes_cut


def test_a_stopped_datastore_keeps_its_volumes(alpha: Source) -> None:
    read(alpha, 1, A)
    read(alpha, 2, active=False, volumes_cut=True)
    assert names() == ["a.qcow2"]
    assert not DatastoreMount.objects.get().volumes_cut


def test_what_was_known_of_a_volume_stays_when_it_cannot_be_read(alpha: Source) -> None:
    read(alpha, 1, A)
    read(alpha, 2, VolumeFact(A.key, A.name, "", "", "", 0, 0))
    volume = Volume.objects.get()
    assert (volume.kind, volume.path, volume.capacity_bytes) == ("file", A.path, 100 * GIB)


def test_a_volume_that_could_never_be_read_is_there_by_name(alpha: Source) -> None:
    read(alpha, 1, VolumeFact(A.key, A.name, "", "", "", 0, 0))
    assert names() == ["a.qcow2"]


def test_an_older_read_changes_nothing(alpha: Source) -> None:
    read(alpha, 5, A)
    read(alpha, 4, B)
    assert names() == ["a.qcow2"]


# -- one datastore, two hosts


def test_two_hosts_tell_of_one_row(alpha: Source, beta: Source) -> None:
    read(alpha, 1, A)
    before = Volume.objects.get().pk
    read(beta, 2, A)
    assert (Volume.objects.get().pk, Datastore.objects.count(), DatastoreMount.objects.count()) == (before, 1, 2)


def test_hosts_that_mount_it_elsewhere_tell_of_one_row(alpha: Source, beta: Source) -> None:
    read(alpha, 1, A)
    read(beta, 2, volume_fact("a.qcow2", "/mnt/b"), path="/mnt/b")
    read(alpha, 3, A)
    assert [(one.key, one.path) for one in Volume.objects.all()] == [("a.qcow2", "/srv/shared/a.qcow2")]
    assert read(beta, 4, volume_fact("a.qcow2", "/mnt/b"), path="/mnt/b") == []


def test_two_hosts_that_disagree_do_not_write_for_ever(alpha: Source, beta: Source) -> None:
    """One's libvirt was not refreshed: its list is an old one."""
    fresh, old = (A, B), (A, C)
    read(alpha, 1, *fresh)
    read(beta, 2, *old)
    assert names() == ["a.qcow2", "b.qcow2", "c.qcow2"]  # what some host reports is there
    for turn in range(3):
        assert read(alpha, 3 + 2 * turn, *fresh) == []
        assert read(beta, 4 + 2 * turn, *old) == []


def test_the_newest_word_on_a_shared_volume_counts(alpha: Source, beta: Source) -> None:
    read(alpha, 1, A)
    read(beta, 2, A)
    grown = volume_fact("a.qcow2", capacity_bytes=300 * GIB)
    read(beta, 3, grown)
    assert Volume.objects.get().capacity_bytes == 300 * GIB
    read(alpha, 4, grown)
    assert Volume.objects.get().capacity_bytes == 300 * GIB


def test_a_shared_volume_that_was_deleted_is_gone(alpha: Source, beta: Source) -> None:
    for seconds, volumes in ((1, (A, B)), (3, (A,)), (5, (A,))):
        read(alpha, seconds, *volumes)
        read(beta, seconds + 1, *volumes)
    assert names() == ["a.qcow2"]
    assert read(alpha, 7, A) + read(beta, 8, A) == []


def test_a_host_that_lost_its_mount_hides_nothing_for_long(alpha: Source, beta: Source) -> None:
    """Its folder is there and empty; the other one still lists everything, as it did before."""
    read(alpha, 1, A, B)
    read(beta, 2, A, B)
    read(alpha, 3)
    read(beta, 4, A, B)
    assert names() == ["a.qcow2", "b.qcow2"]
    assert read(alpha, 5) + read(beta, 6, A, B) == []


def test_an_old_list_does_not_bring_a_deleted_volume_back(alpha: Source, beta: Source) -> None:
    """A host that was not refreshed lists it still, but cannot read it."""
    read(alpha, 1, A, B)
    read(beta, 2, A, B)
    read(alpha, 3, A)
    read(beta, 4, A, VolumeFact(B.key, B.name, "", "", "", 0, 0))
    assert names() == ["a.qcow2"]


def test_what_a_removed_host_told_of_is_asked_of_the_others(alpha: Source, beta: Source) -> None:
    read(alpha, 1, A, B)
    read(beta, 2, B)
    remove_source(source=alpha, confirmation="alpha", by=make_user(Role.ADMIN))
    read(beta, 3, B)
    assert names() == ["b.qcow2"]
    read(beta, 4)
    assert names() == []


def test_what_a_host_told_of_before_its_pool_went_is_asked_of_the_others(alpha: Source, beta: Source) -> None:
    read(alpha, 1, A, B)
    read(beta, 2, B)
    apply_snapshot(alpha, snapshot(3, datastores=()), 0)
    read(beta, 4, B)
    assert names() == ["b.qcow2"]


def test_a_pool_that_points_elsewhere_takes_its_volumes_along(alpha: Source) -> None:
    read(alpha, 1, A)
    read(alpha, 2, A, source="filer:/y")
    assert Volume.objects.get(datastore__missing_since=None).name == "a.qcow2"


def test_two_pools_of_a_host_on_one_datastore(alpha: Source) -> None:
    def both(seconds: float, *volumes: VolumeFact) -> None:
        stores = (listed(*volumes), listed(*volumes, name="again", path="/srv/shared"))
        apply_snapshot(alpha, snapshot(seconds, datastores=stores), 0)

    both(1, A, B)
    both(2, A)
    both(3, A)
    assert names() == ["a.qcow2"]


LIST = st.lists(st.sampled_from("abcd"), unique=True, max_size=4).map("".join)
EVENT = st.tuples(st.sampled_from(["alpha", "beta"]), LIST, st.sampled_from(["whole", "cut", "gone"]))


class TestEveryOrder(TestCase):
    @settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EVENT, max_size=8), LIST, LIST)
    def test_in_the_end_there_is_what_some_host_lists(self, events: Any, ours: str, theirs: str) -> None:
        sources = {name: make_source(name) for name in ("alpha", "beta")}
        moments = iter(range(1, 100))

        def act(name: str, letters: str, how: str) -> list[str]:
            volumes = [volume_fact(letter) for letter in letters]
            if how == "gone":
                apply_snapshot(sources[name], snapshot(next(moments), host=name), 0)
                return []
            return read(sources[name], next(moments), *volumes, volumes_cut=how == "cut")

        for event in events:
            act(*event)
        for _round in range(3):
            wrote = act("alpha", ours, "whole") + act("beta", theirs, "whole")
        assert names() == sorted({*ours, *theirs})
        assert wrote == []


def test_a_clock_set_back_shuts_no_list_out(alpha: Source, beta: Source) -> None:
    def listing(source: Source, hours: int, *volumes: VolumeFact) -> None:
        told = snapshot(0, host=source.name, datastores=(listed(*volumes, host=source.name),))
        apply_snapshot(source, replace(told, read_started_at=timezone.now() + timedelta(hours=hours)), 0)

    listing(beta, 1, A)
    listing(alpha, 1, A)
    apply_snapshot(alpha, replace(snapshot(0), complete=False, read_started_at=timezone.now()), 0)
    listing(alpha, 0, A, B)
    assert names() == ["a.qcow2", "b.qcow2"]


# -- what does not fit


def test_a_hostile_volume_is_stored_cut_and_told_about(alpha: Source) -> None:
    odd = "\x00\ud800" + "x" * 5000  # NUL and a lone surrogate
    read(alpha, 1, VolumeFact(odd, odd, odd, odd, odd, -1, 1 << 70, odd))
    volume = Volume.objects.get()
    assert (len(volume.key) <= 255, len(volume.name), len(volume.path)) == (True, 255, 1000)
    assert (volume.capacity_bytes, volume.allocated_bytes) == (0, (1 << 63) - 1)
    alpha.refresh_from_db()
    assert len(alpha.findings) == 1
    read(alpha, 2, A)
    alpha.refresh_from_db()
    assert alpha.findings == []


def test_long_keys_stay_apart(alpha: Source) -> None:
    read(alpha, 1, *(volume_fact("x" * 300 + letter) for letter in "ab"))
    assert Volume.objects.count() == 2


def test_what_a_datastore_is_made_of_is_kept(alpha: Source) -> None:
    read(alpha, 1, kind="netfs", format="nfs", servers=("filer",), autostart=True, initiator="iqn.2026-01.x:a")
    assert Datastore.objects.values_list("kind", "details").get() == ("netfs", {"format": "nfs", "servers": ["filer"]})
    uuid = uuid_of("pool shared")
    told = {"autostart": True, "initiator": "iqn.2026-01.x:a", "uuid": uuid}
    assert DatastoreMount.objects.get().details == told
    read(alpha, 2, kind="netfs", format="nfs", servers=("other",))
    assert Datastore.objects.get().details == {"format": "nfs", "servers": ["other"]}
    assert DatastoreMount.objects.get().details == {"uuid": uuid}
