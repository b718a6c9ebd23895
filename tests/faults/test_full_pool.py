"""A host's datastore is full: each task says so in a sentence, and leaves nothing half made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory.acts.define import submit_guest_clone
from inventory.acts.devices import create_disk
from inventory.acts.snapshots import create_snapshot
from lab.hosts import init_pid
from lab.processes import run
from operations.models import Job
from storage.acts import submit_volume_create, submit_volume_upload
from tests.faults.scene import LOCAL, MIB, Scene, disk_of, fill, fill_up, names_of_snapshots, own_name
from tests.stack import Product, wait_until

ROOM_MIB = 24
POOL = "small"
PATH = "/var/lib/libvirt/small"
NO_ROOM = "not enough room"
BALLAST = "ballast.img"


@pytest.fixture
def scene(product: Product) -> Iterator[Scene]:
    """A host with a second datastore of a few MiB."""
    scene = Scene(product, product.lab.hosts[0])
    inside = ["nsenter", "--target", str(init_pid(product.lab.place, scene.real.name)), "--mount", "--pid"]
    scene.inside(PATH).mkdir(exist_ok=True)
    run([*inside, "mount", "-t", "tmpfs", "-o", f"size={ROOM_MIB}m", "tmpfs", PATH])
    scene.real.virsh("pool-create-as", POOL, "dir", "--target", PATH)
    try:
        scene.read()
        yield scene
    finally:
        for name in [name for name in scene.real.guests() if name.startswith("tight")]:
            forget_guest(scene, name)
        scene.real.virsh("pool-destroy", POOL)
        run([*inside, "umount", "--lazy", PATH])
        scene.read()


def forget_guest(scene: Scene, name: str) -> None:
    if scene.real.guests()[name] != "shutoff":
        scene.real.virsh("destroy", name)
    scene.real.virsh("undefine", name, "--snapshots-metadata")


class Ballast:
    """Leaves no room in the datastore, and nobody has told Guesthouse."""

    def __init__(self, scene: Scene) -> None:
        self.file = scene.inside(f"{PATH}/{BALLAST}")

    def __enter__(self) -> Path:
        fill_up(self.file)
        assert os.statvfs(self.file).f_bavail == 0, "the fault: there is no room"
        return self.file

    def __exit__(self, *_error: object) -> None:
        self.file.unlink()


def require_refused(scene: Scene, job: Job, before: list[str]) -> None:
    ended = scene.end(job, "failed")
    assert NO_ROOM in ended.message
    assert scene.volumes(POOL) == sorted([*before, BALLAST]), "nothing half made is left"


@pytest.mark.parametrize("kind", [{"format": "qcow2"}, {"format": "raw", "preallocate": True}], ids=["qcow2", "whole"])
def test_a_new_volume(scene: Scene, kind: dict[str, Any]) -> None:
    store, before, name = scene.store(POOL), scene.volumes(POOL), own_name("vol")

    def ask() -> Job:
        return submit_volume_create(datastore=store, name=name, capacity_bytes=8 * MIB, by=scene.boss, **kind)

    with Ballast(scene):
        require_refused(scene, ask(), before)
    scene.end(ask())
    assert scene.volumes(POOL) == sorted([*before, name])


def test_an_upload(scene: Scene, settings: Any) -> None:
    settings.UPLOAD_DIR = scene.stack.folder / "uploads"
    store, before, name = scene.store(POOL), scene.volumes(POOL), own_name("sent")
    content = os.urandom(8 * MIB)
    with Ballast(scene):
        job = submit_volume_upload(upload=scene.send(content), datastore=store, name=name, by=scene.boss)
        require_refused(scene, job, before)
    scene.end(submit_volume_upload(upload=scene.send(content), datastore=store, name=name, by=scene.boss))
    assert scene.inside(f"{PATH}/{name}").read_bytes() == content


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_clone(scene: Scene, kind: str) -> None:
    store, before, local = scene.store(POOL), scene.volumes(POOL), scene.volumes()
    name, copy_name = f"tight-{own_name('orig')}", f"tight-{own_name('copy')}"
    guest = scene.make_guest(name, megabytes=8, format=kind)
    source = disk_of(guest)
    if kind == "raw":
        fill(scene, source, 8)

    def ask() -> Job:
        return submit_guest_clone(guest=guest, name=copy_name, datastore=store, by=scene.boss)

    with Ballast(scene):
        require_refused(scene, ask(), before)
        assert copy_name not in scene.real.guests()
    scene.end(ask())
    assert scene.real.guests()[copy_name] == "shutoff"
    for one in (copy_name, name):
        forget_guest(scene, one)
    assert scene.inside(source).stat()
    for one in set(scene.volumes()) - set(local):
        assert f"{LOCAL}/{one}" == source
        scene.real.virsh("vol-delete", one, "--pool", "local")


def test_a_snapshot_with_memory_and_a_disk_for_a_running_guest(scene: Scene) -> None:
    name = f"tight-{own_name('run')}"
    guest = scene.make_guest(name, megabytes=8, start=True, store=POOL, format="qcow2")
    before = scene.volumes(POOL)
    with Ballast(scene):
        require_refused(scene, create_snapshot(guest=guest, name="one", memory=True, by=scene.boss), before)
        assert names_of_snapshots(scene, guest) == []
        require_refused(
            scene,
            create_disk(guest=guest, datastore=scene.store(POOL), capacity_bytes=8 * MIB, by=scene.boss),
            before,
        )
        wait_until(lambda: scene.real.guests()[name] == "running", "it runs on")
    scene.end(create_snapshot(guest=guest, name="one", memory=True, by=scene.boss))
    assert names_of_snapshots(scene, guest) == ["one"]
    assert scene.real.guests()[name] == "running"
