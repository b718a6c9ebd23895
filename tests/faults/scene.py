"""A host of the lab, behind a relay or not, people's operations on it, and what is left of them on the host itself."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.utils import timezone

from access.models import User
from access.roles import Role
from hosts.models import Host, Source
from hosts.polling import read_now
from inventory.acts.define import NewDisk, NewGuest, submit_guest_create
from inventory.models import Guest
from lab.api import LabGuest, LabHost
from lab.hosts import init_pid
from operations.models import Job
from storage.models import Datastore, Upload, Volume
from tests.factories import make_user
from tests.jobs import end_of, is_open, row_of, send, taken_over, worker_of
from tests.relay import Relay, Trap
from tests.stack import Product, wait_until

MIB = 1 << 20
LOCAL = "/var/lib/libvirt/images"


class Scene:
    """A host whose source is reached through the relay, so that a fault strikes at the very call."""

    def __init__(self, product: Product, real: LabHost, relay: Relay | None = None) -> None:
        self.product, self.real = product, real
        self._relay = relay
        self.stack = product.stack
        self.boss: User = make_user(Role.ADMIN, f"boss-{secrets.token_hex(4)}")

    @property
    def host(self) -> Host:
        return self.product.host(self.real.name)

    @property
    def source(self) -> Source:
        return Source.objects.get(name=self.real.name)

    @property
    def relay(self) -> Relay:
        assert self._relay, "this one is reached directly"
        return self._relay

    # -- what there is

    def store(self, name: str = "local") -> Datastore:
        rows = Datastore.objects.filter(mounts__host=self.host, mounts__name=name, mounts__active=True)
        return wait_until(rows.first, f"datastore {name} is read")  # type: ignore[no-any-return]

    def read(self) -> None:
        """Have the host read in full, and wait for it."""
        asked_at = timezone.now()
        read_now(self.source.pk, inventory=True)
        wait_until(lambda: self.is_read_since(asked_at), "the host is read")

    def is_read_since(self, at: Any) -> bool:
        return Source.objects.filter(name=self.real.name, state="ok", inventory_read_at__gt=at).exists()

    def row(self, name: str, state: str) -> Guest:
        return row_of(name, state, host=self.host)

    def volume(self, name: str, store: str = "local") -> Volume:
        rows = Volume.objects.filter(datastore=self.store(store), name=name)
        return wait_until(rows.first, f"volume {name} is read")  # type: ignore[no-any-return]

    def inside(self, path: str) -> Path:
        """A file of the host as this machine sees it."""
        init = init_pid(self.real.lab.place, self.real.name)
        return Path(f"/proc/{init}/root{path}")

    def volumes(self, store: str = "local") -> list[str]:
        """As the host itself has them, those included that its libvirt has not noticed yet."""
        self.real.virsh("pool-refresh", store)
        lines = self.real.virsh("vol-list", store).splitlines()
        return sorted(line.split()[0] for line in lines if line.strip())

    def networks(self) -> list[str]:
        return sorted(self.real.virsh("net-list", "--all", "--name").split())

    # -- making what a test needs

    end = staticmethod(end_of)

    def make_guest(
        self, name: str, *, megabytes: int = 8, start: bool = False, store: str = "local", **disk: Any
    ) -> Guest:
        """A guest with a disk of its own."""
        new_disk = NewDisk(datastore=self.store(store), capacity_bytes=megabytes * MIB, **disk)
        new = NewGuest(host=self.host, name=name, memory_bytes=64 * MIB, vcpus=1, disk=new_disk, start=start)
        self.end(submit_guest_create(new=new, by=self.boss))
        return self.row(name, "running" if start else "off")

    def send(self, content: bytes) -> Upload:
        return send(content, by=self.boss)

    # -- the fault

    def mend(self) -> None:
        """Between two faults: every worker runs, and the host is read."""
        self.stack.mend()
        self.read()

    def kill_worker_of(self, job: Job) -> None:
        """kill -9 in the middle of the job; returns when another worker has taken it over."""
        before = Job.objects.get(pk=job.pk)
        assert before.is_open, before.message
        self.stack.kill(worker_of(self.stack, job))
        # The lease ends by itself, as other tests show; no need to sit through it.
        Job.objects.filter(pk=job.pk, token=before.token).update(lease_until=timezone.now())
        wait_until(lambda: is_taken_over(job, before), "another worker has it")

    def await_out(self, trap: Trap, job: Job) -> Job:
        wait_until(lambda: trap.sprung.is_set() or not is_open(job), "the call is out")
        now = Job.objects.get(pk=job.pk)
        assert trap.sprung.is_set(), now.message
        return now

    def await_sprung(self, trap: Trap, job: Job, step: str) -> None:
        """The fault is at its step: the call is out, and the job has noted that it asked and not that it was done."""
        now = self.await_out(trap, job)
        assert step in (now.checkpoint.get("asked") or {})
        assert step not in (now.checkpoint.get("done") or {})


def is_taken_over(job: Job, before: Job) -> bool:
    """By the story and by the token. The owner of one that has ended meanwhile is nobody."""
    now = Job.objects.get(pk=job.pk)
    return taken_over(job) and now.token > before.token and now.owner != before.owner


@contextmanager
def scene_on(product: Product, number: int = 0) -> Iterator[Scene]:
    """The host's source is reached through a relay while the block runs."""
    real = product.lab.hosts[number]
    with Relay(product.lab.console_address, real.address) as relay:
        reroute(real.name, relay.address, relay.port)
        try:
            scene = Scene(product, real, relay)
            scene.read()
            yield scene
        finally:
            reroute(real.name, real.address, None)


def reroute(name: str, address: str, port: int | None) -> None:
    Source.objects.filter(name=name).update(address=address, port=port)


def disk_of(guest: Guest) -> str:
    return str(guest.disks.get(device="disk").source)


def own_name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(3)}"


def names_of_snapshots(scene: Scene, guest: LabGuest | Guest) -> list[str]:
    return scene.real.virsh("snapshot-list", "--name", guest.uuid).split()


def forget_snapshots(scene: Scene, guest: LabGuest) -> None:
    """A guest with snapshots does not move, and other tests want it to."""
    scene.real.thaw_libvirtd()
    for name in names_of_snapshots(scene, guest):
        scene.real.virsh("snapshot-delete", guest.uuid, name)


def stop_qemu(scene: Scene, guest: LabGuest) -> Callable[[], None]:
    def stop() -> None:
        pid = scene.real.qemu_pid(guest)
        assert pid
        os.kill(pid, signal.SIGSTOP)

    return stop


def go_on(scene: Scene, guest: LabGuest) -> None:
    """Let the guest's QEMU go on."""
    pid = scene.real.qemu_pid(guest)
    assert pid
    os.kill(pid, signal.SIGCONT)


def is_at_work(scene: Scene, guest: LabGuest) -> bool:
    """Whether libvirt has something under way with the guest."""
    return not scene.real.virsh("domcontrol", guest.uuid).startswith("ok")


def fill(scene: Scene, path: str, megabytes: int) -> str:
    """Content that cannot be left out of a copy; returns its sum."""
    digest = hashlib.sha256()
    with scene.inside(path).open("r+b") as file:
        for _number in range(megabytes):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def fill_up(file: Path) -> None:
    """To the last byte that its file system has."""
    with file.open("ab", buffering=0) as target:
        for size in (MIB, 4096, 1):
            while append(target, bytes(size)):
                pass


def append(target: Any, piece: bytes) -> bool:
    try:
        return bool(target.write(piece))
    except OSError:
        return False


def sum_of(scene: Scene, path: str) -> str:
    with scene.inside(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
