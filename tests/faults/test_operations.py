"""kill -9 of the worker in the middle of operations on real hosts: done once, or cleanly undone, and told truly."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inventory.acts.define import submit_guest_delete
from inventory.acts.devices import change_nic, create_disk
from inventory.acts.snapshots import create_snapshot, find_snapshot, revert_snapshot
from inventory.acts.volumes import submit_volume_delete
from inventory.models import Nic
from lab.api import LabGuest
from lab.processes import LabError, wait_for
from networks.acts import NewNetwork, submit_network_create, submit_network_switch
from networks.models import VirtualSwitch
from operations.models import Job
from storage.acts import submit_volume_create, submit_volume_upload
from storage.models import Upload
from tests.faults.scene import (
    LOCAL,
    MIB,
    Scene,
    disk_of,
    forget_snapshots,
    go_on,
    is_at_work,
    names_of_snapshots,
    own_name,
    scene_on,
    stop_qemu,
    sum_of,
)
from tests.faults.under_way import Clone, running_on
from tests.jobs import is_open
from tests.relay import Kind, Procedure, Trap
from tests.stack import Product, wait_until


@pytest.fixture
def scene(product: Product) -> Iterator[Scene]:
    with scene_on(product) as scene:
        yield scene
    product.lab.hosts[0].thaw_libvirtd()


@pytest.fixture(params=["in flight", pytest.param("done, unanswered", marks=pytest.mark.whole)])
def trap_at(request: Any, scene: Scene) -> Callable[..., Trap]:
    """Where it strikes: the host has the call and has not looked at it, or has done it and nobody heard."""

    def arm(procedure: Procedure) -> Trap:
        if request.param == "in flight":
            return scene.relay.arm(Trap(procedure, strike=scene.real.freeze_libvirtd))
        return scene.relay.arm(Trap(procedure, unanswered=True))

    return arm


def strike(scene: Scene, trap: Trap, submit: Callable[[], Job], step: str) -> Job:
    """The worker dies when its call is out; the host goes on when another has taken over. Returns the ended job."""
    job = submit()
    scene.await_sprung(trap, job, step)
    scene.kill_worker_of(job)
    scene.real.thaw_libvirtd()
    return scene.end(job)


# -- calls that are done when they return


def test_a_volume_is_made_once(scene: Scene, trap_at: Callable[..., Trap]) -> None:
    before, name = scene.volumes(), own_name("vol") + ".qcow2"
    trap = trap_at(Procedure.STORAGE_VOL_CREATE_XML)
    ended = strike(
        scene,
        trap,
        lambda: submit_volume_create(datastore=scene.store(), name=name, capacity_bytes=MIB, by=scene.boss),
        "volume",
    )
    assert f"{LOCAL}/{name}" in ended.message
    assert scene.volumes() == sorted([*before, name])
    volume = scene.volume(name)
    scene.end(submit_volume_delete(volume=volume, confirmation=name, by=scene.boss))


def test_a_volume_is_deleted_once(scene: Scene, trap_at: Callable[..., Trap]) -> None:
    before, name = scene.volumes(), own_name("vol") + ".img"
    scene.end(submit_volume_create(datastore=scene.store(), name=name, capacity_bytes=MIB, format="raw", by=scene.boss))
    volume = scene.volume(name)
    trap = trap_at(Procedure.STORAGE_VOL_DELETE)
    strike(scene, trap, lambda: submit_volume_delete(volume=volume, confirmation=name, by=scene.boss), "delete")
    assert scene.volumes() == before


def new_network(scene: Scene, name: str) -> NewNetwork:
    return NewNetwork(host=scene.host, name=name, mode="isolated", address="198.51.100.1/24")


def switch_of(scene: Scene, name: str) -> VirtualSwitch:
    rows = VirtualSwitch.objects.select_related("host__source").filter(host=scene.host, name=name, missing_since=None)
    return wait_until(rows.first, f"network {name} is read")  # type: ignore[no-any-return]


def test_a_network_is_made_once_and_deleted_once(scene: Scene, trap_at: Callable[..., Trap]) -> None:
    before, name = scene.networks(), own_name("net")
    trap = trap_at(Procedure.NETWORK_DEFINE_XML)
    strike(scene, trap, lambda: submit_network_create(new=new_network(scene, name), by=scene.boss), "create")
    assert scene.networks() == sorted([*before, name])
    assert name in scene.real.virsh("net-list", "--name").split(), "it is started, too"
    switch = switch_of(scene, name)
    scene.mend()
    trap = trap_at(Procedure.NETWORK_UNDEFINE)
    strike(
        scene,
        trap,
        lambda: submit_network_switch(switch=switch, action="delete", confirmation=name, by=scene.boss),
        "delete",
    )
    assert scene.networks() == before


@pytest.mark.parametrize(
    ("procedure", "step"),
    [(Procedure.DOMAIN_UNDEFINE_FLAGS, "undefine"), (Procedure.STORAGE_VOL_DELETE, "delete vda")],
    ids=["the guest", "its disk"],
)
def test_a_guest_is_deleted_with_its_disk(
    scene: Scene, trap_at: Callable[..., Trap], procedure: Procedure, step: str
) -> None:
    before, name = scene.volumes(), own_name("gone")
    guest = scene.make_guest(name)
    disk = disk_of(guest)
    trap = trap_at(procedure)
    strike(scene, trap, lambda: submit_guest_delete(guest=guest, confirmation=name, disks=[disk], by=scene.boss), step)
    assert name not in scene.real.guests()
    assert scene.volumes() == before


# -- calls that change a running guest


@pytest.fixture
def running(scene: Scene) -> LabGuest:
    return running_on(scene)


def same_run(guest: LabGuest, boot: str) -> bool:
    return guest.defined_on == guest.running_on == [guest.host.name] and guest.boot_id == boot


def test_a_disk_is_added_alive_once(scene: Scene, running: LabGuest, trap_at: Callable[..., Trap]) -> None:
    before, boot = scene.volumes(), running.boot_id
    guest = scene.product.settle(running)
    trap = trap_at(Procedure.DOMAIN_ATTACH_DEVICE_FLAGS)
    try:
        strike(
            scene,
            trap,
            lambda: create_disk(guest=guest, datastore=scene.store(), capacity_bytes=MIB, by=scene.boss),
            "add",
        )
        (made,) = set(scene.volumes()) - set(before)
        for flags in ([], ["--inactive"]):
            assert scene.real.virsh("domblklist", running.uuid, *flags).count(made) == 1
        assert same_run(running, boot)
    finally:
        scene.real.thaw_libvirtd()
        for made in set(scene.volumes()) - set(before):
            take_out(scene, running, made)
            scene.real.virsh("vol-delete", made, "--pool", "local")


def take_out(scene: Scene, guest: LabGuest, volume: str) -> None:
    """The guest itself lets go of a disk, later than libvirt says so; until then it is in its snapshots.

    A guest that was busy taking it may never do so: that one is switched off and on.
    """

    def is_out() -> bool:
        with suppress(LabError):  # it is at it since the last time
            scene.real.virsh("detach-disk", guest.uuid, f"{LOCAL}/{volume}", "--live")
        return volume not in scene.real.virsh("domblklist", guest.uuid)

    scene.real.virsh("detach-disk", guest.uuid, f"{LOCAL}/{volume}", "--config")
    if not wait_for(is_out, 60, step=5):
        switch_off_and_on(scene, guest)
    assert volume not in scene.real.virsh("domblklist", guest.uuid)


def switch_off_and_on(scene: Scene, guest: LabGuest) -> None:
    """Returns when it counts anew."""
    before = guest.boot_id
    scene.real.virsh("destroy", guest.uuid)
    scene.real.virsh("start", guest.uuid)
    wait_until(lambda: guest.boot_id != before, "the guest has started anew")
    wait_until(lambda: (beat := guest.heartbeat()) and beat.boot_id != before, "it counts anew")


def test_a_nic_is_plugged_in_elsewhere_once(scene: Scene, running: LabGuest, trap_at: Callable[..., Trap]) -> None:
    boot, guest = running.boot_id, scene.product.settle(running)
    nic = Nic.objects.get(guest=guest, network="default")
    trap = trap_at(Procedure.DOMAIN_UPDATE_DEVICE_FLAGS)
    elsewhere = switch_of(scene, "isolated")
    strike(scene, trap, lambda: change_nic(guest=guest, mac=nic.mac, switch=elsewhere, by=scene.boss), "nic")
    for flags in ([], ["--inactive"]):
        lines = [line for line in scene.real.virsh("domiflist", running.uuid, *flags).splitlines() if nic.mac in line]
        assert [line.split()[2] for line in lines] == ["isolated"]
    assert same_run(running, boot)
    scene.mend()
    fresh = scene.product.settle(running)
    wait_until(Nic.objects.filter(guest=fresh, mac=nic.mac, network="isolated").exists, "it is read so")
    scene.end(change_nic(guest=fresh, mac=nic.mac, switch=switch_of(scene, "default"), by=scene.boss))


# -- tasks that last


def test_a_snapshot_with_memory_is_taken_once_and_gone_back_to_once(scene: Scene, running: LabGuest) -> None:
    """libvirt works at it when the worker dies: the guest's QEMU has stopped under its hands."""
    boot, guest = running.boot_id, scene.product.settle(running)
    trap = scene.relay.arm(Trap(Procedure.DOMAIN_SNAPSHOT_CREATE_XML, strike=stop_qemu(scene, running)))
    try:
        job = create_snapshot(guest=guest, name="before", memory=True, by=scene.boss)
        scene.await_sprung(trap, job, "take")
        wait_until(lambda: is_at_work(scene, running), "libvirt has begun")
        scene.kill_worker_of(job)
        assert is_at_work(scene, running)
        go_on(scene, running)
        scene.end(job)
        assert names_of_snapshots(scene, running) == ["before"]
        assert same_run(running, boot)
        scene.mend()
        go_back(scene, running, boot)
    finally:
        forget_snapshots(scene, running)


