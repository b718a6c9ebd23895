"""A guest on a real host: from an image that was sent to its last disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from access.roles import Role
from inventory.acts.define import (
    NewDisk,
    NewGuest,
    disks_of,
    submit_guest_clone,
    submit_guest_create,
    submit_guest_delete,
)
from inventory.acts.snapshots import create_snapshot
from inventory.power import submit_power
from lab.api import Lab, LabHost
from storage import staging
from storage.acts import submit_volume_upload
from storage.models import Datastore, Volume
from tests.factories import make_user
from tests.jobs import end_of, row_of, send
from tests.stack import Product, running_product, wait_until

MEMORY = 64 << 20


@pytest.fixture(scope="module")
def own_lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab("build", hosts=1)


@pytest.fixture
def own_product(own_lab: Lab, django_db_blocker: Any) -> Iterator[Product]:
    with django_db_blocker.unblock(), running_product(own_lab) as running, running.stack.attached():
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk image with something on it, larger than a piece."""
    raw, made = tmp_path / "content.raw", tmp_path / "golden.qcow2"
    raw.write_bytes(bytes(range(256)) * 4096 * 3)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(made)], check=True)
    return made


def volume_names(host: LabHost) -> list[str]:
    pools = host.virsh("pool-list", "--name").split()
    lines = [line for pool in pools for line in host.virsh("vol-list", pool).splitlines()]
    return [line.split()[0] for line in lines if line.strip()]


def test_from_an_image_to_a_guest_its_snapshot_its_clone_and_nothing(
    own_product: Product, image: Path, settings: Any
) -> None:
    settings.UPLOAD_DIR = own_product.stack.folder / "uploads"
    host, virsh = own_product.host(own_product.lab.hosts[0].name), own_product.lab.hosts[0]
    boss, before = make_user(Role.ADMIN, "boss"), sorted(volume_names(own_product.lab.hosts[0]))
    store = Datastore.objects.filter(mounts__host=host, mounts__active=True).order_by("name").first()
    assert store is not None

    upload = send(image.read_bytes(), by=boss, name=image.name)
    end_of(submit_volume_upload(upload=upload, datastore=store, name="golden.qcow2", by=boss))
    assert list(staging.folder().glob("*")) == []
    found = Volume.objects.filter(datastore=store, name="golden.qcow2", format="qcow2")
    volume = wait_until(found.first, "the volume is read as what it is", seconds=120)
    content = subprocess.run(
        ["qemu-img", "info", "--output=json", str(image)], check=True, capture_output=True, text=True
    ).stdout
    assert f'"virtual-size": {volume.capacity_bytes}' in content

    new = NewGuest(host=host, name="ld web", memory_bytes=MEMORY, vcpus=1, disk=NewDisk(volume=volume), start=True)
    end_of(submit_guest_create(new=new, by=boss))
    guest = row_of("ld web", "running")
    assert virsh.guests()["ld web"] == "running"

    end_of(submit_power(guest=guest, action="off", by=boss))
    end_of(create_snapshot(guest=guest, name="first", memory=False, by=boss))
    assert "first" in virsh.virsh("snapshot-list", "--name", guest.uuid)

    end_of(submit_guest_clone(guest=row_of("ld web", "off"), name="ld copy", by=boss))
    clone = row_of("ld copy", "off")
    wait_until(lambda: all(one.volume for one in disks_of(clone)), "the clone's volume is read", seconds=120)
    assert virsh.guests()["ld copy"] == "shutoff"
    assert clone.uuid != guest.uuid
    assert set(clone.nics.values_list("mac", flat=True)).isdisjoint(guest.nics.values_list("mac", flat=True))

    for one in (clone, guest):
        sources = [disk.disk.source for disk in disks_of(one)]
        assert sources
        end_of(submit_guest_delete(guest=one, confirmation=one.name, disks=sources, by=boss))
    assert {"ld web", "ld copy"}.isdisjoint(virsh.guests())
    assert sorted(volume_names(virsh)) == before
