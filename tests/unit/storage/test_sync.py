"""Datastores from mounts."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.types import Technology
from inventory.sync import apply_snapshot
from storage.models import Datastore, DatastoreMount
from tests.facts import GIB, datastore_fact, make_source, snapshot

pytestmark = pytest.mark.django_db


def read(seconds: float, *stores: Any, host: str = "alpha", source: Any = None) -> None:
    apply_snapshot(source or make_source(host), snapshot(seconds, host=host, datastores=stores), 0)


@pytest.mark.parametrize(
    ("seconds", "available", "shown"),
    [
        (30, 500 * GIB - 1000, 500 * GIB),  # noise
        (30, 499 * GIB, 499 * GIB),
        (301, 500 * GIB - 1000, 500 * GIB),  # noise, however long: the daily reading has it
    ],
)
def test_free_space_is_written_when_it_shows(seconds: float, available: int, shown: int) -> None:
    source = make_source()
    read(1, datastore_fact(), source=source)
    read(1 + seconds, datastore_fact(available_bytes=available), source=source)
    assert Datastore.objects.get().available_bytes == shown


def test_a_small_datastore_shows_smaller_changes() -> None:
    source = make_source()
    read(1, datastore_fact(capacity_bytes=GIB, available_bytes=GIB // 2), source=source)
    read(2, datastore_fact(capacity_bytes=GIB, available_bytes=GIB // 2 - GIB // 50), source=source)
    assert Datastore.objects.get().available_bytes == GIB // 2 - GIB // 50


def test_a_folder_that_grows_stays_the_same_datastore() -> None:
    source = make_source()
    read(1, datastore_fact(), source=source)
    before = Datastore.objects.get().pk
    read(2, datastore_fact(capacity_bytes=2000 * GIB), source=source)
    store = Datastore.objects.get()
    assert (store.pk, store.capacity_bytes) == (before, 2000 * GIB)
    read(3, datastore_fact(capacity_bytes=3000 * GIB), source=source)
    assert Datastore.objects.get().pk == before


def test_a_pool_that_points_elsewhere_is_another_datastore() -> None:
    source = make_source()
    read(1, datastore_fact(), source=source)
    read(2, datastore_fact(path="/srv/elsewhere"), source=source)
    assert Datastore.objects.filter(missing_since=None).get().path == "/srv/elsewhere"
    assert Datastore.objects.exclude(missing_since=None).get().path == "/srv/shared"


def test_a_shared_datastore_is_active_while_one_host_has_it() -> None:
    alpha, beta = make_source("alpha"), make_source("beta")
    nfs: dict[str, Any] = {"technology": Technology.NFS, "source": "filer:/x", "path": "/mnt"}
    read(1, datastore_fact(**nfs), source=alpha)
    read(2, datastore_fact(host="beta", active=False, **nfs), host="beta", source=beta)
    store = Datastore.objects.get()
    assert (store.shared, store.active, DatastoreMount.objects.count()) == (True, True, 2)
    read(3, datastore_fact(active=False, **nfs), source=alpha)
    assert not Datastore.objects.get().active


def test_two_hosts_that_tell_different_capacities_of_one_storage_are_a_finding() -> None:
    alpha, beta = make_source("alpha"), make_source("beta")
    nfs: dict[str, Any] = {"technology": Technology.NFS, "source": "filer:/x", "path": "/mnt"}

    def both(seconds: float, of_beta: int) -> list[str]:
        for source, capacity in ((alpha, 100), (beta, of_beta), (alpha, 100)):
            seconds += 1
            store = datastore_fact(host=source.name, capacity_bytes=capacity * GIB, available_bytes=GIB, **nfs)
            read(seconds, store, host=source.name, source=source)
        alpha.refresh_from_db()
        return [finding["message"] for finding in alpha.findings]

    (message,) = both(0, 70)
    assert "100 GiB here, and 70 GiB on another host" in message
    assert Datastore.objects.get().shared, "it stays one: the source names the storage"
    assert both(10, 100) == []


def test_a_storage_that_grew_is_no_disagreement() -> None:
    alpha, beta = make_source("alpha"), make_source("beta")
    nfs: dict[str, Any] = {"technology": Technology.NFS, "source": "filer:/x", "path": "/mnt"}
    for seconds, capacity in ((1, 100), (10, 200)):
        for source in (alpha, beta):
            store = datastore_fact(host=source.name, capacity_bytes=capacity * GIB, **nfs)
            read(seconds, store, host=source.name, source=source)
            source.refresh_from_db()
            assert source.findings == []


def test_equal_names_alone_are_two_datastores() -> None:
    for name in ("alpha", "beta"):
        store = datastore_fact("images", host=name, uuid=f"{len(name)}" * 32)
        read(1, store, host=name, source=make_source(name))
    assert Datastore.objects.count() == 2