def go_back(scene: Scene, running: LabGuest, boot: str) -> None:
    old, after = scene.real.qemu_pid(running), running.wait_heartbeat()
    assert times_counted(scene, running, after.count) == 1
    guest = scene.product.settle(running)
    trap = scene.relay.arm(Trap(Procedure.DOMAIN_REVERT_TO_SNAPSHOT, strike=scene.real.freeze_libvirtd))
    wait_until(lambda: find_snapshot(guest, "before") is not None, "the snapshot is read")
    strike(scene, trap, lambda: revert_snapshot(guest=guest, name="before", by=scene.boss), "revert")
    assert scene.real.qemu_pid(running) not in (None, old)
    assert same_run(running, boot), "its memory is that of the snapshot"
    wait_until(lambda: times_counted(scene, running, after.count) == 2, "it counts again what it had counted since")


def test_a_revert_that_comes_in_late_is_waited_for(scene: Scene, running: LabGuest) -> None:
    """The dead worker's call is on its way while the next one asks whether it was done, and begins right then."""
    boot, guest = running.boot_id, scene.product.settle(running)
    scene.end(create_snapshot(guest=guest, name="late", memory=True, by=scene.boss))
    try:
        wait_until(lambda: find_snapshot(guest, "late") is not None, "the snapshot is read")
        old, on_its_way = scene.real.qemu_pid(running), threading.Event()
        assert old
        trap = scene.relay.arm(Trap(Procedure.DOMAIN_REVERT_TO_SNAPSHOT, strike=lambda: on_its_way.wait(120)))
        job = revert_snapshot(guest=scene.product.settle(running), name="late", by=scene.boss)
        wait_until(lambda: trap.taken.is_set() or not is_open(job), "the call is out")
        asked = Trap(Procedure.DOMAIN_GET_METADATA, strike=lambda: let_begin(on_its_way, old))
        scene.relay.arm(asked)
        scene.kill_worker_of(job)
        scene.end(job)
        assert asked.sprung.is_set()
        assert scene.real.qemu_pid(running) not in (None, old)
        assert same_run(running, boot)
    finally:
        on_its_way.set()
        forget_snapshots(scene, running)


