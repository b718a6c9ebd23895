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
        (301, 500 * GIB - 1000, 500 * GIB - 1000),  # noise, but after a while
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
