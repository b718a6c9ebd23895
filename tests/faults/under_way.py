"""What hosts of the lab are at when a fault strikes them, and how the others fare meanwhile."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from django.utils import timezone

from hosts.models import Source, SourceState
from hosts.polling import read_now
from inventory.acts.define import submit_guest_clone
from inventory.acts.snapshots import create_snapshot
from lab.api import LabGuest
from tests.faults.scene import (
    LOCAL,
    MIB,
    Scene,
    disk_of,
    fill,
    forget_snapshots,
    is_at_work,
    own_name,
    stop_qemu,
)
from tests.jobs import is_open
from tests.stack import Product, wait_until

MEGABYTES = 384


def state_of(name: str) -> str:
    return str(Source.objects.values_list("state", flat=True).get(name=name))


def require_others_are_read(product: Product, *silent: str) -> None:
    """Each other host is read in full, now, twice."""
    others = [host.name for host in product.lab.hosts if host.name not in silent]
    for _again in range(2):
        asked_at = timezone.now()
        for source in Source.objects.filter(name__in=others):
            read_now(source.pk, inventory=True)
        fresh = Source.objects.filter(name__in=others, state=SourceState.OK, inventory_read_at__gt=asked_at)
        wait_until(lambda fresh=fresh: fresh.count() == len(others), "the others are read")  # type: ignore[misc]


def is_written(file: Path) -> bool:
    """Whether a copy has content: what takes its name before is empty, and goes when copying begins."""
    with suppress(FileNotFoundError):
        return file.stat().st_blocks > 0
    return False


class Clone:
    """A guest's disk is being copied on the host."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.before = scene, scene.volumes()
        self.name, self.copy_name = own_name("orig"), own_name("copy")
        guest = scene.make_guest(self.name, megabytes=MEGABYTES, format="raw")
        self.source = disk_of(guest)
        self.content = fill(scene, self.source, MEGABYTES)
        self.job = submit_guest_clone(guest=guest, name=self.copy_name, by=scene.boss)
        self.volume = self.job.parameters["disks"][0]["name"]
        wait_until(lambda: is_written(scene.inside(f"{LOCAL}/{self.volume}")), "the copy has begun")
        scene.real.freeze_libvirtd()  # so that it is still at it when the power goes
        assert self.copied_bytes < MEGABYTES * MIB, "it is in the middle of it"
        assert is_open(self.job)

    @property
    def copied_bytes(self) -> int:
        return self.scene.inside(f"{LOCAL}/{self.volume}").stat().st_blocks * 512

    def tidy(self) -> None:
        known = self.scene.real.guests()
        for one in (self.copy_name, self.name):
            if one in known:
                self.scene.real.virsh("undefine", one)
        for one in set(self.scene.volumes()) - set(self.before):
            self.scene.real.virsh("vol-delete", one, "--pool", "local")


class Snapshot:
    """A running guest's memory is being kept on the host."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.name = scene, own_name("snap")
        self.guest = running_on(scene)
        self.row, self.boot = scene.product.settle(self.guest), self.guest.boot_id
        stop_qemu(scene, self.guest)()
        self.job = create_snapshot(guest=self.row, name=self.name, memory=True, by=scene.boss)
        wait_until(lambda: is_at_work(scene, self.guest) or not is_open(self.job), "libvirt has begun")
        assert is_open(self.job)

    def tidy(self) -> None:
        forget_snapshots(self.scene, self.guest)


def running_on(scene: Scene) -> LabGuest:
    """A guest of the lab that runs there, with a qcow2 disk; another test may have left them all elsewhere."""
    there = [guest for guest in scene.product.lab.guests if guest.name.startswith("web") and guest.running_on]
    guest = next((guest for guest in there if guest.running_on == [scene.real.name]), None) or bring(scene, there[0])
    scene.product.settle(guest)
    return guest


def bring(scene: Scene, guest: LabGuest) -> LabGuest:
    options = ("--live", "--p2p", "--undefinesource", "--persistent")
    guest.host.virsh("migrate", *options, guest.uuid, scene.real.uri)
    for source in Source.objects.all():
        read_now(source.pk, inventory=True)
    return guest