def let_begin(on_its_way: threading.Event, pid: int) -> None:
    """The late call goes on; returns when libvirt has stopped the guest's QEMU for it."""
    on_its_way.set()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the guest is stopped to go back")


def times_counted(scene: Scene, guest: LabGuest, count: int) -> int:
    """How often this heartbeat stands in what the guest wrote, in all that it did after this start."""
    boot = guest.boot_id
    return [(beat.boot_id, beat.count) for beat in guest.beats(scene.real)].count((boot, count))


def test_a_clone_is_made_once_whatever_was_copied(scene: Scene) -> None:
    clone = Clone(scene)
    scene.kill_worker_of(clone.job)
    scene.real.thaw_libvirtd()
    scene.end(clone.job)
    assert scene.volumes() == sorted([*clone.before, Path(clone.source).name, clone.volume])
    assert sum_of(scene, f"{LOCAL}/{clone.volume}") == sum_of(scene, clone.source) == clone.content
    guests = scene.real.guests()
    assert (guests[clone.name], guests[clone.copy_name]) == ("shutoff", "shutoff")
    clone.tidy()


def test_an_upload_is_written_whole(scene: Scene, settings: Any) -> None:
    settings.UPLOAD_DIR = scene.stack.folder / "uploads"
    before, name = scene.volumes(), own_name("sent") + ".img"
    content = os.urandom(16 * MIB)
    at = Trap(Procedure.STORAGE_VOL_UPLOAD, Kind.STREAM, nth=3, strike=scene.real.freeze_libvirtd)
    trap = scene.relay.arm(at)
    job = submit_volume_upload(upload=scene.send(content), datastore=scene.store(), name=name, by=scene.boss)
    scene.await_out(trap, job)
    assert "content" not in (Job.objects.get(pk=job.pk).checkpoint.get("done") or {})
    scene.kill_worker_of(job)
    scene.real.thaw_libvirtd()
    ended = scene.end(job)
    assert hashlib.sha256(content).hexdigest() in ended.message
    assert scene.volumes() == sorted([*before, name])
    assert sum_of(scene, f"{LOCAL}/{name}") == hashlib.sha256(content).hexdigest()
    assert not Upload.objects.filter(job_id=job.pk).exists()
    scene.real.virsh("vol-delete", name, "--pool", "local")
